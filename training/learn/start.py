"""Weights to start from, fitted to the network that is to be trained."""

from __future__ import annotations

import numpy as np

from savos_model.config import ModelConfig
from savos_model.network.layers import GAIN_START, parameter_shapes
from savos_model.network.weights import WeightsError, load_weights


def start_arrays(name_or_path: str, model: ModelConfig) -> dict[str, np.ndarray]:
    """Arrays of weights by name or path, for a network of `model`.

    A network with prior_mask may start from weights without it: what reads the new channel is zero.

    Raises:
        WeightsError: the weights do not fit; names the parameter.
    """
    given, fitted = load_weights(name_or_path), {}
    for key, shape in parameter_shapes(model).items():
        array = given.arrays.get(key, np.full(shape, GAIN_START, np.float32))
        if model.prior_mask and not given.model.prior_mask and len(shape) == 4:
            array = np.pad(array, [(0, 0), (0, shape[1] - array.shape[1]), (0, 0), (0, 0)])
        if array.shape != shape:
            raise WeightsError(
                f"{name_or_path}: {key} has shape {array.shape}, the network to train {shape}: "
                "start from weights of the same width and patch",
                "shape",
            )
        fitted[key] = array
    return fitted
