"""A few frames of squares passing behind each other, and a backend that needs no weights."""

import numpy as np

from savos_model.backends.interface import StepOutput
from savos_model.config import ModelConfig
from savos_model.masks import look_at
from savos_model.network.weights import Weights
from savos_model.types import Box, Instance
from savos_ros.bags.recording import SourceFrame
from tests.presets import PAPER_SMALL

SHAPE = (96, 160)
PERIOD_NS = 100_000_000
START_NS = 5_000_000_000


def boxed(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    return Box(int(x0), int(y0), int(x1), int(y1)), mask[y0:y1, x0:x1].astype(np.uint8)


def pasted(item, shape=SHAPE):
    """Return an instance as bool [H, W]."""
    return look_at((item.box, item.mask), Box(0, 0, shape[1], shape[0]))


def square(left, top, size=32):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def frame(index, shape=SHAPE):
    """Square 2001 moves to the right behind square 1001."""
    rng = np.random.default_rng(index % 3)
    image = rng.integers(0, 255, (*shape, 3), np.uint8)
    near, far = square(60, 30), square(20 + 4 * index, 40)
    image[near[: shape[0], : shape[1]]] = (20, 20, 200)
    visible = {"1001": near, "2001": far & ~near}
    instances = [Instance(i, *boxed(m), i[0]) for i, m in visible.items() if m.any()]
    truth = [Instance(i, *boxed(m), i[0]) for i, m in {"1001": near, "2001": far}.items()]
    return SourceFrame(START_NS + index * PERIOD_NS, image, instances, truth=truth)


def frames(count):
    return [frame(index) for index in range(count)]


class EchoBackend:
    """Predicts that every object stays as it is seen."""

    name = "echo"
    reason = "for tests"
    weights = Weights("echo", ModelConfig(**PAPER_SMALL), {}, {})
    model = weights.model

    def step(self, patches, h, c):
        tracks, _, rows, columns = patches.shape
        logits = (patches[:, 3] > 0).astype(np.float32) * 8 - 4
        still = np.zeros((tracks, 2, rows, columns), np.float32)
        return StepOutput(logits, np.zeros_like(logits), still, h, c)
