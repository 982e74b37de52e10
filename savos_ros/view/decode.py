"""Turns an image and its masks, of rclpy or rosbags, into what is shown."""

from __future__ import annotations

from typing import Any

from savos_ros.messages.conversions import (
    ConversionError,
    compressed_array,
    image_array,
    stamp_ns,
)
from savos_ros.messages.results import amodal_objects
from savos_ros.view.picture import Shown


def shown(image: Any, masks: Any, max_pixels: int) -> Shown:
    """Turn two messages of one stamp into a frame with its objects.

    Raises:
        ConversionError: the pair cannot be used; the text says why.
    """
    read = compressed_array if hasattr(image, "format") else image_array
    pixels, order = read(image, max_pixels)
    if order == "rgb" and pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    check_masks(masks, *pixels.shape[:2])
    return Shown(stamp_ns(image.header), pixels, amodal_objects(masks), masks.model)


def check_masks(masks: Any, height: int, width: int) -> None:
    """Check that an AmodalMaskArray belongs to an image of height x width [px] and is whole.

    Raises:
        ConversionError: it was made for another image, or a mask does not fit.
    """
    if (masks.height, masks.width) != (height, width):
        raise ConversionError(
            "size_mismatch",
            f"masks are for an image of {masks.width}x{masks.height}, this one is "
            f"{width}x{height}: name the camera that the node takes with --image",
        )
    for entry in masks.masks:
        roi = entry.roi
        inside = roi.x_offset + roi.width <= width and roi.y_offset + roi.height <= height
        size = roi.width * roi.height
        if not inside or not size or len(entry.mask.data) != size:
            raise ConversionError(
                "mask_outside", f"mask {entry.id!r} leaves its image or lacks data: not of savos?"
            )
        if entry.source not in range(4):
            raise ConversionError("mask_source", f"mask {entry.id!r} has source {entry.source}")
