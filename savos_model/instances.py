"""Convert label images and mask crops to visible masks."""

import cv2
import numpy as np

from savos_model.types import Box, Instance

LABEL_KINDS = "ui"  # NumPy dtype kinds of a label image
CHUNK_PX = 1 << 17  # of a label image read at a time: what is made of them stays in the cache
NOISE_PX = 8  # labels whose runs are shorter on average may be a picture


class InstanceError(ValueError):
    """Visible masks cannot be used; the text names the reason and the remedy."""


class TooManyInstancesError(InstanceError):
    """A frame has more masks than allowed."""


def from_label_image(
    labels: np.ndarray, ignore_label: int = 65535, divisor: int = 1000, limit: int | None = None
) -> list[Instance]:
    """Return the instances of a label image, integer [H, W], in ascending order of label.

    A pixel is a track id, 0 for the background; class id = label // divisor, as in KITTI MOTS; 0 or
    a quotient of 0 gives "". A `limit` of objects rejects camera images used as labels early.
    Raises InstanceError: not a two-dimensional integer array, negative labels, or more than
    `limit`.
    """
    if labels.ndim != 2 or labels.dtype.kind not in LABEL_KINDS:
        raise InstanceError(
            f"labels must be an integer image [H, W], got {labels.dtype} {labels.shape}: "
            "send track IDs"
        )
    if labels.size == 0:
        return []
    instances = []
    for label, box in label_boxes(labels, ignore_label, limit):
        x0, y0, x1, y1 = (int(v) for v in box)
        mask = (labels[y0:y1, x0:x1] == label).view(np.uint8)
        class_id = str(label // divisor) if divisor and label >= divisor else ""
        instances.append(Instance(str(label), box, mask, class_id))
    return instances


def label_boxes(labels: np.ndarray, ignore_label: int, limit: int | None) -> list[tuple[int, Box]]:
    """Return labels but 0 and `ignore_label`, ascending, each with the tight box of its pixels.

    Raises InstanceError: negative labels, or more than `limit`.
    """
    label, y, x0, x1 = runs(labels, ignore_label, limit)
    order = np.argsort(label, kind="stable")  # a label's runs stay in the order of rows
    label, y, x0, x1 = label[order], y[order], x0[order], x1[order]
    first = np.flatnonzero(np.append(True, label[1:] != label[:-1])) if len(label) else order
    if limit is not None and len(first) > limit:
        raise TooManyInstancesError(
            f"label image has {len(first)} labels, more than {limit}: send track IDs"
        )
    last = np.append(first[1:], len(label)) - 1 if len(first) else first
    left, right = np.minimum.reduceat(x0, first), np.maximum.reduceat(x1, first)
    columns = (label[first], left, y[first], right, y[last] + 1)
    return [(row[0], Box(*row[1:])) for row in zip(*(c.tolist() for c in columns), strict=True)]


def runs(labels: np.ndarray, ignore_label: int, limit: int | None) -> tuple[np.ndarray, ...]:
    """Return the runs of equal pixels in rows of a label image: label, row, first and end column.

    Those of 0 and `ignore_label` are left out. Reading stops where a part of the image alone has
    more than `limit` labels: a picture taken for labels is nothing but runs. Raises InstanceError:
    negative labels.
    """
    rows, cols = labels.shape
    pixels, size = labels.reshape(-1), max(1, CHUNK_PX // cols) * cols
    begins = np.ones(min(size, pixels.size), bool)
    found = []
    for first in range(0, pixels.size, size):
        chunk = pixels[first : first + size]
        begin = begins[: len(chunk)]
        np.not_equal(chunk[1:], chunk[:-1], out=begin[1:])
        begin[::cols] = True  # the first pixel of a row always does
        at = np.flatnonzero(begin)
        found.append(at + first)
        crowded = len(at) > chunk.size // NOISE_PX
        if limit is not None and crowded and len(np.unique(chunk)) > limit + 2:
            pixels = pixels[: first + len(chunk)]
            break
    at = np.concatenate(found)
    label, end = pixels[at], np.append(at[1:], pixels.size)
    if label.min() < 0:
        raise InstanceError(f"labels must not be negative, got {label.min()}: 0 is background")
    kept = (label != 0) & (label != ignore_label)
    y, x0 = np.divmod(at[kept], cols)
    return label[kept], y, x0, end[kept] - y * cols


def check_instances(instances: list[Instance], height: int, width: int) -> None:
    """Raise InstanceError, with id, rule and sizes, for instances that do not fit the image."""
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
        cv2.add(view, item.mask, dst=view)  # saturates
    return count
