"""Convert label images and mask crops to visible masks."""

import cv2
import numpy as np

from savos_model.geometry import FULL_PX
from savos_model.types import Box, Instance

LABEL_KINDS = "ui"  # NumPy dtype kinds of a label image
CHUNK_PX = 1 << 17  # of a label image read at a time: what is made of them stays in the cache
NOISE_PX = 8  # labels whose runs are shorter on average may be a picture
ROWS = 8  # of so many rows of a large label image one is searched for objects first
REACH_PX = 8  # columns by which an object may be wider between these rows


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
    large, found = labels.size > FULL_PX, []
    if large:
        boxes = label_boxes(labels[::ROWS], ignore_label, limit)
        found = cut_masks(labels, [(label, widened(box)) for label, box in boxes])
    # Small parts may lie between these rows, or far from the parts in them.
    if not large or sum(np.count_nonzero(mask) for *_, mask in found) != set_pixels(labels):
        found = cut_masks(labels, label_boxes(labels, ignore_label, limit))
    instances = []
    for label, box, mask in found:
        if label != ignore_label:
            class_id = str(label // divisor) if divisor and label >= divisor else ""
            instances.append(Instance(str(label), box, mask, class_id))
    return instances


def set_pixels(labels: np.ndarray) -> int:
    """Return the number of pixels that are not 0."""
    # OpenCV takes two thirds of NumPy's time, and older versions no more than 16 bits.
    count = cv2.countNonZero if labels.dtype.itemsize <= 2 else np.count_nonzero
    return int(count(labels))


def widened(box: Box) -> Box:
    """Return where an object is that has this box in every ROWS-th row; may leave the image."""
    top, bottom = ROWS * (box.y0 - 1) + 1, ROWS * box.y1
    return Box(max(box.x0 - REACH_PX, 0), max(top, 0), box.x1 + REACH_PX, bottom)


def cut_masks(
    labels: np.ndarray, boxes: list[tuple[int, Box]]
) -> list[tuple[int, Box, np.ndarray]]:
    """Return labels with the tight boxes and masks, uint8 0/1, of their pixels in given boxes."""
    found = []
    for label, around in boxes:
        left, top, right, bottom = map(int, around)
        mask = (labels[top:bottom, left:right] == label).view(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        mask = np.ascontiguousarray(mask[y : y + height, x : x + width])
        tight = Box(left + x, top + y, left + x + width, top + y + height)
        found.append((label, tight, mask))
    return found


def label_boxes(labels: np.ndarray, ignore_label: int, limit: int | None) -> list[tuple[int, Box]]:
    """Return labels but 0, ascending, each with the tight integer box of its pixels.

    Raises InstanceError: negative labels, or more than `limit` besides `ignore_label`.
    """
    label, y, x0, x1 = runs(labels, limit)
    order = np.argsort(label, kind="stable")  # a label's runs stay in the order of rows
    label, y, x0, x1 = label[order], y[order], x0[order], x1[order]
    first = np.flatnonzero(np.append(True, label[1:] != label[:-1])) if len(label) else order
    count = np.count_nonzero(label[first] != ignore_label)
    if limit is not None and count > limit:
        raise TooManyInstancesError(
            f"label image has {count} labels, more than {limit}: send track IDs"
        )
    last = np.append(first[1:], len(label)) - 1 if len(first) else first
    left, right = np.minimum.reduceat(x0, first), np.maximum.reduceat(x1, first)
    columns = (label[first], left, y[first], right, y[last] + 1)
    return [(row[0], Box(*row[1:])) for row in zip(*(c.tolist() for c in columns), strict=True)]


def runs(labels: np.ndarray, limit: int | None) -> tuple[np.ndarray, ...]:
    """Return the runs of equal pixels in rows of a label image: label, row, first and end column.

    Those of 0 are left out. Reading stops where a part of the image alone has more than `limit`
    labels: a picture taken for labels is nothing but runs. Raises InstanceError: negative labels.
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
    kept = label != 0
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
