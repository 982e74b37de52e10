"""Companion messages of other packages, built from objects when those packages are installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from savos_model.types import AmodalObject
from savos_ros.messages.overlay import color_of

FONT_SIZE = 12.0
LINE_LOOP = 2  # foxglove_msgs/PointsAnnotation


def optional(package: str) -> ModuleType | None:
    """Return the messages of a package, None when it is not installed."""
    try:
        return import_module(f"{package}.msg")
    except ImportError:
        return None


def detections(vision: Any, header: Any, objects: list[AmodalObject]) -> Any:
    """Build a vision_msgs/Detection2DArray: amodal boxes with the ids of the masks.

    Args:
        vision: the module vision_msgs.msg.
        header: the image's header.
        objects: completed objects.
    """
    found = []
    for item in objects:
        hypothesis = vision.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = item.class_id
        hypothesis.hypothesis.score = float(item.score)
        box = amodal_box(item)
        entry = vision.Detection2D()
        entry.header = header
        entry.id = item.id
        entry.results = [hypothesis]
        entry.bbox.center.position.x = box[0] + box[2] / 2
        entry.bbox.center.position.y = box[1] + box[3] / 2
        entry.bbox.size_x, entry.bbox.size_y = float(box[2]), float(box[3])
        found.append(entry)
    array = vision.Detection2DArray()
    array.header, array.detections = header, found
    return array


def amodal_box(item: AmodalObject) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the pixels inside [px]."""
    x, y, width, height = cv2.boundingRect(item.inside.astype(np.uint8))
    return int(item.box.x0) + x, int(item.box.y0) + y, width, height


def image_annotations(foxglove: Any, header: Any, objects: list[AmodalObject]) -> Any:
    """Build a foxglove_msgs/ImageAnnotations: filled outlines and ids over the image.

    Args:
        foxglove: the module foxglove_msgs.msg.
        header: the image's header; its stamp is the time of every annotation.
        objects: completed objects.
    """
    array = foxglove.ImageAnnotations()
    points, texts = [], []
    for item in objects:
        inside = item.inside.astype(np.uint8)
        corner = (int(item.box.x0), int(item.box.y0))
        contours, _ = cv2.findContours(
            inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1, offset=corner
        )
        for contour in contours:
            line = foxglove.PointsAnnotation()
            line.timestamp, line.type = header.stamp, LINE_LOOP
            line.points = [_point(foxglove, x, y) for x, y in contour.reshape(-1, 2).tolist()]
            line.outline_color = _color(foxglove, item.id, 1.0)
            line.fill_color = _color(foxglove, item.id, 0.3)
            line.thickness = 2.0
            points.append(line)
        text = foxglove.TextAnnotation()
        text.timestamp, text.text, text.font_size = header.stamp, item.id, FONT_SIZE
        text.position = _point(foxglove, *corner)
        text.text_color = _color(foxglove, item.id, 1.0)
        text.background_color.a = 0.6
        texts.append(text)
    array.points, array.texts = points, texts
    return array


def _point(foxglove: Any, x: float, y: float) -> Any:
    point = foxglove.Point2()
    point.x, point.y = float(x), float(y)
    return point


def _color(foxglove: Any, track: str, alpha: float) -> Any:
    color = foxglove.Color()
    color.b, color.g, color.r = (part / 255 for part in color_of(track))
    color.a = alpha
    return color
