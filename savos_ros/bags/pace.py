"""Waits until it is time for a message of a recording."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

CLOCK_PERIOD_S = 0.025  # /clock at 40 Hz, as `ros2 bag play --clock` does


class Pace:
    """Maps bag time to the wall; the first message sets the start.

    Args:
        rate: bag seconds per wall second.
        stop: ends a wait when set.
        tick: called with the bag time [ns] at every message and at least at 40 Hz, or None.
    """

    def __init__(
        self, rate: float, stop: threading.Event, tick: Callable[[int], None] | None = None
    ) -> None:
        self._rate, self._stop, self._tick = rate, stop, tick
        self._start: tuple[int, float] | None = None

    def delay(self, seconds: float) -> None:
        """Move all that is still to come by so much time of the wall [s]."""
        if self._start is not None:
            self._start = self._start[0], self._start[1] + seconds

    def wait_until(self, stamp_ns: int) -> bool:
        """Wait for the time of a message [ns]; False when stopped."""
        if self._start is None:
            self._start = stamp_ns, time.monotonic()
        first, begun = self._start
        due = begun + (stamp_ns - first) / 1e9 / self._rate
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= due:
                if self._tick is not None:
                    self._tick(stamp_ns)
                return True
            rest = due - now
            if self._tick is not None and rest > CLOCK_PERIOD_S:
                self._tick(first + int((now - begun) * self._rate * 1e9))
                rest = CLOCK_PERIOD_S
            self._stop.wait(rest)
        return False
