"""The process that adapts, as the node sees it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from savos_model import adaptation_link
from savos_model.adaptation_link import SiteError
from savos_ros.paths import private_path

HANG_S = 600  # it has the lowest priority: on a busy machine five iterations can take minutes
END_S = 10.0
WORKER = "training.adapt.worker"
Result = TypeVar("Result")


class SiteProcess:
    """The process and the pipe to it; use it in a with block, which never leaves it behind.

    It is a program of its own, not a fork, so that it holds nothing of the node: no topics, no
    threads, no memory.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        # What neither reads nor writes for so long will not do so again.
        for way in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, way, struct.pack("@ll", HANG_S, 0))
        self._connection = Connection(ours.detach())
        # The node's own path: a folder of the same name where the node was started is not meant.
        path = os.pathsep.join(filter(None, [*private_path(), *sys.path]))
        descriptor = theirs.fileno()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER, str(descriptor)],
                env=os.environ
                | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"},
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for the node
            )

    def __enter__(self) -> SiteProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()
        self._connection.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once, from any thread: it has nothing to lose."""
        self._process.kill()

    def waits(self, timeout_s: float) -> bool:
        """Whether it says something, or is gone, within a time [s]."""
        return self._connection.poll(timeout_s)

    def send(self, item: Any) -> None:
        """As adaptation_link.send; SiteError when it does not take it."""
        self._talk(lambda: adaptation_link.send(self._connection, item))

    def hear(self) -> dict[str, Any]:
        """As adaptation_link.hear; SiteError too when it is gone."""
        return self._talk(lambda: adaptation_link.hear(self._connection))

    def _talk(self, talk: Callable[[], Result]) -> Result:
        try:
            return talk()
        except BlockingIOError:
            raise SiteError(f"it neither reads nor writes for {HANG_S} s") from None
        except (EOFError, OSError) as error:
            raise SiteError(self._end(error)) from None

    def _end(self, error: Exception) -> str:
        """How it ended, in words."""
        try:
            status = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return f"it lives, but the pipe to it is broken: {error}"
        return f"it was ended by signal {-status}" if status < 0 else f"it ended, status {status}"
