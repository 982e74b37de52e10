"""Keeps the drawn frames of a bag on disk, so that going back in it costs nothing."""

from __future__ import annotations

import tempfile
from typing import NamedTuple

from savos_ros.view.picture import Packet, packet_of

MOST_BYTES = 4 << 30  # of a spool on disk


class Kept(NamedTuple):
    """A frame of a spool: its time [ns] and its bytes."""

    stamp_ns: int
    packet: Packet


class Spool:
    """Frames in a row, in an unnamed temporary file.

    Beyond its limit it forgets all frames before the next one.

    Args:
        limit: most bytes kept.

    Attributes:
        first: number of the first frame kept.
        end: number of the next frame.
    """

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self._limit = limit
        self._file = tempfile.TemporaryFile(prefix="savos_view_")  # noqa: SIM115  see close
        self.clear()

    def clear(self) -> None:
        """Forget all; the next frame is number 0."""
        self.first = self.end = 0
        self._empty()

    def append(self, kept: Kept) -> None:
        """Keep the next frame.

        Raises:
            OSError: the disk is full; the text names the folder and the remedy.
        """
        data = kept.packet.compared
        if self._places and self._size + len(data) > self._limit:
            self.first = self.end
            self._empty()
        try:
            self._file.seek(self._size)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise OSError(
                f"{tempfile.gettempdir()} takes no more frames ({error.strerror}): make room "
                "there, or set TMPDIR to another folder"
            ) from None
        self._places.append((self._size, len(data), kept.stamp_ns))
        self._size += len(data)
        self.end += 1

    def read(self, number: int) -> Kept:
        """Return a frame from `first` to `end` - 1."""
        start, length, stamp_ns = self._places[number - self.first]
        self._file.seek(start)
        return Kept(stamp_ns, packet_of(self._file.read(length)))

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def _empty(self) -> None:
        self._places: list[tuple[int, int, int]] = []
        self._size = 0
        self._file.seek(0)
        self._file.truncate()
