"""The node with the real messages of other packages, each where its package is installed."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from sensor_msgs.msg import Image

from savos_ros.node.qos import profile
from tests.node.rig import HEIGHT, WIDTH, Rig, wait_for

SQUARE = ((10, 8), (29, 8), (29, 27), (10, 27))


def package(name):
    return pytest.importorskip(f"{name}.msg", reason=f"{name} is not installed")


@pytest.fixture
def open_rig():
    """Makes one active rig that is closed after the test."""
    made = []

    def make(**parameters):
        made.append(Rig(diagnostics__period_s=0.2, **parameters).activate())
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def detection(yolo, track, points, shape=(HEIGHT, WIDTH)):
    item = yolo.Detection(id=track, class_id=2, class_name="car", score=0.75)
    item.mask.height, item.mask.width = shape
    item.mask.data = [yolo.Point2D(x=float(x), y=float(y)) for x, y in points]
    return item


def test_yolo_detections_become_masks(open_rig, capfd):
    yolo = package("yolo_msgs")
    rig = open_rig(input__mask_source="yolo")
    for index in range(3):
        found = [
            detection(yolo, "4", [(x + index, y) for x, y in SQUARE]),
            detection(yolo, "", SQUARE),
            detection(yolo, "5", (), (0, 0)),
        ]
        rig.send(index, labels=yolo.DetectionArray(header=rig.head(index), detections=found))
        rig.answered(index)
    first, *_, last = rig.masks
    assert [(mask.id, mask.class_id, mask.score) for mask in last.masks] == [("4", "car", 0.75)]
    (mask,) = first.masks
    roi = mask.roi
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    part = np.frombuffer(mask.mask.data, np.uint8).reshape(roi.height, roi.width)
    whole[roi.y_offset : roi.y_offset + roi.height, roi.x_offset : roi.x_offset + roi.width] = part
    assert whole[8:28, 10:30].all() and np.count_nonzero(whole) == 400
    values = rig.values()
    assert values["masks.mask_without_id"] == values["masks.mask_absent"] == "3"
    text = capfd.readouterr().err
    assert "`tracking` topic" in text and "segmentation model" in text


def boxes(array):
    """Id with left, top, width and height of each amodal mask [px]."""
    found = {}
    for mask in array.masks:
        inside = np.frombuffer(mask.mask.data, np.uint8).reshape(mask.roi.height, -1) >= 128
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        found[mask.id] = (
            int(mask.roi.x_offset + columns[0]),
            int(mask.roi.y_offset + rows[0]),
            int(columns[-1] - columns[0] + 1),
            int(rows[-1] - rows[0] + 1),
        )
    return found


def heard(rig, kind, topic):
    """Answer three frames; return what came of them on a topic."""
    messages = []
    rig.helper.create_subscription(kind, topic, messages.append, profile(10))
    count = rig.helper.count_publishers
    wait_for(lambda: count(topic) == 1, what=f"a publisher of {topic}")
    outputs = rig.node._outputs
    taken = outputs._detections if "detections" in topic else outputs._annotations
    wait_for(taken.get_subscription_count, what=f"a reader of {topic}")
    for index in range(3):
        rig.send(index)
        rig.answered(index)
    wait_for(lambda: len(messages) == 3, what=f"three messages on {topic}")
    return messages


def test_detections_have_the_boxes_and_ids_of_the_masks(open_rig):
    vision = package("vision_msgs")
    rig = open_rig()
    for array, masks in zip(
        heard(rig, vision.Detection2DArray, "/savos/detections"), rig.masks, strict=True
    ):
        assert array.header == masks.header
        found = {}
        for item in array.detections:
            at, (hypothesis,) = item.bbox.center.position, item.results
            left, top = at.x - item.bbox.size_x / 2, at.y - item.bbox.size_y / 2
            found[item.id] = (left, top, item.bbox.size_x, item.bbox.size_y)
            assert (hypothesis.hypothesis.class_id, item.header) == ("1", masks.header)
        assert found == boxes(masks) and found


def test_annotations_outline_the_masks(open_rig):
    foxglove = package("foxglove_msgs")
    rig = open_rig()
    for array, masks in zip(
        heard(rig, foxglove.ImageAnnotations, "/savos/annotations"), rig.masks, strict=True
    ):
        (line,), (text,) = array.points, array.texts
        ((track, (left, top, width, height)),) = boxes(masks).items()
        assert line.type == line.LINE_LOOP and line.timestamp == masks.header.stamp
        columns, rows = [p.x for p in line.points], [p.y for p in line.points]
        assert (min(columns), min(rows)) == (left, top)
        assert (max(columns), max(rows)) == (left + width - 1, top + height - 1)
        assert text.text == track and 0 < line.fill_color.a < line.outline_color.a == 1


COLOUR = (50, 100, 200)  # blue, green, red


def bayer():
    """A mosaic of one colour, red at the upper left corner."""
    pixels = np.full((HEIGHT, WIDTH), COLOUR[1], np.uint8)
    pixels[::2, ::2], pixels[1::2, 1::2] = COLOUR[2], COLOUR[0]
    return pixels


def test_a_bayer_mosaic_comes_out_in_colour(open_rig):
    rig = open_rig(overlay__alpha=0.0, overlay__outline_px=0, overlay__labels=False)
    pictures = []
    rig.helper.create_subscription(Image, "/savos/overlay", pictures.append, profile(10))
    wait_for(rig.node._outputs._picture.get_subscription_count, what="a reader of overlays")
    rig.send(0, image=rig.image(0, bayer(), "bayer_rggb8"))
    rig.answered(0)
    rig.send(1, image=rig.image(1, bayer(), "no_such_encoding"))
    rig.send(2, image=rig.image(2, bayer(), "bayer_rggb8"))
    rig.answered(2)
    wait_for(lambda: len(pictures) == 2, what="two overlays")
    drawn = np.frombuffer(pictures[0].data, np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert (drawn[2:-2, 2:8] == COLOUR).all()
    assert rig.stamps() == [0, 2] and rig.values()["drops.image_encoding"] == "1"
