"""Weights to start from, fitted to the network that is to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from savos_model.config import ModelConfig
from savos_model.network.layers import FLOW, GAIN_START, parameter_shapes
from savos_model.network.unet_layers import MAPS, channels, groups, stem
from savos_model.network.weights import Weights, WeightsError, load_weights

GATES = 4  # of an LSTM
SHARES = (0.25, 0.75)  # of an input that its copies divide between them
# Rows of the kernel of 4 rows with stride 2, each as read from pixels i - 1, i and i + 1 of a map
# that is enlarged to twice its rows (bilinear).
ENLARGED = np.array([(0.75, 0.25, 0, 0), (0.25, 0.75, 0.75, 0.25), (0, 0, 0.25, 0.75)], np.float32)


def start_arrays(name_or_path: str, model: ModelConfig) -> dict[str, np.ndarray]:
    """Return arrays of weights by name or path, for a network of `model`.

    A network with prior_mask may start from weights without it: what reads the new channel is zero.
    A recurrent U-Net may start from one of half its width (of 0.5 or more), and answers like it
    at first. One with 32x64 patches may start from one with 64x128, and answers nearly like it.

    Raises:
        WeightsError: the weights do not fit; names the parameter.
    """
    given, fitted = load_weights(name_or_path), {}
    if is_twice_as_fine(given, model):
        given = replace(given, arrays=coarsened(given.arrays, stem(given.model)))
    twice = is_twice_as_wide(given, model)
    rng = np.random.default_rng(0)
    for key, shape in parameter_shapes(model).items():
        array = given.arrays.get(key, np.full(shape, GAIN_START, np.float32))
        if model.prior_mask and not given.model.prior_mask and len(shape) == 4:
            array = np.pad(array, [(0, 0), (0, shape[1] - array.shape[1]), (0, 0), (0, 0)])
        if twice:
            array = (widen_gates if key.startswith("lstm.") else widen)(array, shape, rng)
        if array.shape != shape:
            raise WeightsError(
                f"{name_or_path}: {key} has shape {array.shape}, the network to train {shape}: "
                "start from weights of the same patch and width, or half the width from 0.5 on",
                "shape",
            )
        fitted[key] = array
    return fitted


def is_twice_as_fine(given: Weights, model: ModelConfig) -> bool:
    """Return whether `given` is a recurrent U-Net for patches with twice the rows of `model`'s."""
    both = given.model.same_frame and model.same_frame
    return both and stem(given.model) == 2 * stem(model)


def coarsened(arrays: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Return parameters of a network that reads patches of half the size.

    It computes what the given one computes on its enlarged patch (bilinear), averaged over blocks
    of `step` x `step` pixels. Motion is in pixels of the patch, thus half as many.
    """
    read = arrays["enter.conv.weight"]
    read = np.einsum("ay,bx,ocyx->ocab", ENLARGED, ENLARGED, read)
    read[:, FLOW] *= step
    made = dict(arrays) | {"enter.conv.weight": read}
    for key in ("leave.weight", "leave.bias"):
        maps = arrays[key].reshape(MAPS, step**2, *arrays[key].shape[1:]).mean(1)
        maps[2:] /= step
        made[key] = maps
    return made


def is_twice_as_wide(given: Weights, model: ModelConfig) -> bool:
    """Return whether `model` is a recurrent U-Net with twice the channels and groups of `given`."""
    if not (given.model.same_frame and model.same_frame):
        return False
    pairs = zip(channels(given.model), channels(model), strict=True)
    return all(b == 2 * a and groups(b) == 2 * groups(a) for a, b in pairs)


def widen(array: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a parameter for twice the channels such that the network computes the same.

    Each channel occurs twice, whole groups of GroupNorm after each other, so that their statistics
    stay. What reads both copies divides its weight between them (Net2Net: Chen et al., ICLR 2016),
    in random shares, as equal copies would learn the same for ever. Inputs that do not depend on
    the width (image, map of memory) come last and stay.

    Args:
        array: as given, [outputs], [outputs, inputs] or [outputs, inputs, h, w].
        shape: wanted.
        rng: draws the shares.
    """
    if shape[0] == 2 * array.shape[0]:
        array = np.concatenate((array, array))
    if len(shape) > 1 and shape[1] > array.shape[1]:
        copied = shape[1] - array.shape[1]
        once, rest = array[:, :copied], array[:, copied:]
        first = rng.uniform(*SHARES, once.shape[:2]).astype(array.dtype)
        first = first.reshape(*once.shape[:2], *(1,) * (once.ndim - 2))
        array = np.concatenate((once * first, once * (1 - first), rest), 1)
    return array


def widen_gates(array: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return `widen` of each gate of the LSTM; their parameters lie one after the other."""
    parts = np.split(array, GATES)
    return np.concatenate([widen(part, (shape[0] // GATES, *shape[1:]), rng) for part in parts])
