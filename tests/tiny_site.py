"""An untrained network, and frames from which it learns quickly."""

import dataclasses

import numpy as np

from savos_model.config import ModelConfig, SiteConfig
from savos_model.types import Frame
from tests.model.scenes import crossing

# Without the prior mask, so that fresh weights know nothing of V yet.
MODEL = ModelConfig(width=0.0625, prior_mask=False)
PERIOD_NS = 100_000_000
CONFIG = SiteConfig(learning_rate=3e-2, max_iterations=20, min_frames=12)


def fresh_weights(**info):
    import torch

    from savos_model.network.presets import make_net
    from savos_model.network.weights import Weights

    torch.manual_seed(1)
    arrays = {name: value.numpy() for name, value in make_net(MODEL).state_dict().items()}
    return Weights("fresh", MODEL, arrays, info)


def frames(count, first=0):
    """Consecutive frames: a scene of 12 frames, there and back."""
    scene = crossing(12, speed=4)
    cycle = [*scene, *scene[-2:0:-1]]
    picked = [cycle[i % len(cycle)] for i in range(first, first + count)]
    return [
        dataclasses.replace(frame, stamp_ns=(first + i) * PERIOD_NS)
        for i, frame in enumerate(picked)
    ]


def empty_frames(count):
    return [Frame(i * PERIOD_NS, np.zeros((120, 200), np.uint8), []) for i in range(count)]
