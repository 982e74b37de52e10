"""Writes bags that appear under their name only when they are complete."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from savos_ros.bags.settings import BagError
from savos_ros.bags.types import typestore
from savos_ros.messages.kit import full_name

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
MAX_STAMP_NS = (1 << 31) * 1_000_000_000  # seconds of a ROS stamp are an int32
_UNSET = QosTime(0, 0)
# Players take their QoS from the bag: reliable, since large best-effort images are lost in part.
_QOS = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _UNSET,
    _UNSET,
    QosLiveliness.AUTOMATIC,
    _UNSET,
    False,
)


class BagWriter:
    """A new bag, written next to its place and moved there when the block ends without an error.

    `counts` are the messages written by topic.
    """

    def __init__(self, path: str | Path, storage: str = "mcap", force: bool = False) -> None:
        """Check where the bag is to go; raises BagError: the place is taken."""
        self.path = Path(path)
        if self.path.exists() or self.path.is_symlink():
            if not (self.path / "metadata.yaml").is_file():
                raise BagError(f"{self.path} exists and is no bag: choose another place", "taken")
            if not force:
                raise BagError(
                    f"{self.path} exists: choose another place, or replace it with --force", "taken"
                )
        self.counts: Counter[str] = Counter()
        self._storage = STORAGES[storage]
        self._connections: dict[str, Connection] = {}
        self._stamps: dict[str, int] = {}

    def __enter__(self) -> BagWriter:
        """Open a hidden folder next to the place; the bag in it has its final name already."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        hidden = tempfile.mkdtemp(prefix=f".{self.path.name}.part-", dir=self.path.parent)
        self._folder = Path(hidden)
        self._writer = Writer(
            self._folder / self.path.name, version=9, storage_plugin=self._storage
        )
        self._writer.open()
        return self

    def add_topic(self, topic: str, kind: str) -> None:
        """Announce a topic of type `package/Type`, so that the bag has it even when empty."""
        store = typestore()
        self._connections[topic] = self._writer.add_connection(
            topic, full_name(kind), typestore=store, offered_qos_profiles=[_QOS]
        )

    def next_stamp(self, topic: str) -> int:
        """Return the smallest stamp that `write` takes on a topic [ns]."""
        return self._stamps.get(topic, -1) + 1

    def write(self, topic: str, stamp_ns: int, message: Any) -> None:
        """Write a BagKit message of an announced topic at a time later than its last one [ns].

        Raises BagError: the stamp does not fit into a ROS time, or does not ascend.
        """
        first = self.next_stamp(topic)
        if not first <= stamp_ns < MAX_STAMP_NS:
            rule = f"at least {first} ns" if stamp_ns < first else f"below {MAX_STAMP_NS} ns"
            raise BagError(
                f"stamp on {topic} must be {rule}, got {stamp_ns}: check the stamps", "stamp"
            )
        connection = self._connections[topic]
        self._writer.write(
            connection, stamp_ns, typestore().serialize_cdr(message, connection.msgtype)
        )
        self._stamps[topic] = stamp_ns
        self.counts[topic] += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Move the bag to its place; after an error nothing of it stays."""
        try:
            if kind is None:
                self._writer.close()
                if self.path.exists():  # the old bag goes only now that the new one is complete
                    self.path.rename(self._folder / "replaced")
                (self._folder / self.path.name).rename(self.path)
            else:
                self._writer.abort()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
