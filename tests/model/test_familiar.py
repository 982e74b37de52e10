import dataclasses

import numpy as np
import pytest

from savos_model.backends.interface import StepOutput
from savos_model.config import ComposeConfig, ModelConfig, StreamConfig
from savos_model.network.weights import Weights
from savos_model.stream.compose import compose
from savos_model.stream.familiar import EVERY, FEWEST, KEPT, Familiarity
from savos_model.stream.order import Claim, label_visible
from savos_model.stream.stream import AmodalStream
from savos_model.types import Box, Frame
from tests.model.scenes import instance, rectangle

SHAPE = (60, 100)
BOX = Box(0, 0, 100, 60)
OWN = instance("1", rectangle(SHAPE, (40, 20, 60, 40)))
OTHER = instance("2", rectangle(SHAPE, (60, 20, 80, 40)))


def seen(mask, items=(OWN,), frames=FEWEST, box=BOX):
    """Return what an object claims that is predicted on `mask`, a box in the image."""
    familiarity = Familiarity()
    labels = label_visible(list(items), *SHAPE)
    claim = Claim(rectangle((60, 100), mask).astype(np.float32), box)
    for _ in range(frames):
        familiarity.look(items, {"1": claim}, labels)
    return familiarity.claimed()


def test_claims_count_relative_to_the_visible_area():
    # 20 rows of 17 pixels: without the rim of 3 pixels next to the mask.
    assert seen((20, 20, 60, 40)) == pytest.approx(17 * 20 / 400)


@pytest.mark.parametrize(
    "mask", [(40, 20, 60, 40), (37, 17, 63, 43), (40, 20, 80, 40)], ids=["own", "rim", "other"]
)
def test_outlines_and_other_objects_are_no_background(mask):
    assert seen(mask, [OWN, OTHER]) == 0


def test_nothing_is_claimed_beyond_the_image():
    assert seen((0, 0, 40, 60), box=Box(40, 0, 140, 60)) > 0
    assert seen((60, 0, 100, 60), box=Box(40, 0, 140, 60)) == 0


def test_few_claims_decide_nothing_and_old_ones_are_forgotten():
    assert seen((20, 20, 60, 40), frames=FEWEST - 1) == 0
    familiarity, labels = Familiarity(), label_visible([OWN], *SHAPE)
    wide, own = (
        Claim(rectangle(SHAPE, mask).astype(np.float32), BOX)
        for mask in ((20, 20, 60, 40), (40, 20, 60, 40))
    )
    for claim, frames in ((wide, KEPT), (own, EVERY * KEPT)):
        for _ in range(frames):
            familiarity.look([OWN], {"1": claim}, labels)
    assert familiarity.claimed() == 0
    familiarity.clear()
    assert not familiarity.shares


class Painting:
    """An engine that predicts a disc around everything, as networks do in unknown scenes."""

    name, model = "painting", ModelConfig(width=0.0625)
    weights = Weights("painting", model, {}, {})

    def step(self, patches, h, c):
        y, x = np.mgrid[0:32, 0:64]
        disc = np.hypot(y - 15.5, (x - 31.5) / 2) < 14
        logits = np.where(disc, 8.0, -8.0).astype(np.float32)
        mask = np.broadcast_to(logits, (len(patches), 32, 64))
        zeros = np.zeros_like(mask)
        return StepOutput(mask, zeros, np.zeros((len(patches), 2, 32, 64), np.float32), h, c)


def published(config, frames=FEWEST + 1):
    stream = AmodalStream(Painting(), StreamConfig(compose=config))
    notch = instance("1", rectangle(SHAPE, (40, 20, 60, 40)) - rectangle(SHAPE, (50, 20, 60, 30)))
    image = np.zeros((*SHAPE, 3), np.uint8)
    for number in range(frames):
        (done,) = stream.step(Frame(number * 10**8, image, [notch]))
    full = np.zeros(SHAPE, bool)
    full[int(done.box.y0) : int(done.box.y1), int(done.box.x0) : int(done.box.x1)] = done.mask > 0
    return full, stream.report.unfamiliar


def test_an_unfamiliar_scene_is_completed_within_convex_hulls():
    first, unfamiliar = published(ComposeConfig(), frames=1)
    assert not unfamiliar and first.sum() > 600
    later, unfamiliar = published(ComposeConfig())
    assert unfamiliar
    outside = later.copy()
    outside[20:40, 40:60] = False
    assert outside.sum() <= 4  # cells are wider than pixels
    assert 300 < later.sum() <= 404  # part of the notch lies within the hull


@pytest.mark.parametrize(
    "config", [ComposeConfig(hull_above=0), ComposeConfig(complete_into="others")]
)
def test_nothing_is_limited_where_that_is_off(config):
    assert not published(config)[1]


def test_chosen_hulls_need_no_evidence():
    mask, unfamiliar = published(ComposeConfig(complete_into="hull"), frames=1)
    assert not unfamiliar and 300 < mask.sum() <= 404


def test_an_empty_mask_has_no_hull():
    empty = dataclasses.replace(OWN, mask=np.zeros_like(OWN.mask))
    count, hull = np.zeros(SHAPE, np.uint8), ComposeConfig(complete_into="hull")
    done = compose(empty, np.ones(SHAPE, np.float32), BOX, count, (0.0, 0.0), hull)
    assert not done.mask.any()
