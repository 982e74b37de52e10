from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from failing import fails

from savos_model.types import Box, Instance
from savos_ros.messages import kit as message_kit
from savos_ros.messages.conversions import ConversionError
from savos_ros.messages.frames import (
    REMEDIES,
    decode,
    detections_to_instances,
    left_out_text,
    masks_to_instances,
)
from savos_ros.messages.settings import InputConfig

rosbags_types = pytest.importorskip("savos_ros.bags.types", reason="rosbags is not installed")
HEIGHT, WIDTH = 40, 60
kit = rosbags_types.BagKit()
head = message_kit.header(kit, 12_000_000_005, "camera")


def image(encoding="bgr8", height=HEIGHT, width=WIDTH):
    return message_kit.image(kit, head, np.full((height, width, 3), 9, np.uint8), encoding)


def labels(array):
    return message_kit.image(kit, head, array, "16UC1")


def instance(track, x, y, mask, class_id="car", score=0.5):
    rows, columns = mask.shape
    return Instance(track, Box(x, y, x + columns, y + rows), mask, class_id, score)


def array_of(*instances, height=HEIGHT, width=WIDTH):
    return message_kit.instance_array(kit, head, (height, width), instances)


def test_label_image_becomes_instances():
    picture = np.zeros((HEIGHT, WIDTH), np.uint16)
    picture[5:10, 3:9] = 1007
    picture[0, 0] = 65535
    frame, skipped = decode(image("rgb8"), labels(picture), InputConfig())
    assert frame.stamp_ns == 12_000_000_005 and frame.order == "rgb" and frame.flow is None
    assert frame.image.shape == (HEIGHT, WIDTH, 3) and not skipped
    (item,) = frame.instances
    assert (item.id, item.class_id, item.box) == ("1007", "1", Box(3, 5, 9, 10))
    assert item.mask.all()


def test_label_images_may_come_as_png():
    picture = np.zeros((HEIGHT, WIDTH), np.uint16)
    picture[5:10, 3:9] = 1007
    png = cv2.imencode(".png", picture)[1].tobytes()
    packed = message_kit.compressed_image(kit, head, png, "16UC1; png compressed")
    frame, skipped = decode(image(), packed, InputConfig(mask_source="label_png"))
    assert [(item.id, item.box) for item in frame.instances] == [("1007", Box(3, 5, 9, 10))]
    assert not skipped


@pytest.mark.parametrize("value", [0, 65535])
def test_images_without_objects_give_no_instances(value):
    picture = np.full((HEIGHT, WIDTH), value, np.uint16)
    frame, _ = decode(image(), labels(picture), InputConfig())
    assert frame.instances == []


def test_single_pixels_and_masks_at_the_border():
    picture = np.zeros((HEIGHT, WIDTH), np.uint16)
    picture[0, 0], picture[-1, -1], picture[20, 30] = 1, 2, 3
    frame, _ = decode(image(), labels(picture), InputConfig())
    assert [item.box for item in frame.instances] == [
        Box(0, 0, 1, 1),
        Box(WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT),
        Box(30, 20, 31, 21),
    ]


def test_flow_is_handed_over():
    flow = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 2)).astype(np.float32)
    frame, _ = decode(
        image(),
        labels(np.zeros((HEIGHT, WIDTH), np.uint16)),
        InputConfig(),
        message_kit.image(kit, head, flow, "32FC2"),
    )
    assert np.array_equal(frame.flow, flow)


def test_sizes_that_differ_are_refused_with_both_named():
    with fails(ConversionError, "size_mismatch", "60x30", "60x40"):
        decode(image(), labels(np.zeros((30, WIDTH), np.uint16)), InputConfig())
    with fails(ConversionError, "size_mismatch", "InstanceMaskArray", "60x20", "60x40"):
        decode(image(), array_of(height=20), InputConfig(mask_source="instance_masks"))


def test_noise_instead_of_labels_is_refused():
    noise = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    with fails(ConversionError, "too_many_instances", "2399", "1024"):
        decode(image(), labels(noise), InputConfig())
    many = [instance(str(k), 0, 0, np.ones((1, 1), np.uint8)) for k in range(5)]
    with fails(ConversionError, "too_many_instances", "input.max_instances"):
        decode(image(), array_of(*many), InputConfig(mask_source="instance_masks", max_instances=4))


def test_negative_labels_are_refused():
    picture = message_kit.image(kit, head, np.full((HEIGHT, WIDTH), -3, np.int32), "32SC1")
    with fails(ConversionError, "labels_data", "-3"):
        decode(image(), picture, InputConfig())


def test_instance_masks_are_cut_to_their_pixels_and_keep_order_and_overlap():
    loose = np.zeros((10, 12), np.uint8)
    loose[2:5, 3:4] = 1
    loose[8, 11] = 1  # a second part
    message = array_of(
        instance("b", 20, 10, loose, "person", 0.25),
        instance("a", 22, 11, np.ones((4, 4), np.uint8)),
    )
    found, skipped = masks_to_instances(message, HEIGHT, WIDTH)
    assert [item.id for item in found] == ["b", "a"] and not skipped
    assert found[0].box == Box(23, 12, 32, 19)
    assert found[0].class_id == "person" and found[0].score == 0.25
    assert np.array_equal(found[0].mask, loose[2:9, 3:12])


def bad_entries():
    good = np.ones((4, 4), np.uint8)

    def entry(**changes):
        (item,) = array_of(instance("7", 2, 2, good)).masks
        for path, value in changes.items():
            part, _, name = path.rpartition("__")
            setattr(getattr(item, part) if part else item, name, value)
        return item

    return {
        "mask_without_id": entry(id=""),
        "mask_encoding": entry(mask__encoding="rgb8"),
        "mask_size": entry(roi__width=5),
        "mask_outside": entry(roi__x_offset=WIDTH - 2),
        "mask_data": entry(mask__data=np.zeros(3, np.uint8)),
        "mask_empty": entry(mask__data=np.zeros(16, np.uint8)),
    }


@pytest.mark.parametrize("reason", bad_entries())
def test_a_bad_entry_is_counted_and_the_others_stay(reason):
    message = array_of(instance("1", 0, 0, np.ones((2, 2), np.uint8)))
    message.masks.insert(0, bad_entries()[reason])
    found, skipped = masks_to_instances(message, HEIGHT, WIDTH)
    assert [item.id for item in found] == ["1"]
    assert skipped == {reason: 1}
    assert left_out_text(skipped) == f"1 {reason}: {REMEDIES[reason]}"


def test_an_id_counts_once_per_frame():
    message = array_of(*[instance("1", x, 0, np.ones((2, 2), np.uint8)) for x in (0, 9)])
    found, skipped = masks_to_instances(message, HEIGHT, WIDTH)
    assert [item.box.x0 for item in found] == [0]
    assert skipped == {"mask_duplicate_id": 1}


@pytest.mark.parametrize(("score", "kept"), [(2.0, 1.0), (-1.0, 0.0), (float("nan"), 0.0)])
def test_scores_stay_in_range(score, kept):
    found, _ = masks_to_instances(
        array_of(instance("1", 0, 0, np.ones((2, 2), np.uint8), score=score)), HEIGHT, WIDTH
    )
    assert found[0].score == kept


def detection(track, points, class_name="car", height=HEIGHT, width=WIDTH):
    """A stand-in of yolo_msgs/Detection: the fields that are read, with their names."""
    data = [SimpleNamespace(x=float(x), y=float(y)) for x, y in points]
    mask = SimpleNamespace(height=height, width=width, data=data)
    return SimpleNamespace(id=track, class_id=2, class_name=class_name, score=0.75, mask=mask)


def test_yolo_contours_are_filled():
    message = SimpleNamespace(
        detections=[
            detection("4", [(10, 5), (19, 5), (19, 14), (10, 14)]),
            detection("", [(0, 0), (5, 0), (5, 5)]),
            detection("5", []),
            detection("6", [(0, 0), (5, 0), (5, 5)], height=20),
            detection("8", [], height=0, width=0),
            detection("7", [(-30, 10), (100, 10), (100, 12), (-30, 12)], class_name=""),
        ]
    )
    found, skipped = detections_to_instances(message, HEIGHT, WIDTH)
    assert [(item.id, item.class_id) for item in found] == [("4", "car"), ("7", "2")]
    assert found[0].box == Box(10, 5, 20, 15) and found[0].mask.all() and found[0].score == 0.75
    assert found[1].box == Box(0, 10, WIDTH, 13)
    assert skipped == dict.fromkeys(
        ("mask_without_id", "mask_empty", "mask_size", "mask_absent"), 1
    )
    assert "`tracking` topic" in left_out_text(skipped)
    frame, again = decode(image(), message, InputConfig(mask_source="yolo"))
    assert len(frame.instances) == 2 and again == skipped


def test_masks_need_no_ids_where_the_node_gives_them():
    mask = np.ones((4, 4), np.uint8)
    names = ("", "7", "7", "mask 3", "")
    message = array_of(*(instance(name, 5 * k, 0, mask) for k, name in enumerate(names)))
    config = InputConfig(mask_source="instance_masks", track=True)
    frame, skipped = decode(image(), message, config)
    found = [item.id for item in frame.instances]
    assert not skipped and len(set(found)) == 5 and found[1] == "7"
    assert [int(item.box.x0) for item in frame.instances] == [0, 5, 10, 15, 20]
    assert decode(image(), message, InputConfig(mask_source="instance_masks"))[1] == {
        "mask_without_id": 2,
        "mask_duplicate_id": 1,
    }
