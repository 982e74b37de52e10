"""Reads the data files of a bag: MCAP and SQLite, whole or cut, in order of recording time."""

from __future__ import annotations

import contextlib
import heapq
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mcap.reader import NonSeekingReader, SeekingReader
from mcap.records import Channel as McapChannel
from mcap.records import Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import QosDurability
from rosbags.rosbag2.metadata import parse_qos

from savos_ros.bags.settings import BagError
from savos_ros.messages.kit import full_name

# What waits in a file without an index so that an earlier message behind it can go first.
REORDERED, REORDERED_BYTES = 128, 64 << 20
LOGS = ("-wal", "-journal")  # what SQLite keeps next to a database that was not closed


@dataclass(order=True)
class Topic:
    """A topic of a data file, or of a whole bag."""

    name: str  # its name
    msgtype: str  # `package/msg/Type`; "" where publishers of several types share the name
    encoding: str  # of its messages; ROS 2 writes "cdr"
    # Language ("ros2msg", "ros2idl", "omgidl" or others) and text of the type; empty where the file
    # has none
    definition: tuple[str, bytes]
    msgcount: int  # messages in the index
    latched: bool  # whether a publisher kept its last message for late subscribers
    read: int = 0  # messages read so far

    def add(self, other: Topic) -> None:
        """Add what another publisher recorded, or another file holds."""
        if other.msgtype != self.msgtype:
            self.msgtype = ""
        self.msgcount += other.msgcount
        self.latched = self.latched or other.latched
        if not self.definition[1]:
            self.definition = other.definition


class McapFile:
    """An MCAP file; `start_ns` is the time of its first message [ns]."""

    def __init__(self, path: Path) -> None:
        """Open a file and read its index, or all of it where it has none.

        Raises BagError for a recording of ROS 1; what the parser raises on damage is not
        documented.
        """
        self._stream = path.open("rb")
        try:
            # A record cannot be longer than its file; a damaged length must not take memory.
            limit = path.stat().st_size
            self._reader = SeekingReader(self._stream, True, record_size_limit=limit)
            if self._reader.get_header().profile == "ros1":
                raise ros1(path)
            self._read_index()
        except BaseException:
            self._stream.close()
            raise

    def _read_index(self) -> None:
        summary = self._reader.get_summary()
        known = summary.statistics if summary is not None else None
        counts: Mapping[int, int]
        if summary and known and known.channel_count <= len(summary.channels):
            schemas, channels = summary.schemas, summary.channels
            counts, self.start_ns = known.channel_message_counts, known.message_start_time
            self._indexed = bool(summary.chunk_indexes)
        else:
            schemas, channels, counts = self._scan()
            self._indexed = False
        untyped = Schema(data=b"", encoding="", id=0, name="")
        self.topics = []
        for number, channel in channels.items():
            schema = schemas.get(channel.schema_id, untyped)
            self.topics.append(
                Topic(
                    channel.topic,
                    full_name(schema.name),
                    channel.message_encoding,
                    (schema.encoding, schema.data),
                    counts.get(number, 0),
                    _latched(channel.metadata.get("offered_qos_profiles", "")),
                )
            )

    def _scan(self) -> tuple[dict[int, Schema], dict[int, McapChannel], Counter[int]]:
        """Read the whole file to count its messages."""
        self._stream.seek(0)
        self.start_ns = 2**63
        schemas: dict[int, Schema] = {}
        channels: dict[int, McapChannel] = {}
        counts: Counter[int] = Counter()
        for record in StreamReader(self._stream).records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, McapChannel):
                channels[record.id] = record
            elif isinstance(record, Message):
                counts[record.channel_id] += 1
                self.start_ns = min(self.start_ns, record.log_time)
        return schemas, channels, counts

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Read topic, time [ns] and bytes, in order of time as far as the index allows."""
        if self._indexed:
            entries = self._reader.iter_messages(topics)
        else:
            self._stream.seek(0)
            reader = NonSeekingReader(self._stream, True)
            entries = reader.iter_messages(topics, log_time_order=False)
        found = ((channel.topic, item.log_time, item.data) for _, channel, item in entries)
        return found if self._indexed else _reordered(found)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class SqliteFile:
    """A SQLite file; attributes as those of McapFile."""

    def __init__(self, path: Path) -> None:
        """Open a file, together with the log that a recorder left which did not close it.

        Raises BagError: its log cannot be read; sqlite3.Error, ValueError: damaged, or no
        recording.
        """
        logs = [path.with_name(path.name + ending) for ending in LOGS]
        logs = [log for log in logs if log.exists() and log.stat().st_size]
        # Without a log nothing may be created next to the file, and no lock is needed.
        mode = "mode=ro" if logs else "immutable=1"
        uri = f"file:{quote(os.fsencode(path.absolute()))}?{mode}"
        opened = contextlib.ExitStack()
        try:
            self._base = sqlite3.connect(uri, uri=True, check_same_thread=False)
            opened.callback(self._base.close)
            self._base.execute("PRAGMA trusted_schema=OFF")
            self._base.execute("PRAGMA cell_size_check=ON")
            self._read_index()
        except (sqlite3.Error, ValueError) as error:
            opened.close()
            if logs:
                raise BagError(
                    f"{logs[0]} holds messages that are not in {path.name} yet, and they cannot be "
                    f"read ({error}): copy the bag to a folder that you may write to, then run "
                    f"`sqlite3 {path.name} 'PRAGMA wal_checkpoint'` there",
                    "log",
                ) from error
            raise

    def _read_index(self) -> None:
        columns = {row[1] for row in self._base.execute("PRAGMA table_info(topics)")}
        if not columns:
            raise ValueError("it has no table of topics")
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        rows = self._base.execute(f"SELECT id, name, type, serialization_format, {qos} FROM topics")
        topics = rows.fetchall()
        counted = self._base.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id")
        counts = dict(counted.fetchall())
        definitions = {}
        if list(self._base.execute("PRAGMA table_info(message_definitions)")):
            found = self._base.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            )
            definitions = {kind: (str(of), _bytes(text)) for kind, of, text in found}
        first = self._base.execute("SELECT min(timestamp) FROM messages").fetchone()[0]
        self.start_ns = 2**63 if first is None else int(first)
        self._names = {number: str(name) for number, name, *_ in topics}
        self.topics = [
            Topic(
                str(name),
                full_name(str(kind)),
                str(encoding),
                definitions.get(kind, ("", b"")),
                counts.get(number, 0),
                _latched(profiles),
            )
            for number, name, kind, encoding, profiles in topics
        ]

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Read topic, time [ns] and bytes in order of time."""
        numbers = [number for number, name in self._names.items() if name in topics]
        marks = ",".join("?" * len(numbers))
        rows = self._base.execute(
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({marks}) ORDER BY timestamp, id",
            numbers,
        )
        for number, stamp, data in rows:
            yield self._names[number], int(stamp), _bytes(data)

    def close(self) -> None:
        """Close the file."""
        self._base.close()


def ros1(path: Path) -> BagError:
    """Return the error for a recording of ROS 1."""
    return BagError(
        f"{path} is a recording of ROS 1: convert it with "
        f"`rosbags-convert --src {path} --dst {path.stem}`, which is installed with this package",
        "ros1",
    )


def _reordered(entries: Iterator[tuple[str, int, bytes]]) -> Iterator[tuple[str, int, bytes]]:
    """Put messages in order of time where they are no more than REORDERED places off."""
    waiting: list[tuple[int, int, str, bytes]] = []
    size = 0
    for place, (topic, stamp, data) in enumerate(entries):
        heapq.heappush(waiting, (stamp, place, topic, data))
        size += len(data)
        while len(waiting) > REORDERED or size > REORDERED_BYTES:
            stamp, _, topic, data = heapq.heappop(waiting)
            size -= len(data)
            yield topic, stamp, data
    while waiting:
        stamp, _, topic, data = heapq.heappop(waiting)
        yield topic, stamp, data


def _latched(profiles: Any) -> bool:
    try:
        offered = parse_qos(profiles)
    except Exception:  # of whatever a converter or an editor wrote: a topic is not lost for it
        return False
    return any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in offered)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes):
        raise ValueError(f"a cell that must hold bytes holds {type(value).__name__}")
    return value


FILES: dict[str, type[McapFile] | type[SqliteFile]] = {".mcap": McapFile, ".db3": SqliteFile}
