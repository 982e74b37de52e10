"""Random weights, for tests that need a network but no skill."""

import numpy as np

from savos_model.config import ModelConfig
from savos_model.network.layers import parameter_shapes
from savos_model.network.weights import Weights, save_weights


def scale(name):
    """Spread of a parameter: wide in the last layer, so that thresholds are crossed."""
    return 1.0 if name == "leave.weight" else 0.1


def save_random(path, seed=5, width=0.25):
    rng = np.random.default_rng(seed)
    model = ModelConfig(width=width)
    shapes = parameter_shapes(model)
    arrays = {
        # Around 1 where a norm scales: else nothing but the evidence would reach the output.
        name: rng.normal(float(name.endswith("norm.weight")), scale(name), shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_weights(path, Weights("random", model, arrays, {}))
    return path
