import threading

import numpy as np
import pytest

from savos_model.backends.interface import Shareable, StepOutput
from savos_model.backends.onnx import OnnxBackend
from savos_model.backends.reference import deviation, random_inputs
from savos_model.config import ModelConfig, StreamConfig
from savos_model.network.weights import Weights
from savos_model.stream import estimate
from savos_model.stream.crew import Crew
from savos_model.stream.flow import MAX_REGIONS
from savos_model.stream.stream import AmodalStream
from savos_model.types import Frame
from tests.model.scenes import instance, rectangle, texture
from tests.model.test_backends import random_weights

MODEL = ModelConfig(width=0.0625, patch_height=32, patch_width=64)
HERE = threading.get_ident()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_keep_the_order_of_the_items(threads, count):
    assert Crew(threads).run(lambda item: item * item, range(count)) == [
        item * item for item in range(count)
    ]


def test_work_starts_while_items_are_being_made():
    begun = threading.Event()

    def items():
        yield 0
        assert begun.wait(10), "the first item waits until all are made"
        yield 1

    assert Crew(2).run(lambda item: begun.set() or item, items()) == [0, 1]


def test_the_caller_takes_what_no_other_thread_has_begun():
    begun, free, done = threading.Event(), threading.Event(), []

    def items():
        yield 0
        assert begun.wait(10)
        yield from (1, 2, 3)

    def work(item):
        if threading.get_ident() != HERE:
            begun.set()
            assert free.wait(10)  # the other thread is busy with the first item
        done.append(item)
        if item == 1:
            free.set()
        return threading.get_ident() == HERE

    assert Crew(2).run(work, items()) == [False, True, True, True]
    assert done == [3, 2, 1, 0]


@pytest.mark.parametrize("bad", [0, 3])
def test_an_error_of_any_thread_arrives(bad):
    def work(item):
        if item == bad:
            raise ValueError("bad")

    crew = Crew(2)
    with pytest.raises(ValueError, match="bad"):
        crew.run(work, range(4))
    assert crew.run(abs, [-1, -2]) == [1, 2]


class RowEngine:
    """Answers from each track's input alone, so that it does not matter how tracks are batched."""

    name, reason = "fake", "test"

    def __init__(self):
        self.weights, self.model = Weights("fake", MODEL, {}, {}), MODEL
        self.calls = []

    def step(self, patches, h, c):
        self.calls.append(len(patches))
        logits = 9 * patches[:, 5] - 4 + 3 * patches[:, 0]
        residual = np.tanh(patches[:, 3:5])
        mean = patches.mean((1, 2, 3))[:, None]
        return StepOutput(logits, logits, residual, np.tanh(h + mean), c + mean)


class SharedEngine(RowEngine):
    """The same for several threads."""

    sharers = 2

    def share(self, patches, h, c):
        return self.step(patches, h, c)


def video(objects, frames=4):
    """Frames of a moving camera with rows of squares, every second one before the next."""
    rng, wide = np.random.default_rng(5), texture(240, 400, seed=6)
    corners = rng.integers(0, 40, (objects, 2)) + [
        (20 * (i % 12), 22 * (i // 12)) for i in range(objects)
    ]
    for count in range(frames):
        image = wide[2 * count : 2 * count + 200, count : count + 340]
        items = [
            instance(str(i), rectangle((200, 340), (x + count, y, x + count + 24, y + 20)))
            for i, (x, y) in enumerate(corners.tolist())
        ]
        yield Frame(100_000_000 * count, np.ascontiguousarray(image), items)


@pytest.mark.parametrize("objects", [estimate.FEWEST, 13, MAX_REGIONS + 3])
def test_threads_do_not_change_the_masks(objects):
    alone, shared = RowEngine(), SharedEngine()
    assert isinstance(shared, Shareable) and not isinstance(alone, Shareable)
    streams = [AmodalStream(engine, StreamConfig()) for engine in (alone, shared)]
    for frame in video(objects):
        one, two = (stream.step(frame) for stream in streams)
        assert [o.id for o in one] == [o.id for o in two]
        for a, b in zip(one, two, strict=True):
            assert (a.box, a.motion, a.confidence) == (b.box, b.motion, b.confidence)
            np.testing.assert_array_equal(a.mask, b.mask)
    assert sum(shared.calls) == sum(alone.calls) and max(shared.calls) <= estimate.SHARE
    assert len(alone.calls) == 4


def test_few_tracks_are_one_call():
    engine = SharedEngine()
    stream = AmodalStream(engine)
    for frame in video(estimate.FEWEST - 1, 2):
        stream.step(frame)
    assert engine.calls == [estimate.FEWEST - 1] * 2


def test_shares_of_onnx_runtime_equal_its_step():
    weights = random_weights(ModelConfig(width=0.25, patch_height=32, patch_width=64))
    engine, inputs = OnnxBackend(weights, 2, ""), random_inputs(weights, 6)
    assert isinstance(engine, Shareable) and engine.sharers == 2
    parts = Crew(2).run(lambda at: engine.share(*(a[at : at + 2] for a in inputs)), (0, 2, 4))
    joined = StepOutput(*map(np.concatenate, zip(*parts, strict=True)))
    assert max(deviation(joined, engine.step(*inputs)).values()) < 1e-6


def test_new_weights_reach_shares():
    model = ModelConfig(width=0.125, patch_height=32, patch_width=64)
    first, second = random_weights(model, 0), random_weights(model, 1)
    engine, inputs = OnnxBackend(first, 2, ""), random_inputs(first, 2)
    before = engine.share(*inputs)
    use = engine.update_weights(second)
    np.testing.assert_array_equal(engine.share(*inputs).mask_logits, before.mask_logits)
    use()
    off = deviation(engine.share(*inputs), OnnxBackend(second, 1, "").step(*inputs))
    assert max(off.values()) < 1e-6
    assert deviation(engine.share(*inputs), before)["mask_logits"] > 1e-3


@pytest.mark.parametrize(
    "count", [1, estimate.FEWEST - 1, estimate.FEWEST, 7, 10, 23, estimate.MANY, 100]
)
def test_parts_hold_every_track_once_and_are_small_at_both_ends(count):
    parts = estimate.shares(range(count), 2)
    assert [item for part in parts for item in part] == list(range(count))
    assert estimate.shares(range(count), 1) == [range(count)]
    if count < estimate.FEWEST:
        assert len(parts) == 1
    else:
        assert len(parts[0]) == len(parts[-1]) == estimate.ENDS
        most = estimate.SHARE * (2 if count >= estimate.MANY else 1)
        assert min(map(len, parts)) >= 1 and most / 2 <= max(map(len, parts)) <= most
