"""Visible and whole masks out of what the renderer drew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CHANNELS = 4  # whole masks drawn in one image
MOST_OBJECTS = 255  # ids of a byte


class Masks(NamedTuple):
    """Masks of one frame by object number, bool [H, W]; what shows no pixel is left out."""

    visible: dict[int, np.ndarray]
    full: dict[int, np.ndarray]


def split_masks(ids: np.ndarray, coverages: Sequence[np.ndarray], numbers: Sequence[int]) -> Masks:
    """Take the masks of all objects apart.

    Args:
        ids: uint8 [H, W], place in `numbers` plus 1 of what is seen in a pixel, 0 for scenery.
        coverages: uint8 [H, W, CHANNELS] each, above 0 where an object alone would be seen; the
            objects lie in the channels in the order of `numbers`.
        numbers: of the objects.

    Raises:
        ValueError: an object is seen outside its whole mask, or there are more than a byte can
            number.
    """
    if len(numbers) > MOST_OBJECTS:
        raise ValueError(f"a frame can hold {MOST_OBJECTS} objects, got {len(numbers)}")
    visible, full = {}, {}
    for i, number in enumerate(numbers):
        whole = coverages[i // CHANNELS][..., i % CHANNELS] > 0
        seen = ids == i + 1
        if (seen & ~whole).any():
            raise ValueError(f"object {number} is seen outside its whole mask")
        if whole.any():
            full[number] = whole
        if seen.any():
            visible[number] = seen
    return Masks(visible, full)
