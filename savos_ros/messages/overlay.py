"""Draws amodal objects over an image: visible part filled, hidden part hatched, outline and id."""

import colorsys
import zlib
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from savos_model.masks import BoxedMask, slices, tighten
from savos_model.types import AmodalObject, Frame, Source
from savos_ros.messages.settings import OverlayConfig

GOLDEN = 0.618033988749895
HATCH_OPACITY = 0.85


@lru_cache(maxsize=4096)
def color_of(track: str) -> tuple[int, int, int]:
    """Return the BGR colour of an id: the same in every run, far apart for neighbouring ids."""
    digest = zlib.crc32(track.encode())
    hue = (digest % 9973) * GOLDEN % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.3 * (digest >> 16 & 1), 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def bgr_of(frame: Frame) -> np.ndarray:
    """Return the image of a frame, uint8 [H, W, 3] BGR or [H, W] grey; may be a view."""
    in_rgb = frame.order == "rgb" and frame.image.ndim == 3
    return frame.image[..., ::-1] if in_rgb else frame.image


def draw(image_bgr: np.ndarray, objects: list[AmodalObject], config: OverlayConfig) -> np.ndarray:
    """Return the image with the objects drawn over it: a copy, uint8 [H, W, 3], BGR, contiguous."""
    grey = image_bgr.ndim == 2
    canvas = cv2.cvtColor(image_bgr, cv2.COLOR_GRAY2BGR) if grey else np.array(image_bgr, order="C")
    for item in objects:
        _blend(canvas, BoxedMask(item.box, item.visible != 0), _mixture(item.id, config.alpha))
    for item in objects:  # lines after all fills: an occluder must not cover them
        hidden = tighten((item.box, item.inside & (item.visible == 0)))
        if hidden.mask.size:
            _blend(canvas, _hatched(hidden, config.hatch_px), _mixture(item.id, HATCH_OPACITY))
    for item in objects if config.outline_px else ():
        color = color_of(item.id)
        cv2.polylines(canvas, outlines(item), True, color, config.outline_px, cv2.LINE_AA)
    if config.labels:
        for item in objects:
            _label(canvas, item)
    return canvas


@lru_cache(maxsize=4096)
def _mixture(track: str, opacity: float) -> np.ndarray:
    """Return what an id's colour makes of each value of each channel: uint8 [1, 256, 3]."""
    color = np.array(color_of(track), np.float32)
    mixed = np.arange(256)[:, None] * (1 - opacity) + color * opacity
    return mixed.astype(np.uint8)[None]


def _blend(canvas: np.ndarray, where: BoxedMask, mixture: np.ndarray) -> None:
    """Mix a colour into the marked pixels."""
    region = canvas[slices(where.box)]
    cv2.copyTo(cv2.LUT(region, mixture), where.mask.view(np.uint8), region)


def _hatched(hidden: BoxedMask, period: int) -> BoxedMask:
    """Return the pixels of a bool mask on diagonal lines that are fixed to the image."""
    rows, columns = hidden.mask.shape
    diagonal = np.arange(rows + columns) + int(hidden.box.x0) + int(hidden.box.y0)
    lines = sliding_window_view(diagonal % period < max(1, period // 4), columns)[:rows]
    return BoxedMask(hidden.box, hidden.mask & lines)


def outlines(item: AmodalObject, kept: int = cv2.CHAIN_APPROX_SIMPLE) -> Sequence[np.ndarray]:
    """Return the outer outlines of an object in image pixels, int32 [N, 1, 2]; `kept` points."""
    corner = (int(item.box.x0), int(item.box.y0))
    inside = item.inside.astype(np.uint8)
    return cv2.findContours(inside, cv2.RETR_EXTERNAL, kept, offset=corner)[0]


def jpeg(image: np.ndarray, quality: int, longest: int = 0) -> bytes:
    """Encode a BGR or grey image, reduced to a longest side of `longest` pixels unless that is 0.

    Raises ValueError: it has more than 65,500 rows or columns.
    """
    scale = longest / max(image.shape[:2])
    if 0 < scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f"an image of shape {image.shape} cannot be stored as JPEG")
    return data.tobytes()


def _label(canvas: np.ndarray, item: AmodalObject) -> None:
    """Write the id above the object, and the hidden share or that the tracker gave no mask."""
    text = item.id if item.occlusion < 0.01 else f"{item.id} {100 * item.occlusion:.0f}%"
    text = f"{item.id} coasted" if item.source == Source.COASTED else text
    # At most a short text at a legible size: ids of the outside may be long.
    text = text if len(text) <= 24 else f"{text[:21]}..."
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    (width, height), base = cv2.getTextSize(text, font, scale, 1)
    x = min(max(int(item.box.x0), 0), max(canvas.shape[1] - width - 2, 0))
    y = min(max(int(item.box.y0) - 2, height + 1), canvas.shape[0] - base)
    cv2.rectangle(canvas, (x, y - height - 1), (x + width + 1, y + base - 1), (0, 0, 0), cv2.FILLED)
    bright = tuple((part + 255) // 2 for part in color_of(item.id))  # legible in every hue
    cv2.putText(canvas, text, (x + 1, y - 1), font, scale, bright, 1, cv2.LINE_AA)
