"""Reads published results back into objects, for drawing and scoring."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from savos_model.masks import EMPTY, by_id, look_at
from savos_model.types import AmodalObject, Box, Instance, Source
from savos_ros.messages.kit import HIDDEN_PIXEL, VISIBLE_PIXEL


def amodal_objects(message: Any) -> list[AmodalObject]:
    """Turn an AmodalMaskArray, of rclpy or rosbags, into objects.

    Their occlusion is 1.0 while they coast, as in the stream; their motion per frame is not part
    of the message and stays 0.
    """
    objects = []
    for entry in message.masks:
        roi = entry.roi
        box = Box(roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height)
        pixels = np.frombuffer(entry.mask.data, np.uint8).reshape(roi.height, roi.width)
        coasted = entry.source == Source.COASTED
        objects.append(
            AmodalObject(
                entry.id,
                entry.class_id,
                float(entry.score),
                Source(entry.source),
                box,
                np.where(pixels == HIDDEN_PIXEL, VISIBLE_PIXEL, pixels),
                (pixels == VISIBLE_PIXEL).astype(np.uint8),
                1.0 if coasted else float(entry.occlusion),
                float(entry.confidence),
                (0.0, 0.0),
            )
        )
    return objects


def whole_objects(
    truth: Iterable[Instance], instances: Iterable[Instance] = ()
) -> list[AmodalObject]:
    """Turn whole masks, such as the truth, into objects; `instances` are their visible parts."""
    given = by_id(instances)
    objects = []
    for item in truth:
        part = given.get(item.id, EMPTY)
        visible = look_at((part.box, part.mask), item.box).astype(np.uint8)
        area = max(int(np.count_nonzero(item.mask)), 1)
        seen = int(np.count_nonzero(visible & item.mask))
        objects.append(
            AmodalObject(
                item.id,
                item.class_id,
                item.score,
                Source.VISIBLE,
                item.box,
                item.mask * np.uint8(255),
                visible,
                1 - seen / area,
                1.0,
                (0.0, 0.0),
            )
        )
    return objects
