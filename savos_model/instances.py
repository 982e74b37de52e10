"""Convert label images and mask crops to visible masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects

from savos_model.types import Box, Instance

LABEL_KINDS = "ui"  # NumPy dtype kinds of a label image
DIRECT_LIMIT = 1 << 20  # above it labels are sorted


class InstanceError(ValueError):
    """Visible masks cannot be used; the text names the reason and the remedy."""


class TooManyInstancesError(InstanceError):
    """A frame has more masks than allowed."""


def from_label_image(
    labels: np.ndarray, ignore_label: int = 65535, divisor: int = 1000, limit: int | None = None
) -> list[Instance]:
    """Return the instances of a label image, in ascending order of label.

    Args:
        labels: integer [H, W]; pixel = track id, 0 background.
        ignore_label: label that is not an object.
        divisor: class id = label // divisor, as in KITTI MOTS; 0 or a quotient of 0 gives "".
        limit: maximum number of objects, or None; rejects camera images used as labels early.

    Raises:
        InstanceError: not a two-dimensional integer array, negative labels, or more than `limit`.
    """
    if labels.ndim != 2 or labels.dtype.kind not in LABEL_KINDS:
        raise InstanceError(
            f"labels must be an integer image [H, W], got {labels.dtype} {labels.shape}: "
            "send track IDs"
        )
    if labels.size == 0:
        return []
    numbers, rows = numbered(labels)
    places = find_objects(rows, len(numbers))
    found = [
        (int(numbers[row]), row, where)
        for row, where in enumerate(places)
        if where is not None and numbers[row] != ignore_label
    ]
    if limit is not None and len(found) > limit:
        raise TooManyInstancesError(
            f"label image has {len(found)} labels, more than {limit}: send track IDs"
        )
    instances = []
    for label, row, where in found:
        box = Box(where[1].start, where[0].start, where[1].stop, where[0].stop)
        mask = (rows[where] == row + 1).view(np.uint8)
        class_id = str(label // divisor) if divisor and label >= divisor else ""
        instances.append(Instance(str(label), box, mask, class_id))
    return instances


def numbered(labels: np.ndarray) -> tuple[Sequence[int] | np.ndarray, np.ndarray]:
    """Return labels (ascending, without 0) and an image in which the first is 1, the second 2, ...

    Small labels are kept as numbers, whether present or not, and the image is returned unchanged.
    """
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise InstanceError(f"labels must not be negative, got {labels.min()}: 0 is background")
    top = int(labels.max())
    if top < DIRECT_LIMIT:
        return range(1, top + 1), labels
    present, inverse = np.unique(labels, return_inverse=True)
    shift = 0 if present[0] == 0 else 1
    return present[1 - shift :], (inverse.reshape(labels.shape) + shift).astype(np.int32)


def check_instances(instances: list[Instance], height: int, width: int) -> None:
    """Raise InstanceError for instances that do not fit the image.

    Raises:
        InstanceError: names the id, the rule and the sizes.
    """
    seen = set()
    for item in instances:
        x0, y0, x1, y1 = item.box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise InstanceError(
                f"instance {item.id}: box {tuple(item.box)} must be inside the image of "
                f"{width}x{height}: masks and image must have the same size"
            )
        if item.mask.shape != (y1 - y0, x1 - x0):
            raise InstanceError(
                f"instance {item.id}: mask is {item.mask.shape}, its box needs {(y1 - y0, x1 - x0)}"
            )
        if item.id in seen:
            raise InstanceError(
                f"instance {item.id} occurs twice in one frame: send each track ID once"
            )
        seen.add(item.id)


def occupancy(instances: list[Instance], height: int, width: int) -> np.ndarray:
    """Return the number of visible masks over each pixel, uint8 [H, W], saturating at 255."""
    count = np.zeros((height, width), np.uint8)
    for item in instances:
        x0, y0, x1, y1 = (int(v) for v in item.box)
        view = count[y0:y1, x0:x1]
        np.add(view, item.mask, out=view, where=view < 255)
    return count
