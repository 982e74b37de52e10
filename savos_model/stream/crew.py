"""Work in other threads on what one thread makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Crew:
    """Threads for work that leaves the interpreter to others, such as an engine's."""

    def __init__(self, threads: int) -> None:
        """Prepare a crew of a number of threads, of which the calling one is the first."""
        self.threads = threads
        self.pool: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return the results of `work`, which starts while the caller still makes later items.

        When all items are made, the caller works on them, too, from the last one backwards.
        """
        if self.threads == 1:
            return [work(item) for item in items]
        if self.pool is None:  # not before it is needed: threads do not survive a fork
            self.pool = ThreadPoolExecutor(self.threads - 1, "savos_crew")
        waiting = [(item, self.pool.submit(work, item)) for item in items]
        own: list[R] = []
        while waiting and waiting[-1][1].cancel():  # fails if a thread has begun with it
            own.append(work(waiting.pop()[0]))
        return [future.result() for _, future in waiting] + own[::-1]
