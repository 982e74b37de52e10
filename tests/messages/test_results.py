import dataclasses

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")
from savos_model.types import AmodalObject, Box, Instance, Source
from savos_ros.bags.types import BagKit
from savos_ros.messages import kit as message_kit
from savos_ros.messages.results import amodal_objects, whole_objects

kit = BagKit()
HEAD = message_kit.header(kit, 1, "camera")
BOX = Box(40, 50, 70, 70)


def thing(source=Source.FORWARD, name="7", box=BOX):
    rng = np.random.default_rng(3)
    mask = rng.integers(0, 253, (20, 30), np.uint8)
    visible = np.zeros_like(mask)
    if source != Source.COASTED:
        visible[5:10, 5:20] = rng.integers(0, 2, (5, 15), np.uint8)
    mask[visible != 0] = 255
    return AmodalObject(name, "car", 0.5, source, box, mask, visible, 0.25, 0.75, (1.5, -2.0))


def published(*items, period_s=0.1):
    return message_kit.amodal_array(kit, HEAD, (100, 120), items, "name", period_s)


def test_a_published_object_comes_back_with_its_visible_part():
    item = thing()
    (back,) = amodal_objects(published(item))
    assert np.array_equal(back.mask, item.mask) and np.array_equal(back.visible, item.visible)
    for name in ("id", "class_id", "score", "source", "box", "occlusion", "confidence"):
        assert getattr(back, name) == getattr(item, name)


def test_binary_hidden_pixels_differ_from_visible_ones_alone():
    item = thing()
    binary = dataclasses.replace(item, mask=np.where(item.mask > 100, 255, 0).astype(np.uint8))
    message = published(binary)
    values = np.frombuffer(message.masks[0].mask.data, np.uint8).reshape(20, 30)
    assert set(np.unique(values)) == {0, 254, 255}
    assert np.array_equal(values == 255, item.visible != 0)
    (back,) = amodal_objects(message)
    assert np.array_equal(back.mask, binary.mask)


def test_velocity_is_in_pixels_per_second():
    (mask,) = published(thing(), period_s=0.1).masks
    assert (mask.velocity_x, mask.velocity_y) == pytest.approx((15.0, -20.0))
    (mask,) = published(thing(), period_s=0.0).masks
    assert (mask.velocity_x, mask.velocity_y) == (0.0, 0.0)


def test_a_coasted_mask_does_not_claim_what_is_hidden():
    message = published(thing(Source.COASTED))
    assert np.isnan(message.masks[0].occlusion)
    (back,) = amodal_objects(message)
    assert not back.visible.any() and back.occlusion == 1.0


def test_occluders_are_named_by_what_they_cover():
    def flat(name, box, seen):
        shape = (int(box.height), int(box.width))
        mask, visible = np.full(shape, 255, np.uint8), np.zeros(shape, np.uint8)
        visible[:, seen] = 1
        return AmodalObject(name, "", 1.0, Source.FORWARD, box, mask, visible, 0.5, 1.0, (0, 0))

    back = flat("back", Box(0, 0, 40, 20), slice(0, 10))  # hidden from 10 to 40
    small = flat("small", Box(10, 0, 18, 20), slice(None))
    large = flat("large", Box(18, 0, 39, 20), slice(None))
    rim = flat("rim", Box(39, 0, 60, 20), slice(None))  # covers one of thirty columns
    away = flat("away", Box(0, 50, 40, 70), slice(None))
    found = message_kit.occluders([back, small, large, rim, away])
    assert found == [["large", "small"], [], [], [], []]
    assert message_kit.occluders([]) == []
    assert published(back, large).masks[0].occluder_ids == ["large"]


def test_whole_objects_know_their_hidden_share():
    whole = Instance("7", Box(10, 10, 30, 20), np.ones((10, 20), np.uint8))
    seen = Instance("7", Box(10, 10, 15, 20), np.ones((10, 5), np.uint8))
    (item,) = whole_objects([whole], [seen])
    assert item.occlusion == pytest.approx(0.75) and item.mask.max() == 255
    assert item.visible[:, :5].all() and not item.visible[:, 5:].any()
    assert whole_objects([whole])[0].occlusion == 1.0


@pytest.mark.parametrize("source", [Source.FORWARD, Source.COASTED])
def test_pixels_are_at_most_254_where_the_object_is_not_seen(source):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    visible = np.zeros_like(mask)
    visible[:4] = 1
    item = dataclasses.replace(thing(source), mask=mask, visible=visible)
    wanted = np.where(visible != 0, 255, np.minimum(mask, 254))
    pixels = message_kit.pixels_of(item)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, wanted)
    assert mask[15, 15] == 255, "the object is left as it is"
