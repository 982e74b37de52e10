"""Annotations for Foxglove made of published masks, where foxglove_msgs is not installed."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from foxglove import Context
from foxglove.channels import ImageAnnotationsChannel
from foxglove.messages import (
    Color,
    ImageAnnotations,
    Point2,
    PointsAnnotation,
    PointsAnnotationType,
    TextAnnotation,
    Timestamp,
)
from rclpy.serialization import deserialize_message

from savos_ros.messages import extras
from savos_ros.messages.results import amodal_objects


class _Color(SimpleNamespace):
    """A foxglove_msgs/Color, transparent black at first."""

    def __init__(self) -> None:
        super().__init__(r=0.0, g=0.0, b=0.0, a=0.0)


class _Text(SimpleNamespace):
    """A foxglove_msgs/TextAnnotation."""

    def __init__(self) -> None:
        super().__init__(background_color=_Color())


# What extras.image_annotations fills: foxglove_msgs without the package.
_MESSAGES = SimpleNamespace(
    Color=_Color,
    ImageAnnotations=SimpleNamespace,
    Point2=SimpleNamespace,
    PointsAnnotation=SimpleNamespace,
    TextAnnotation=_Text,
)


def annotations_channel(
    topic: str, context: Context
) -> tuple[int, Callable[[bytes], None], Callable[[], None]]:
    """Make a channel of annotations.

    Args:
        topic: its name.
        context: of the server.

    Returns:
        Its number; what sends the annotations of a serialized AmodalMaskArray; what closes it.
    """
    from savos_ros.msg import AmodalMaskArray

    channel = ImageAnnotationsChannel(topic, context=context)

    def send(data: bytes) -> None:
        message = deserialize_message(data, AmodalMaskArray)
        channel.log(image_annotations(message), log_time=time.time_ns())

    return channel.id(), send, channel.close


def image_annotations(message: Any) -> ImageAnnotations:
    """Turn an AmodalMaskArray into outlines and ids over the image."""
    made = extras.image_annotations(_MESSAGES, message.header, amodal_objects(message))
    stamp = Timestamp(sec=message.header.stamp.sec, nsec=message.header.stamp.nanosec)
    points = [
        PointsAnnotation(
            timestamp=stamp,
            type=PointsAnnotationType.LineLoop,
            points=[_point(point) for point in item.points],
            outline_color=_color(item.outline_color),
            fill_color=_color(item.fill_color),
            thickness=item.thickness,
        )
        for item in made.points
    ]
    texts = [
        TextAnnotation(
            timestamp=stamp,
            position=_point(item.position),
            text=item.text,
            font_size=item.font_size,
            text_color=_color(item.text_color),
            background_color=_color(item.background_color),
        )
        for item in made.texts
    ]
    return ImageAnnotations(timestamp=stamp, points=points, texts=texts)


def _point(point: Any) -> Point2:
    return Point2(x=point.x, y=point.y)


def _color(color: Any) -> Color:
    return Color(r=color.r, g=color.g, b=color.b, a=color.a)
