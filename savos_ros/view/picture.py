"""Turns a frame and its objects into what the page shows: JPEG pictures and rows of a table."""

import dataclasses
import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from savos_model.types import AmodalObject, Source
from savos_ros.messages.conversions import ConversionError, compressed_array, image_array, stamp_ns
from savos_ros.messages.overlay import color_of, draw, jpeg
from savos_ros.messages.results import amodal_objects
from savos_ros.messages.settings import OverlayConfig

LONGEST_SIDE = 1920  # a page shows no more pixels, and a phone should not load them [px]
LENGTHS = struct.Struct("<III")  # of the facts and the two pictures [bytes]


@dataclass(frozen=True)
class Shown:
    """One frame with its objects, of whatever source."""

    stamp_ns: int  # time of the image [ns]
    image: np.ndarray  # uint8 [H, W, 3] BGR, or [H, W] grey
    objects: list[AmodalObject]  # completed objects, inside the image
    model: str  # name of the weights


def pair_shown(image: Any, masks: Any, max_pixels: int) -> Shown:
    """Turn two messages of one stamp into a frame with its objects.

    Raises ConversionError: the pair cannot be used; the text says why.
    """
    read = compressed_array if hasattr(image, "format") else image_array
    pixels, order = read(image, max_pixels)
    if order == "rgb" and pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    check_masks(masks, *pixels.shape[:2])
    return Shown(stamp_ns(image.header), pixels, amodal_objects(masks), masks.model)


def check_masks(masks: Any, height: int, width: int) -> None:
    """Check that an AmodalMaskArray belongs to an image of height x width [px] and is whole.

    Raises ConversionError: it was made for another image, or a mask does not fit.
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


def packet(shown: Shown, config: OverlayConfig, compare: bool, **facts: Any) -> bytes:
    """Draw and encode one frame for clients: LENGTHS, facts as JSON, then the JPEG pictures.

    The second picture, of the visible masks, is empty without `compare`.
    """
    drawn = [shown.objects, visible_parts(shown.objects)] if compare else [shown.objects]
    pictures = [
        jpeg(draw(shown.image, objects, config), config.jpeg_quality, LONGEST_SIDE)
        for objects in drawn
    ]
    facts |= {
        "stamp": f"{shown.stamp_ns / 1e9:.3f}",
        "model": shown.model,
        "tracks": [track_row(item) for item in shown.objects],
    }
    text = json.dumps(facts, allow_nan=False).encode()
    sizes = (len(text), len(pictures[0]), len(pictures[1]) if compare else 0)
    return b"".join((LENGTHS.pack(*sizes), text, *pictures))


def plain(packet: bytes) -> bytes:
    """Return a packet without the picture of the visible masks."""
    facts, amodal, _ = LENGTHS.unpack_from(packet)
    return LENGTHS.pack(facts, amodal, 0) + packet[LENGTHS.size : LENGTHS.size + facts + amodal]


def visible_parts(objects: list[AmodalObject]) -> list[AmodalObject]:
    """Return the objects as the tracker gave them; those without a mask are left out."""
    return [
        dataclasses.replace(item, mask=item.visible * np.uint8(255), cut=None, occlusion=0.0)
        for item in objects
        if item.source != Source.COASTED
    ]


def track_row(item: AmodalObject) -> dict[str, Any]:
    """Return what the table says of a track: shares in 0..1, None where not known."""
    blue, green, red = color_of(item.id)
    hidden = None if item.source == Source.COASTED else _finite(item.occlusion)
    return {
        "id": item.id,
        "class": item.class_id,
        "hidden": hidden,
        "confidence": _finite(item.confidence),
        "source": item.source.name.lower(),
        "color": f"#{red:02x}{green:02x}{blue:02x}",
    }


def _finite(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
