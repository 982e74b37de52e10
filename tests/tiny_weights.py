"""Random weights, for tests that need a network but no skill."""

import numpy as np

from savos_model.config import ModelConfig
from savos_model.layers import parameter_shapes
from savos_model.weights import Weights, save_weights


def save_random(path, seed=5, width=0.25):
    rng = np.random.default_rng(seed)
    model = ModelConfig(width=width)
    shapes = parameter_shapes(model)
    arrays = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    save_weights(path, Weights("random", model, arrays, {}))
    return path
