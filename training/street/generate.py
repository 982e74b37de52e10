"""Synthetic street scenes with exact amodal truth, streamed frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from savos_model.types import Box
from training.street.config import StreetConfig, StreetFrame
from training.street.scene import Scene

CLASS_DIVISOR = 1000


def generate(config: StreetConfig) -> Iterator[StreetFrame]:
    """Stream a clip; the same config gives the same bits, memory does not grow with `frames`."""
    scene = Scene(config)
    ids: dict[int, int] = {}
    counters = {1: 0, 2: 0}
    for index in range(config.frames):
        image, seen = scene.render()
        for entry in seen:
            # An object begins when a tracker could see it, and stays until it is gone.
            if entry.id not in ids and _area(entry.visible) >= config.min_tracked_px:
                ids[entry.id] = _new_id(entry.class_id, counters, set(ids.values()))
        objects = [replace(entry, id=ids[entry.id]) for entry in seen if entry.id in ids]
        yield StreetFrame(index, round(index * 1e9 / config.rate_hz), image, objects)
        scene.step()
        alive = scene.alive()
        ids = {uid: number for uid, number in ids.items() if uid in alive}


def _area(mask: tuple[Box, np.ndarray] | None) -> int:
    return 0 if mask is None else int(mask[1].sum())


def _new_id(class_id: int, counters: dict[int, int], used: set[int]) -> int:
    """Next free number of a class; after 999 objects the numbers of those long gone come again."""
    for _ in range(CLASS_DIVISOR):
        counters[class_id] = counters[class_id] % (CLASS_DIVISOR - 1) + 1
        number = class_id * CLASS_DIVISOR + counters[class_id]
        if number not in used:
            return number
    raise RuntimeError(f"more than 999 objects of class {class_id} in a frame: reduce density")


def label_image(frame: StreetFrame) -> np.ndarray:
    """Return tracker output of a frame as label image, uint16 [H, W]: id or 0; nearer masks win."""
    labels = np.zeros(frame.image.shape[:2], dtype=np.uint16)
    for item in sorted(
        frame.objects, key=lambda entry: -entry.depth_m if math.isfinite(entry.depth_m) else 0.0
    ):
        if item.tracked is not None:
            box, mask = item.tracked
            labels[box.y0 : box.y1, box.x0 : box.x1][mask > 0] = item.id
    return labels
