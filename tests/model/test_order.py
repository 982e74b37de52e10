import numpy as np
import pytest

from savos_model.backends.interface import StepOutput
from savos_model.config import ComposeConfig, ModelConfig, RefineConfig, StreamConfig
from savos_model.network.weights import Weights
from savos_model.stream.order import Claim, Labels, OcclusionOrder, doubted, label_visible
from savos_model.stream.refine import WindowRefiner
from savos_model.stream.stream import AmodalStream
from savos_model.types import Box, Frame
from tests.model.scenes import instance, rectangle

SHAPE = (60, 100)
LEFT = instance("1", rectangle(SHAPE, (20, 20, 50, 40)))
RIGHT = instance("2", rectangle(SHAPE, (50, 20, 80, 40)))
BOX = Box(10, 12, 90, 52)


def claim(mask, chance):
    """Claim in a patch of BOX of the pixels of `mask`, a box in the image."""
    values = np.zeros((20, 40), np.float32)
    x0, y0, x1, y1 = ((v - at) // 2 for v, at in zip(mask, (10, 12, 10, 12), strict=True))
    values[y0:y1, x0:x1] = chance
    return Claim(values, BOX)


def labels():
    return label_visible([LEFT, RIGHT], *SHAPE)


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize(
    "box", [Box(0, 0, 100, 60), Box(10, 14, 42, 50), Box(-30, -6, 90, 42), Box(48, 18, 53, 21)]
)
def test_the_labels_of_a_patch_are_those_under_its_pixels(step, box):
    rng = np.random.default_rng(4)
    image = rng.integers(0, 9, (-(-60 // step), -(-100 // step)), np.int16)
    height, width = 32, 64
    got = Labels(image, step).patch(box, (height, width))
    x = box.x0 + (np.arange(width) + 0.5) * box.width / width
    y = box.y0 + (np.arange(height) + 0.5) * box.height / height
    col, row = np.floor(x / step).astype(int), np.floor(y / step).astype(int)
    inside = ((row >= 0) & (row < image.shape[0]))[:, None] & ((col >= 0) & (col < image.shape[1]))
    wanted = image[row.clip(0, image.shape[0] - 1)][:, col.clip(0, image.shape[1] - 1)] * inside
    # A pixel whose centre lies on the border of two may be given to either.
    assert (got == wanted).mean() > 0.97


@pytest.mark.parametrize(("height", "width", "step"), [(60, 100, 1), (2160, 3840, 3)])
def test_every_step_th_pixel_is_labelled(height, width, step):
    rng = np.random.default_rng(0)
    full, items = np.zeros((height, width), np.int16), []
    for number in range(1, 5):
        mask = np.zeros((height, width), np.uint8)
        y, x = int(rng.integers(height - 30)), int(rng.integers(width - 50))
        mask[y : y + 29, x : x + 47] = rng.random((29, 47)) < 0.8
        items.append(instance(str(number), mask))
        full[mask != 0] = number
    made = label_visible(items, height, width)
    assert made.step == step
    np.testing.assert_array_equal(made.image, full[::step, ::step])


def test_the_last_of_two_overlapping_masks_is_drawn():
    both = [instance("1", rectangle(SHAPE, (20, 20, 60, 40))), RIGHT]
    drawn = label_visible(both, *SHAPE).image
    assert (drawn[20:40, 20:50] == 1).all() and (drawn[20:40, 50:80] == 2).all()


def test_the_weaker_of_two_claims_loses():
    order = OcclusionOrder()
    claims = {"1": claim((20, 20, 62, 40), 0.9), "2": claim((46, 20, 80, 40), 0.6)}
    factors = order.weigh([LEFT, RIGHT], claims, labels(), 2.0)
    assert set(factors) == {"2"}, "1 claims twelve columns of 2 at 0.9, and 2 four of 1 at 0.6"
    ratio = (0.1 * 4 * 20 * 0.6 + 1) / (0.1 * 12 * 20 * 0.9 + 1)
    lost = factors["2"][4:14, 5:20]  # where 1 is visible
    np.testing.assert_allclose(lost, ratio**2, rtol=1e-5)
    assert (factors["2"][4:14, 20:35] == 1).all(), "its own pixels stay"


def test_an_unopposed_claim_loses_nothing():
    order = OcclusionOrder()
    claims = {"1": claim((20, 20, 60, 40), 0.6), "2": claim((50, 20, 80, 40), 0.9)}
    assert order.weigh([LEFT, RIGHT], claims, labels(), 2.0) == {}


def test_the_order_outlasts_a_frame_that_says_otherwise():
    order = OcclusionOrder()
    strong, weak = (20, 20, 70, 40), (48, 20, 80, 40)
    for _ in range(5):
        claims = {"1": claim(strong, 0.9), "2": claim(weak, 0.6)}
        assert set(order.weigh([LEFT, RIGHT], claims, labels(), 2.0)) == {"2"}
    claims = {"1": claim((20, 20, 52, 40), 0.6), "2": claim((40, 20, 80, 40), 0.9)}
    assert set(order.weigh([LEFT, RIGHT], claims, labels(), 2.0)) == {"2"}
    alone = OcclusionOrder()
    assert set(alone.weigh([LEFT, RIGHT], claims, labels(), 2.0)) == {"1"}


def test_pairs_of_ended_tracks_are_forgotten():
    order = OcclusionOrder()
    claims = {"1": claim((20, 20, 62, 40), 0.9), "2": claim((46, 20, 80, 40), 0.6)}
    order.weigh([LEFT, RIGHT], claims, labels(), 2.0)
    assert set(order.evidence) == {("1", "2"), ("2", "1")}
    order.keep({"1", "3"})
    assert order.evidence == {}


def test_doubt_multiplies_the_odds():
    chance = np.array([0.0, 0.2, 0.5, 0.9, 1.0], np.float32)
    made = doubted(chance, np.full(5, 0.25, np.float32))
    np.testing.assert_allclose(made, [0, 1 / 17, 0.2, 9 / 13, 1], rtol=1e-6)
    assert doubted(chance, None) is chance


MODEL = ModelConfig(width=0.0625, patch_height=32, patch_width=64)


class GreedyBackend:
    """Fills every patch, surer of the first object than of the second."""

    name, reason = "greedy", "for tests"
    weights, model = Weights("greedy", MODEL, {}, {}), MODEL

    def step(self, patches, h, c):
        logits = np.zeros((len(patches), *MODEL.patch), np.float32)
        logits += np.array([2.0, 0.5])[: len(patches), None, None]
        still = np.zeros((len(patches), 2, *MODEL.patch), np.float32)
        return StepOutput(logits, np.zeros_like(logits), still, h, c)


def hidden(objects):
    return {item.id: int((item.inside & (item.visible == 0)).sum()) for item in objects}


@pytest.mark.parametrize(("strength", "losers"), [(0.0, set()), (4.0, {"2"})])
def test_only_one_of_two_objects_is_completed_into_the_other(strength, losers):
    compose = ComposeConfig(order_strength=strength, occluder_margin_px=0, threshold=0.5, peak=0.5)
    config = StreamConfig(compose=compose)
    stream = AmodalStream(GreedyBackend(), config, records=True)
    refiner = WindowRefiner(stream.backend, config, RefineConfig(window=4, stride=4))
    image, refined = np.zeros((*SHAPE, 3), np.uint8), []
    for index in range(4):
        found = hidden(stream.step(Frame(index * 10**8, image, [LEFT, RIGHT])))
        assert {name for name, px in found.items() if px == 0} == losers
        refined += refiner.feed(stream.record, index == 0)
    assert len(refined) == 4
    for frame in refined:
        assert {name for name, px in hidden(frame.objects).items() if px == 0} == losers
    stream.reset()
    assert not stream.order.evidence
