import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")
from savos_model.types import AmodalObject, Box, Instance, Source
from savos_ros.bags.types import BagKit
from savos_ros.messages import kit as message_kit
from savos_ros.messages.results import amodal_objects, whole_objects

kit = BagKit()
HEAD = message_kit.header(kit, 1, "camera")


def thing(source=Source.FORWARD):
    rng = np.random.default_rng(3)
    mask = rng.integers(0, 256, (20, 30), np.uint8)
    visible = np.zeros_like(mask)
    visible[5:10, 5:20] = rng.integers(0, 2, (5, 15), np.uint8)
    box = Box(40, 50, 70, 70)
    return AmodalObject("7", "car", 0.5, source, box, mask, visible, 0.25, 0.75, (1.5, -2.0))


def instance(item, grow=0):
    """The visible part as the tracker gave it, in a box of its own."""
    x, y = int(item.box.x0), int(item.box.y0)
    mask = np.pad(item.visible[5:10, 5:20], grow, constant_values=1)
    return Instance(
        item.id, Box(x + 5 - grow, y + 5 - grow, x + 20 + grow, y + 10 + grow), mask, "car"
    )


def test_a_published_object_comes_back_equal():
    item = thing()
    message = message_kit.amodal_array(kit, HEAD, (100, 120), [item], "name")
    (back,) = amodal_objects(message, [instance(item)])
    assert np.array_equal(back.mask, item.mask) and np.array_equal(back.visible, item.visible)
    for name in ("id", "class_id", "score", "source", "box", "occlusion", "confidence", "motion"):
        assert getattr(back, name) == getattr(item, name)


def test_coasted_objects_and_unknown_ids_have_no_visible_part():
    for item, given in ((thing(Source.COASTED), [instance(thing())]), (thing(), [])):
        message = message_kit.amodal_array(kit, HEAD, (100, 120), [item], "name")
        (back,) = amodal_objects(message, given)
        assert not back.visible.any()


def test_a_visible_mask_that_leaves_the_box_is_cut():
    item = thing()
    message = message_kit.amodal_array(kit, HEAD, (100, 120), [item], "name")
    (back,) = amodal_objects(message, [instance(item, grow=12)])
    assert back.visible.shape == item.mask.shape
    assert back.visible[0].all()
    assert np.array_equal(back.visible[5:10, 5:20], item.visible[5:10, 5:20])
    far = Instance("7", Box(0, 0, 5, 5), np.ones((5, 5), np.uint8))
    assert not amodal_objects(message, [far])[0].visible.any()


def test_whole_objects_know_their_hidden_share():
    whole = Instance("7", Box(10, 10, 30, 20), np.ones((10, 20), np.uint8))
    seen = Instance("7", Box(10, 10, 15, 20), np.ones((10, 5), np.uint8))
    (item,) = whole_objects([whole], [seen])
    assert item.occlusion == pytest.approx(0.75) and item.mask.max() == 255
    assert item.visible[:, :5].all() and not item.visible[:, 5:].any()
    assert whole_objects([whole])[0].occlusion == 1.0
