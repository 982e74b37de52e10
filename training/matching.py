"""Pairs tracked masks with the annotated objects they show."""

from __future__ import annotations

from collections.abc import Iterable

from savos_model.types import Instance
from training.boxed import box_around, look_at
from training.evaluate.metrics import iou

MATCH_IOU = 0.5


def match(given: Iterable[Instance], truth: Iterable[Instance]) -> dict[str, str]:
    """Given id by truth id: the given mask of the best IoU with each true one, at least 0.5."""
    pairs: dict[str, str] = {}
    for target in truth:
        best, best_iou = "", 0.0
        for item in given:
            view = box_around([item.box, target.box])
            if view.width >= item.box.width + target.box.width:
                continue  # side by side, no common pixel
            overlap = iou(
                look_at((item.box, item.mask), view), look_at((target.box, target.mask), view)
            )
            if overlap > best_iou:
                best, best_iou = item.id, overlap
        if best_iou >= MATCH_IOU:
            pairs[target.id] = best
    return pairs
