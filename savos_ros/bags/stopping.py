"""Lets SIGINT and SIGTERM end a loop cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event; outside the main thread no signal is caught.

    After one of them came, the process ignores further ones: it is about to end.
    """
    stop = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            # The launch system sends a second one; it must not cut the end of the process short.
            signal.signal(number, signal.SIG_IGN if stop.is_set() else old)
