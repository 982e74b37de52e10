"""How many tracks a bi-directional pass may take, from the time that earlier passes took."""

from __future__ import annotations

import sys

SHARE = 0.8  # of the time until the next pass is due; the rest is for frames that take longer


class PassBudget:
    """The cost of a pass as measured: seconds per track and frame of the window.

    Waiting for the forward result is part of it, so a busier node refines fewer tracks.
    """

    def __init__(self) -> None:
        self.cost_s = 0.0

    def tracks(self, frames: int, left_s: float) -> int:
        """Tracks that a pass over `frames` frames can take in the time left, at least one.

        One at least, as a cost that is never measured again never falls again.
        """
        if not self.cost_s:
            return sys.maxsize
        return max(1, int(left_s * SHARE / (self.cost_s * max(frames, 1))))

    def took(self, seconds: float, tracks: int, frames: int) -> None:
        """Learn from a pass: a cost that rose counts at once, one that fell by half."""
        cost = seconds / (tracks * max(frames, 1))
        self.cost_s = max(cost, (self.cost_s + cost) / 2)
