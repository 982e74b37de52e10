"""Decode synchronized messages to a frame of the stream, without rclpy."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

from savos_model.instances import TooManyInstancesError, from_label_image
from savos_model.types import Box, Frame, Instance
from savos_ros.messages.conversions import (
    ConversionError,
    compressed_array,
    flow_array,
    image_array,
    label_array,
    stamp_ns,
)
from savos_ros.messages.settings import InputConfig

# What to do about masks that are left out, by the reason under which they are counted.
REMEDIES = {
    "mask_without_id": "give each mask its track id (yolo_ros: remap to its `tracking` topic), or "
    "set input.track: true",
    "mask_duplicate_id": "give an id to one mask of a frame only",
    "mask_absent": "use a segmentation model: a detection without a mask is only a box",
    "mask_encoding": "send masks as mono8",
    "mask_size": "make masks for this image's size",
    "mask_outside": "keep each roi inside the image",
    "mask_data": "fill data with step * height bytes",
    "mask_empty": "leave objects out that have no pixels",
}


def left_out_text(skipped: Counter) -> str:
    """Say how many masks of a frame were left out, why, with what to do about it."""
    return "; ".join(f"{count} {reason}: {REMEDIES[reason]}" for reason, count in skipped.items())


def decode(
    image: Any, instances: Any, config: InputConfig, flow: Any = None
) -> tuple[Frame, Counter]:
    """Decode a synchronized pair of messages to a frame, and count skipped masks by reason.

    Types of image and instances are those that `config.image_transport` and `config.mask_source`
    name; `flow` is an Image 32FC2 of the same size. Raises ConversionError: the pair cannot be
    used.
    """
    read = compressed_array if config.image_transport == "compressed" else image_array
    pixels, order = read(image, config.max_pixels)
    height, width = pixels.shape[:2]
    skipped: Counter = Counter()
    if config.mask_source in ("label_image", "label_png"):
        found = _from_labels(instances, height, width, config)
    elif config.mask_source == "instance_masks":
        _check_count(len(instances.masks), config)
        found, skipped = masks_to_instances(instances, height, width, not config.track)
    else:
        _check_count(len(instances.detections), config)
        found, skipped = detections_to_instances(instances, height, width, not config.track)
    motion = None
    if flow is not None:
        motion = flow_array(flow, config.max_pixels)
        _check_same_size("flow", motion.shape[0], motion.shape[1], height, width)
    return Frame(stamp_ns(image.header), pixels, found, order, motion), skipped


def masks_to_instances(
    message: Any, height: int, width: int, with_ids: bool = True
) -> tuple[list[Instance], Counter]:
    """Read an InstanceMaskArray of an image of height x width [px]; count bad masks by reason.

    Without `with_ids` the ids mean nothing: those that are missing or occur twice are replaced.
    Raises ConversionError: the array was made for an image of another size.
    """
    _check_same_size("InstanceMaskArray", int(message.height), int(message.width), height, width)
    return _usable(message.masks, _mask_of, height, width, with_ids)


def detections_to_instances(
    message: Any, height: int, width: int, with_ids: bool = True
) -> tuple[list[Instance], Counter]:
    """Read a yolo_msgs/DetectionArray: contours are filled, entries without a track id are skipped.

    Without `with_ids` the ids mean nothing: those that are missing or occur twice are replaced.
    A contour cannot hold holes or split parts; use InstanceMaskArray where these matter.
    """
    return _usable(message.detections, _filled_contour, height, width, with_ids)


def _usable(
    entries: Iterable[Any],
    mask_of: Callable[[Any, int, int], tuple[np.ndarray, int, int]],
    height: int,
    width: int,
    with_ids: bool,
) -> tuple[list[Instance], Counter]:
    """Read entries with the reader of their masks; count those that fail."""
    instances: list[Instance] = []
    skipped: Counter[str] = Counter()
    seen: set[str] = set()
    for entry in entries:
        try:
            mask, x, y = mask_of(entry, height, width)
            track = _claim_id(entry.id, seen, with_ids)
        except ConversionError as error:
            skipped[error.reason] += 1
            continue
        class_id = getattr(entry, "class_name", "") or str(entry.class_id)
        instances.append(_instance(track, mask, x, y, class_id, entry.score))
    return instances, skipped


def _from_labels(message: Any, height: int, width: int, config: InputConfig) -> list[Instance]:
    labels = label_array(message, config.max_pixels)
    _check_same_size("label image", labels.shape[0], labels.shape[1], height, width)
    try:
        return from_label_image(
            labels, config.ignore_label, config.label_divisor, config.max_instances
        )
    except TooManyInstancesError as error:
        raise ConversionError(
            "too_many_instances", f"{error}, or raise input.max_instances"
        ) from None
    except ValueError as error:
        raise ConversionError("labels_data", str(error)) from None


def _check_same_size(what: str, rows: int, columns: int, height: int, width: int) -> None:
    if (rows, columns) != (height, width):
        raise ConversionError(
            "size_mismatch",
            f"{what} is {columns}x{rows} but the image is {width}x{height}: both must come from "
            "the same camera picture at the same size",
        )


def _check_count(count: int, config: InputConfig) -> None:
    if count > config.max_instances:
        raise ConversionError(
            "too_many_instances",
            f"frame has {count} masks, more than {config.max_instances}: raise input.max_instances "
            "if it is meant",
        )


def _claim_id(track: str, seen: set[str], with_ids: bool) -> str:
    number = len(seen)
    while not with_ids and (not track or track in seen):
        track, number = f"mask {number}", number + 1
    if not track:
        raise ConversionError("mask_without_id", "a mask without a track id cannot be followed")
    if track in seen:
        raise ConversionError("mask_duplicate_id", f"id {track} occurs twice in one frame")
    seen.add(track)
    return track


def _mask_of(entry: Any, height: int, width: int) -> tuple[np.ndarray, int, int]:
    """Return the mask of an InstanceMask (uint8, 0 or more) and its left and top edge [px]."""
    roi, image = entry.roi, entry.mask
    if image.encoding not in ("mono8", "8UC1"):
        raise ConversionError(
            "mask_encoding", f"mask has encoding {image.encoding!r}, must be mono8"
        )
    if (image.height, image.width) != (roi.height, roi.width):
        raise ConversionError("mask_size", "mask and roi differ in size")
    x, y = int(roi.x_offset), int(roi.y_offset)
    if x + int(roi.width) > width or y + int(roi.height) > height:
        raise ConversionError("mask_outside", "roi leaves the image")
    try:
        mask = label_array(image, height * width)
    except ConversionError as error:
        reason = "mask_empty" if error.reason == "image_empty" else "mask_data"
        raise ConversionError(reason, str(error)) from None
    if not mask.any():
        raise ConversionError("mask_empty", "mask has no pixel")
    return mask, x, y


def _filled_contour(entry: Any, height: int, width: int) -> tuple[np.ndarray, int, int]:
    """Fill the contour of a Detection; returns the mask and its left and top edge [px]."""
    mask = entry.mask
    if not mask.data and not mask.height:
        raise ConversionError("mask_absent", "the detection has no mask")
    if (mask.height, mask.width) != (height, width):
        raise ConversionError("mask_size", "contour was made for an image of another size")
    points = np.array([(point.x, point.y) for point in mask.data], np.float64).reshape(-1, 2)
    if len(points) < 3 or not np.isfinite(points).all():
        raise ConversionError("mask_empty", "contour has fewer than three points")
    limit = np.array([width - 1, height - 1])
    points = np.clip(np.rint(points), 0, limit).astype(np.int32)
    corner = points.min(axis=0)
    columns, rows = points.max(axis=0) - corner + 1
    filled = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(filled, [points - corner], 1)
    return filled, int(corner[0]), int(corner[1])


def _instance(
    track: str, mask: np.ndarray, x: int, y: int, class_id: str, score: float
) -> Instance:
    """Cut a mask to its pixels and make them 0 or 1."""
    binary = (mask != 0).astype(np.uint8)
    left, top, columns, rows = cv2.boundingRect(binary)
    binary = np.ascontiguousarray(binary[top : top + rows, left : left + columns])
    box = Box(x + left, y + top, x + left + columns, y + top + rows)
    score = float(score)
    return Instance(
        track, box, binary, class_id, min(max(score, 0.0), 1.0) if math.isfinite(score) else 0.0
    )
