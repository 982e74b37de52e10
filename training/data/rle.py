"""Compressed COCO run lengths: decoded straight into a boxed mask, and encoded."""

from __future__ import annotations

from typing import Any

import numpy as np

from savos_model.masks import EMPTY, BoxedMask, tighten
from savos_model.types import Box


class RleError(ValueError):
    """Run lengths that describe no mask of the stated size."""


def decode(counts: str | bytes, height: int, width: int) -> BoxedMask:
    """Decode compressed COCO text: run lengths down the columns of an image, 0s first.

    Own code, since pycocotools.mask.decode (2.0.11) writes outside its memory on malformed text,
    which aborts the process; this one also never builds the full-size image.

    Returns:
        The tight box and uint8 crop of 0 or 1; EMPTY when nothing is set.

    Raises:
        RleError: not such a text, or not of `height` x `width`.
    """
    return decode_runs(_decoded(counts), height, width)


def decode_record(record: Any, shape: tuple[int, int]) -> BoxedMask:
    """Decode `{"size": [rows, columns], "counts": text}` for an image of `shape`; as `decode`."""
    try:
        size, counts = tuple(record["size"]), record["counts"]
    except (KeyError, TypeError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise RleError(f"run lengths need size and counts: {what}") from None
    if size != tuple(shape):
        raise RleError(f"size {list(size)} is not the image's {list(shape)}")
    if not isinstance(counts, str | bytes):
        raise RleError(f"run lengths must be text, got {type(counts).__name__}")
    return decode(counts, *shape)


def decode_runs(runs: np.ndarray, height: int, width: int) -> BoxedMask:
    """Decode run lengths that are numbers: int64 [N], not negative, 0s first; as `decode`."""
    if runs.sum() != height * width:
        raise RleError(
            f"run lengths cover {runs.sum()} pixels, the image of {width}x{height} has "
            f"{height * width}: the mask is cut off or belongs to another image size"
        )
    ends = np.cumsum(runs)
    set_ends, set_lengths = ends[1::2], runs[1::2]
    filled = np.flatnonzero(set_lengths)
    if filled.size == 0:
        return EMPTY
    x0 = int(set_ends[filled[0]] - set_lengths[filled[0]]) // height
    x1 = int(set_ends[filled[-1]] - 1) // height + 1
    # Only the columns that hold something are written out: runs are cut to [x0, x1) * height.
    inside = np.diff(np.clip(ends, x0 * height, x1 * height), prepend=x0 * height)
    bits = np.repeat(np.arange(len(inside), dtype=np.uint8) & 1, inside)
    columns = bits.reshape(x1 - x0, height)
    box, mask = tighten((Box(x0, 0, x1, height), columns.T))
    return BoxedMask(box, np.ascontiguousarray(mask))


def run_lengths(mask: np.ndarray) -> dict:
    """Return a mask [H, W] as compressed COCO run lengths: {"size": [H, W], "counts": text}."""
    from pycocotools import mask as coco

    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": packed["size"], "counts": packed["counts"].decode("ascii")}


def _decoded(counts: str | bytes) -> np.ndarray:
    """Undo the text form: 5 bits a character, lowest first; from the fourth run on, differences."""
    try:
        text = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError:
        raise RleError("run lengths must be ASCII text") from None
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63:
        raise RleError("run lengths are empty or hold a character outside '0'..'o'")
    last = (codes & 0x20) == 0
    if not last[-1]:
        raise RleError("run lengths are cut off in the middle of a number")
    firsts = np.flatnonzero(np.concatenate(([True], last[:-1])))
    lasts = np.flatnonzero(last)
    if (lasts - firsts).max() > 6:
        raise RleError("a run length is longer than any image")
    place = 5 * (np.arange(codes.size) - np.repeat(firsts, lasts - firsts + 1))
    values = np.add.reduceat((codes & 0x1F) << place, firsts)
    negative = (codes[lasts] & 0x10) != 0  # the top bit of the last character is the sign
    values -= np.where(negative, np.int64(1) << (place[lasts] + 5), 0)
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    if runs.min() < 0:
        raise RleError("a run length is negative")
    return runs
