"""Choose the number of tracks of a bidirectional pass from the cost of earlier passes."""

from __future__ import annotations

import sys

SHARE = 0.8  # of the time until the next pass; the rest is reserved for slower frames


class PassBudget:
    """Measured cost of a pass: seconds per track and frame of the window.

    It includes pauses for forward results, so a busier node refines fewer tracks.
    """

    def __init__(self) -> None:
        self.cost_s = 0.0

    def tracks(self, frames: int, left_s: float) -> int:
        """Return how many tracks a pass over `frames` frames can refine in the time left [s].

        At least one, as a cost that is never measured again cannot decrease.
        """
        if not self.cost_s:
            return sys.maxsize
        return max(1, int(left_s * SHARE / (self.cost_s * max(frames, 1))))

    def took(self, seconds: float, tracks: int, frames: int) -> None:
        """Update the cost after a pass: increases count fully, decreases by half."""
        cost = seconds / (tracks * max(frames, 1))
        self.cost_s = max(cost, (self.cost_s + cost) / 2)
