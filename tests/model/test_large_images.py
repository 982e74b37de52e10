"""An image of more than FULL_PX is sampled: nearly the same answer, for the price of the patch."""

import cv2
import numpy as np
import pytest

from savos_model import geometry
from savos_model.config import ComposeConfig, ModelConfig
from savos_model.geometry import crop, is_sampled, window
from savos_model.instances import occupancy
from savos_model.masks import iou, look_at
from savos_model.stream import compose as composing
from savos_model.stream.compose import compose
from savos_model.stream.flow import DisFlow, LargeImage, to_grey
from savos_model.stream.inputs import mask_channel
from savos_model.types import Box, Frame, Instance
from tests.model.scenes import instance, texture

SIZE = (1100, 1300)
PATCH = (64, 128)
BOXES = [Box(100, 200, 700, 900), Box(-150, 300, 500, 1300), Box(800, 100, 1290, 400)]


@pytest.fixture(scope="module")
def picture():
    return cv2.resize(texture(550, 650, 3), SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def ellipse(centre, axes):
    mask = cv2.ellipse(np.zeros(SIZE, np.uint8), centre, axes, 20, 0, 360, 1, -1)
    return instance(str(centre[0]), mask)


def full(monkeypatch, pixels=1 << 30):
    """Read images of so many pixels in full."""
    for module in (geometry, composing):
        monkeypatch.setattr(module, "FULL_PX", pixels)


def test_what_kitti_has_is_read_in_full():
    box = Box(0, 0, 1242, 375)
    assert not is_sampled((375, 1242, 3), box)
    assert not is_sampled((720, 1280), box)
    assert is_sampled((1080, 1920, 3), box)
    assert not is_sampled((1080, 1920, 3), Box(0, 0, 256, 128)), "few pixels"


@pytest.mark.parametrize("box", BOXES)
def test_samples_are_nearly_the_area_mean(picture, box, monkeypatch):
    sampled = crop(picture, box, PATCH)
    full(monkeypatch)
    exact = crop(picture, box, PATCH)
    assert (sampled.dtype, sampled.shape) == (exact.dtype, exact.shape)
    assert (sampled != exact).any(), "it is sampled"
    assert np.abs(sampled.astype(int) - exact).mean() < 1.5  # grey levels


def test_a_box_next_to_the_image_is_empty(picture):
    assert not crop(picture, Box(2000, 0, 2400, 400), PATCH).any()


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("hint", [True, False])
def test_masks_are_sampled_where_colours_are(box, hint, monkeypatch):
    own, other = ellipse((400, 560), (120, 200)), ellipse((520, 560), (130, 150))
    count = occupancy([own, other], *SIZE)
    model = ModelConfig(occluder_hint=hint)
    sampled = mask_channel(count, own, box, model)
    monkeypatch.setattr("savos_model.stream.inputs.is_sampled", lambda *_: False)
    full(monkeypatch)
    exact = mask_channel(count, own, box, model)
    assert sampled.dtype == exact.dtype and (sampled.min() < 0) == (exact.min() < 0)
    np.testing.assert_allclose(sampled.mean(), exact.mean(), atol=2e-3)
    assert np.abs(sampled - exact).mean() < 5e-3
    assert ((sampled == 0) == (exact == 0)).mean() > 0.98, "also outside the image"
    assert np.abs(sampled).max() <= 1


@pytest.mark.parametrize("order", ["bgr", "rgb"])
@pytest.mark.parametrize("boxes", [1, 30])
def test_flow_of_a_large_image_is_that_of_its_grey_form(picture, order, boxes, monkeypatch):
    monkeypatch.setattr("savos_model.stream.flow.WHOLE_GREY_PX", 1 << 20)
    there = cv2.warpAffine(picture, np.float32([[1, 0, 12], [0, 1, -5]]), SIZE[::-1])
    frames = [Frame(0, image, [], order) for image in (picture, there)]
    greys = [to_grey(frame) for frame in frames]
    assert all(isinstance(grey, LargeImage) for grey in greys)
    box = Box(300, 300, 800, 800)
    item = Instance("1", box, np.ones((500, 500), np.uint8))
    regions = DisFlow().regions(*greys, [box] * boxes, [(8.0, -8.0)] * boxes)
    np.testing.assert_allclose(regions[-1].median(item), (12, -5), atol=1.0)


def test_a_grey_camera_needs_no_conversion(picture, monkeypatch):
    monkeypatch.setattr("savos_model.stream.flow.WHOLE_GREY_PX", 1 << 20)
    grey = np.ascontiguousarray(picture[..., 1])
    assert to_grey(Frame(0, grey, [])).pixels is grey
    small = window(grey, Box(0, 0, 1242, 375))
    assert to_grey(Frame(0, small, [])) is small


@pytest.mark.parametrize("values", ["binary", "probability"])
@pytest.mark.parametrize("into", ["others", "hull", "anything"])
def test_masks_composed_by_bytes_lose_nothing_to_speak_of(values, into, monkeypatch):
    whole, other = (
        cv2.ellipse(np.zeros(SIZE, np.uint8), centre, axes, 20, 0, 360, 1, -1)
        for centre, axes in (((400, 560), (120, 200)), ((520, 560), (130, 150)))
    )
    seen = instance("1", whole * (1 - other))
    count = occupancy([seen, instance("2", other)], *SIZE)
    box = Box(150, 150, 650, 970)
    chance = cv2.GaussianBlur(crop(whole.astype(np.float32), box, PATCH), (0, 0), 2)
    config = ComposeConfig(mask_values=values, complete_into=into)
    bytewise = compose(seen, chance, box, count, (0.0, 0.0), config)
    full(monkeypatch)
    exact = compose(seen, chance, box, count, (0.0, 0.0), config)
    view = Box(0, 0, 1300, 1100)
    shown = [look_at((done.box, done.inside), view) for done in (bytewise, exact)]
    assert iou(*shown) > 0.998 and shown[0].sum() > 1.1 * seen.mask.sum()
    assert bytewise.confidence == pytest.approx(exact.confidence, abs=0.004)
    assert bytewise.occlusion == pytest.approx(exact.occlusion, abs=0.002)
