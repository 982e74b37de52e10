"""Judge from a network's claims whether a scene is like those of its training.

Most objects are not hidden by things without a mask, so a network that knows the scene claims
little background for most objects. In a scene unlike those of its training it claims much around
many of them, and most of that is false.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from savos_model.config import ComposeConfig
from savos_model.stream.order import Claim, Labels
from savos_model.types import Box, Instance

KEPT = 256  # claims that decide, the last ones
FEWEST = 24  # claims from which on they decide
EVERY = 4  # frames between those that are looked at when enough is known: neighbours are alike
OUTSIDE = -1  # label beyond the image border
# Around masks: their outline, where trackers cut them short, gaps between two.
RIM_PX = ComposeConfig().occluder_margin_px


class Familiarity:
    """Remembers how much background the last objects of a stream claimed, relative to their size.

    State: the share of each of the last objects.
    """

    def __init__(self) -> None:
        self.shares: deque[float] = deque(maxlen=KEPT)
        self.frames = 0

    def clear(self) -> None:
        """Clear the state."""
        self.shares.clear()
        self.frames = 0

    def look(
        self, instances: Sequence[Instance], claims: Mapping[str, Claim], labels: Labels
    ) -> None:
        """Add a frame's claims, by id; `labels` are its instances, drawn in this order."""
        self.frames += 1
        if len(self.shares) == KEPT and self.frames % EVERY:
            return
        for number, item in enumerate(instances, 1):
            if item.id not in claims:
                continue
            chance, box = claims[item.id]
            under = labels.patch(box, (chance.shape[0], chance.shape[1]), OUTSIDE)
            own = np.count_nonzero(under == number)
            if own:
                claimed = (chance > 0.5) & (under == 0) & ~rimmed(under > 0, box)
                self.shares.append(float(np.count_nonzero(claimed) / own))

    def claimed(self) -> float:
        """Return the area of background that the median object claims over its own.

        0 if too few are known. Objects that scenery does hide are fewer than half.
        """
        return statistics.median(self.shares) if len(self.shares) >= FEWEST else 0.0


def rimmed(masks: np.ndarray, box: Box) -> np.ndarray:
    """Return masks, bool [h, w] that fill a box [px], grown by the rim and by a cell at least."""
    rows = max(1, math.ceil(RIM_PX * masks.shape[0] / box.height))
    cols = max(1, math.ceil(RIM_PX * masks.shape[1] / box.width))
    kernel = np.ones((2 * rows + 1, 2 * cols + 1), np.uint8)
    return np.asarray(cv2.dilate(masks.view(np.uint8), kernel)).view(bool)
