"""Process a bounded queue in one thread; if work is too slow, drop the oldest entry."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Thread that calls `work` on queued entries in order.

    `depth` entries may wait; another one drops the oldest, so the newest is never late. `on_drop`
    is called with each dropped entry, in the thread of `put`; `on_error` with the error and its
    entry, in the worker, which continues. `idle` is set while no entry waits or is processed.
    """

    def __init__(
        self,
        work: Callable[[T], None],
        depth: int,
        on_drop: Callable[[T], None],
        on_error: Callable[[Exception, T], None],
        idle: threading.Event | None = None,
    ) -> None:
        if depth < 1:
            raise ValueError(
                f"depth must be at least 1, got {depth}: give the number of entries that may wait"
            )
        self._work, self._depth = work, depth
        self._on_drop, self._on_error = on_drop, on_error
        self._idle = idle or threading.Event()
        self._entries: deque[T] = deque()
        self._ready = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="savos_worker")
        self._thread.start()

    def put(self, entry: T) -> None:
        """Queue an entry and return immediately; after `stop` drop it."""
        dropped = None
        with self._ready:
            if self._stopping:
                dropped = entry
            else:
                if len(self._entries) >= self._depth:
                    dropped = self._entries.popleft()
                self._entries.append(entry)
                self._idle.clear()
                self._ready.notify()
        if dropped is not None:
            self._on_drop(dropped)

    @property
    def waiting(self) -> int:
        """Return the number of queued entries, without the one being processed."""
        return len(self._entries)

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Finish the current entry, drop the others and join the thread.

        Returns False if the current entry did not finish in time; the thread then ends after it.
        """
        with self._ready:
            self._stopping = True
            left, self._entries = list(self._entries), deque()
            self._ready.notify()
        for entry in left:
            self._on_drop(entry)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._entries and not self._stopping:
                    self._idle.set()
                    self._ready.wait()
                if self._stopping:
                    self._idle.set()
                    return
                entry = self._entries.popleft()
            try:
                self._work(entry)
            except Exception as error:  # whatever fails, the next frame must be processed
                self._on_error(error, entry)
            del entry  # an idle worker must not keep a frame alive
