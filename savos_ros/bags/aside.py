"""Runs calls in order in a second thread while the caller continues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


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
        """Call `work` after all earlier calls; wait while too many are open.

        Raises:
            Exception: what an earlier call raised.
        """
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
