"""Start the adaptation process and communicate with it."""

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

HANG_S = 600  # at lowest priority, five iterations can take minutes on a busy machine
END_S = 10.0
WORKER = "training.adapt.worker"
Result = TypeVar("Result")


class SiteProcess:
    """The process and its pipe; a with block guarantees that it ends.

    It is a separate program, not a fork, so that it shares nothing with the node: no topics, no
    threads, no memory.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        # A process that neither reads nor writes for so long hangs.
        for way in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, way, struct.pack("@ll", HANG_S, 0))
        self._connection = Connection(ours.detach())
        # The node's own path, not a folder of that name in the working directory.
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
        """Return the process ID."""
        return self._process.pid

    def kill(self) -> None:
        """Kill the process from any thread; it has nothing to save."""
        self._process.kill()

    def waits(self, timeout_s: float) -> bool:
        """Return whether a message, or the end of the process, arrives within a time [s]."""
        return self._connection.poll(timeout_s)

    def send(self, item: Any) -> None:
        """Send like adaptation_link.send; raise SiteError if the process does not accept it."""
        self._talk(lambda: adaptation_link.send(self._connection, item))

    def hear(self) -> dict[str, Any]:
        """Receive like adaptation_link.hear; raise SiteError also if the process has ended."""
        return self._talk(lambda: adaptation_link.hear(self._connection))

    def _talk(self, talk: Callable[[], Result]) -> Result:
        try:
            return talk()
        except BlockingIOError:
            raise SiteError(f"the process did not read or write for {HANG_S} s") from None
        except (EOFError, OSError) as error:
            raise SiteError(self._end(error)) from None

    def _end(self, error: Exception) -> str:
        """Return how the process ended."""
        try:
            status = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return f"the process runs, but its pipe is broken: {error}"
        if status < 0:
            return f"the process was killed by signal {-status}"
        return f"the process exited with status {status}"
