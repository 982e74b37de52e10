import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from savos_model.types import AmodalObject, Box, Source
from savos_ros.messages import extras

HEAD = SimpleNamespace(stamp="the stamp", frame_id="camera")


class Fields:
    """A message stand-in: nested fields appear when they are first touched."""

    def __init__(self, **fields):
        vars(self).update(fields)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = Fields()
        setattr(self, name, value)
        return value


PACKAGE = type("Package", (), {"__getattr__": lambda self, name: Fields})()


def thing():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 4:24] = 255
    mask[0, 0] = 100  # below one half
    return AmodalObject(
        "7", "car", 0.5, Source.FORWARD, Box(10, 20, 40, 40), mask, mask // 255, 0.0, 1.0, (0, 0)
    )


def test_detections_are_the_boxes_of_the_pixels_under_the_same_ids():
    array = extras.detections(PACKAGE, HEAD, [thing()])
    (entry,) = array.detections
    assert array.header is HEAD and entry.header is HEAD and entry.id == "7"
    assert (entry.bbox.center.position.x, entry.bbox.center.position.y) == (24.0, 30.0)
    assert (entry.bbox.size_x, entry.bbox.size_y) == (20.0, 10.0)
    (hypothesis,) = entry.results
    assert (hypothesis.hypothesis.class_id, hypothesis.hypothesis.score) == ("car", 0.5)
    assert extras.detections(PACKAGE, HEAD, []).detections == []


def test_annotations_follow_the_outline():
    array = extras.image_annotations(PACKAGE, HEAD.stamp, [thing()])
    (line,), (text,) = array.points, array.texts
    assert line.type == 2 and line.timestamp == "the stamp" and line.fill_color.a == 0.3
    corners = {(point.x, point.y) for point in line.points}
    assert corners == {(14.0, 25.0), (33.0, 25.0), (33.0, 34.0), (14.0, 34.0)}
    assert text.text == "7" and (text.position.x, text.position.y) == (10.0, 20.0)


def test_probabilities_are_cut_where_the_object_was():
    faint = dataclasses.replace(
        thing(), mask=np.where(thing().mask == 255, 110, 50).astype(np.uint8), cut=thing().inside
    )
    assert extras.amodal_box(faint) == extras.amodal_box(thing()) == (14, 25, 20, 10)
    corners = [
        [
            (point.x, point.y)
            for point in extras.image_annotations(PACKAGE, HEAD.stamp, [item]).points[0].points
        ]
        for item in (faint, thing())
    ]
    assert corners[0] == corners[1]


def test_absent_packages_are_none():
    assert extras.optional("no_such_package_msgs") is None


@pytest.mark.parametrize(
    ("package", "fields"),
    [("vision_msgs", {"bbox", "id", "results"}), ("foxglove_msgs", {"points", "texts"})],
)
def test_installed_packages_take_what_is_built(package, fields):
    messages = extras.optional(package)
    if messages is None:
        pytest.skip(f"{package} is not installed")
    from std_msgs.msg import Header

    if package == "vision_msgs":
        array = extras.detections(messages, Header(), [thing()])
    else:
        array = extras.image_annotations(messages, Header().stamp, [thing()])
    first = array.detections[0] if package == "vision_msgs" else array
    assert fields <= set(first.get_fields_and_field_types())
