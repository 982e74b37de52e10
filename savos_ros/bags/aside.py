"""Runs calls, or reads items, in a second thread while the caller continues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
END: Any = object()


class Aside:
    """A thread for calls whose results are not needed; use it in a with block.

    The block ends when all calls have ended, and raises what the first failed one raised. After an
    error in the block itself, calls that have not started are left out.
    """

    def __init__(self, depth: int) -> None:
        """Prepare; at most `depth` calls wait, which bounds the memory."""
        self._depth = depth
        self._open: deque[Future[Any]] = deque()

    def __enter__(self) -> Aside:
        """Start the thread."""
        self._pool = ThreadPoolExecutor(1, "savos_aside")
        return self

    def run(self, work: Callable[..., object], *arguments: object) -> None:
        """Call `work` after the earlier calls, when few are open; raises what one raised."""
        while self._open and (len(self._open) > self._depth or self._open[0].done()):
            self._open.popleft().result()
        self._open.append(self._pool.submit(work, *arguments))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the thread."""
        try:
            while kind is None and self._open:
                self._open.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)


def ahead(items: Iterable[Item], depth: int) -> Generator[Item]:
    """Yield items that are made in a second thread, at most `depth` before they are asked for.

    What making one raises comes in its place. Close the generator to end the thread early.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(1, "savos_ahead")
    try:
        made = deque(pool.submit(next, source, END) for _ in range(depth))
        while (item := made.popleft().result()) is not END:
            made.append(pool.submit(next, source, END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
