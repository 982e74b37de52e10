"""Companion messages of other packages, built from objects when those packages are installed."""

from importlib import import_module
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from savos_model.types import AmodalObject
from savos_ros.messages.overlay import color_of, outlines

FONT_SIZE = 12.0
LINE_LOOP = 2  # foxglove_msgs/PointsAnnotation


def optional(package: str) -> ModuleType | None:
    """Return the messages of a package, None when it is not installed."""
    try:
        return import_module(f"{package}.msg")
    except ImportError:
        return None


def detections(vision: Any, header: Any, objects: list[AmodalObject]) -> Any:
    """Build a vision_msgs/Detection2DArray: amodal boxes with the ids of the masks."""
    found = []
    for item in objects:
        hypothesis = vision.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = item.class_id
        hypothesis.hypothesis.score = float(item.score)
        box = amodal_box(item)
        entry = vision.Detection2D(header=header, id=item.id, results=[hypothesis])
        entry.bbox.center.position.x = box[0] + box[2] / 2
        entry.bbox.center.position.y = box[1] + box[3] / 2
        entry.bbox.size_x, entry.bbox.size_y = float(box[2]), float(box[3])
        found.append(entry)
    return vision.Detection2DArray(header=header, detections=found)


def amodal_box(item: AmodalObject) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the pixels inside [px]."""
    x, y, width, height = cv2.boundingRect(item.inside.astype(np.uint8))
    return int(item.box.x0) + x, int(item.box.y0) + y, width, height


def image_annotations(
    foxglove: Any, stamp: Any, objects: list[AmodalObject], line_loop: Any = LINE_LOOP
) -> Any:
    """Build ImageAnnotations: filled outlines and ids over the image.

    `foxglove` is the module foxglove_msgs.msg, or foxglove.messages of the SDK; `stamp`, of its
    type, and `line_loop`, its value for a closed line, go into every annotation.
    """
    points, texts = [], []
    for item in objects:
        blue, green, red = (part / 255 for part in color_of(item.id))
        rgb = {"r": red, "g": green, "b": blue}
        corner = (int(item.box.x0), int(item.box.y0))
        points += [
            foxglove.PointsAnnotation(
                timestamp=stamp,
                type=line_loop,
                points=[foxglove.Point2(x=float(x), y=float(y)) for x, y in contour.reshape(-1, 2)],
                outline_color=foxglove.Color(**rgb, a=1.0),
                fill_color=foxglove.Color(**rgb, a=0.3),
                thickness=2.0,
            )
            for contour in outlines(item, cv2.CHAIN_APPROX_TC89_L1)
        ]
        texts.append(
            foxglove.TextAnnotation(
                timestamp=stamp,
                position=foxglove.Point2(x=float(corner[0]), y=float(corner[1])),
                text=item.id,
                font_size=FONT_SIZE,
                text_color=foxglove.Color(**rgb, a=1.0),
                background_color=foxglove.Color(a=0.6),
            )
        )
    return foxglove.ImageAnnotations(points=points, texts=texts)
