"""Handle binary masks stored as a box with the crop inside it."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from savos_model.geometry import mask_box, move
from savos_model.types import Box, Instance

SMOOTHING = 1e-6


class BoxedMask(NamedTuple):
    """A mask in image coordinates; unpacks like the pair (box, crop).

    `mask` [box.height, box.width] is non-zero inside the object; nothing is set outside the box.
    """

    box: Box
    mask: np.ndarray


EMPTY = BoxedMask(Box(0, 0, 0, 0), np.zeros((0, 0), bool))


def by_id(instances: Iterable[Instance]) -> dict[str, BoxedMask]:
    """Return the masks of instances by ID."""
    return {item.id: BoxedMask(item.box, item.mask) for item in instances}


def box_around(boxes: Iterable[Box]) -> Box:
    """Return the smallest integer box around all non-empty boxes (empty if there are none)."""
    kept = [box for box in boxes if box.width > 0 and box.height > 0]
    if not kept:
        return EMPTY.box
    return Box(
        math.floor(min(box.x0 for box in kept)),
        math.floor(min(box.y0 for box in kept)),
        math.ceil(max(box.x1 for box in kept)),
        math.ceil(max(box.y1 for box in kept)),
    )


def clip_box(box: Box, shape: tuple[int, int]) -> Box:
    """Cut a box to an image of `shape` (rows, columns); the result may be empty."""
    height, width = shape
    x0, x1 = (min(max(value, 0), width) for value in (box.x0, box.x1))
    y0, y1 = (min(max(value, 0), height) for value in (box.y0, box.y1))
    return Box(x0, y0, max(x0, x1), max(y0, y1))


def slices(box: Box) -> tuple[slice, slice]:
    """Return rows and columns of an integer box as slices."""
    return slice(int(box.y0), int(box.y1)), slice(int(box.x0), int(box.x1))


def look_at(boxed: tuple[Box, np.ndarray], view: Box) -> np.ndarray:
    """Return a boxed mask in another integer box: bool [view.height, view.width].

    False where `view` exceeds the mask's box. Raises ValueError: crop and box differ in size.
    """
    box, mask = boxed
    if mask.shape != (box.height, box.width):
        raise ValueError(
            f"mask must have the size of its box {(box.height, box.width)}, got {mask.shape}: "
            "crop it first"
        )
    shown = np.zeros((int(view.height), int(view.width)), bool)
    x0, y0 = max(box.x0, view.x0), max(box.y0, view.y0)
    x1, y1 = min(box.x1, view.x1), min(box.y1, view.y1)
    if x0 < x1 and y0 < y1:
        part = mask[int(y0 - box.y0) : int(y1 - box.y0), int(x0 - box.x0) : int(x1 - box.x0)]
        shown[int(y0 - view.y0) : int(y1 - view.y0), int(x0 - view.x0) : int(x1 - view.x0)] = (
            part != 0
        )
    return shown


def tighten(boxed: tuple[Box, np.ndarray]) -> BoxedMask:
    """Shrink the box to the mask's set pixels; EMPTY if there are none."""
    box, mask = boxed
    found = mask_box(mask != 0)
    return EMPTY if found is None else BoxedMask(move(found, box.x0, box.y0), mask[slices(found)])


def convex_hull(visible: tuple[Box, np.ndarray]) -> BoxedMask:
    """Complete a visible mask, its box with [box.height, box.width], to its convex hull.

    The bool result has the visible mask's tight box, hence lies inside the image; EMPTY for an
    empty mask.
    """
    box, mask = tighten(visible)
    hull = np.zeros(mask.shape, np.uint8)
    if mask.size:
        rows = np.flatnonzero(mask.any(axis=1))
        filled = mask[rows] != 0
        left, right = filled.argmax(1), mask.shape[1] - 1 - filled[:, ::-1].argmax(1)
        ends = np.stack((np.append(left, right), np.append(rows, rows)), 1)  # of rows, as (x, y)
        cv2.fillConvexPoly(hull, cv2.convexHull(ends.astype(np.int32)), 1)
    return BoxedMask(box, hull.astype(bool))


def from_image(mask: np.ndarray) -> BoxedMask:
    """Box a full-size mask [H, W]."""
    height, width = mask.shape
    return tighten((Box(0, 0, width, height), mask))


MATCH_IOU = 0.5


def match(given: Iterable[Instance], truth: Iterable[Instance]) -> dict[str, str]:
    """Return given ID by true ID: the mask of the best IoU with each true one, at least 0.5."""
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


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Return the smoothed IoU of two bool arrays of equal shape; 1 if both are empty."""
    both = int(np.count_nonzero(first & second))
    either = int(np.count_nonzero(first | second))
    return (both + SMOOTHING) / (either + SMOOTHING)
