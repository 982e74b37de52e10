"""Opens bags: what is there is read, what is missing is reported."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import yaml
import zstandard
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from savos_ros.bags.datafiles import FILES, McapFile, SqliteFile, Topic, ros1
from savos_ros.bags.settings import BagError
from savos_ros.bags.types import typestore

FILE_ENDINGS = tuple(FILES)
PACKED = ".zstd"
RESCUE = (
    "rescue a recording that was cut off with `mcap recover` (.mcap), "
    "`sqlite3 FILE .recover` (.db3) or `ros2 bag reindex` (metadata.yaml)"
)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # a message of ROS 2 begins with a zero byte
MAX_MESSAGE = 1 << 30  # of one message, unpacked [bytes]
MAX_METADATA = 16 << 20  # [bytes]


@dataclass
class Bag:
    """An open bag; open_bag makes it."""

    path: Path  # as it was given
    topics: dict[str, Topic] = field(default_factory=dict)  # by name, in order of names
    # What is missing or cannot be read, a text each
    damage: list[str] = field(default_factory=list)
    _files: list[tuple[Path, McapFile | SqliteFile]] = field(default_factory=list)
    _stores: dict[str, Typestore] = field(default_factory=dict)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Read topic, recording time [ns] and serialized message in order of time.

        Messages of one time come in the order in which they were written. A damaged file ends
        early, which `damage` then reports; the files after it are read. Counters of `topics` start
        again.
        """
        wanted = {name for name in topics if name in self.topics}
        for name in wanted:
            self.topics[name].read = 0
        for path, file in self._files:
            try:
                for topic, stamp, data in file.messages(wanted):
                    if data[:4] == ZSTD_MAGIC:
                        data = unpacked(data)
                    self.topics[topic].read += 1
                    yield topic, stamp, data
            except GeneratorExit:
                return
            except Exception as error:  # what a parser raises on a damaged file is not documented
                self.lacks(f"{path.name} is damaged, reading stopped there ({say(error)})")
        if self.damage:
            return
        for info in (self.topics[name] for name in sorted(wanted)):
            if info.read < info.msgcount:
                count = f"{info.msgcount} messages in the index, {info.read} read"
                self.lacks(f"{info.name}: {count}")

    def lacks(self, text: str) -> None:
        """Note damage, with what to do about it."""
        self.damage.append(f"{text}: {RESCUE}")

    def deserialize(self, topic: str, data: bytes) -> Any:
        """Return a message; what it raises on damaged data is not documented."""
        return self.store(topic).deserialize_cdr(data, self.topics[topic].msgtype)

    def store(self, topic: str) -> Typestore:
        """Return the types that a topic is made of: the bag's own, else those of ROS 2 Jazzy."""
        info = self.topics[topic]
        if info.msgtype not in self._stores:
            self._stores[info.msgtype] = _types_of(info) or typestore()
        return self._stores[info.msgtype]


@contextmanager
def open_bag(path: str | Path) -> Iterator[Bag]:
    """Open a bag (its folder, or one .mcap or .db3 file) for reading.

    The data files decide what is in a bag. metadata.yaml is used for their names; where it
    announces more messages than they hold, or cannot be read, `damage` of the bag reports it.

    Raises BagError: it is missing, unreadable, or holds another version of this package's messages;
    `kind` is "missing", "not_a_bag", "ros1", "log", "damaged" or "version".
    """
    bag = Bag(Path(path))
    with ExitStack() as stack:
        metadata = _metadata(bag)
        for file in _data_files(bag, metadata):
            bag._files.append((file, _opened(file, stack)))
        bag._files.sort(key=lambda item: item[1].start_ns)
        for _, data in bag._files:
            for topic in sorted(data.topics):
                if topic.name in bag.topics:
                    bag.topics[topic.name].add(topic)
                else:
                    bag.topics[topic.name] = topic
        bag.topics = dict(sorted(bag.topics.items()))
        _compare_counts(bag, metadata)
        _check_versions(bag)
        yield bag


def topics_text(bag: Bag) -> str:
    """List the topics of a bag with type and count, for errors."""
    lines = [
        f"  {name}  {info.msgtype or 'several types'}  {info.msgcount} messages"
        + (f"  encoded as {info.encoding}" if info.encoding != "cdr" else "")
        for name, info in bag.topics.items()
    ]
    return "the bag holds\n" + "\n".join(lines) if lines else "the bag holds no topic at all"


def unpacked(data: bytes) -> bytes:
    """Unpack a message; raises ValueError: it is damaged, or larger than MAX_MESSAGE."""
    size = zstandard.frame_content_size(data)
    if size > MAX_MESSAGE:
        raise ValueError(f"a message has {size} bytes, more than {MAX_MESSAGE}")
    try:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_MESSAGE)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def say(error: BaseException) -> str:
    """Return the text of an error, or its type where it has none."""
    return str(error).strip().rstrip(".") or type(error).__name__


def _metadata(bag: Bag) -> dict[str, Any]:
    """Return what metadata.yaml says; empty without one, or where it cannot be read."""
    file = bag.path / "metadata.yaml"
    if not file.is_file():
        return {}
    try:
        if file.stat().st_size > MAX_METADATA:
            raise ValueError(f"it is larger than {MAX_METADATA >> 20} MiB")
        document = yaml.safe_load(file.read_text("utf-8"))
        return dict(document["rosbag2_bagfile_information"])
    except Exception as error:  # what the parser raises is not documented
        bag.lacks(f"metadata.yaml cannot be read ({say(error)})")
        return {}


def _data_files(bag: Bag, metadata: dict[str, Any]) -> list[Path]:
    """Return the data files of a bag: those that metadata.yaml names, else those of the folder."""
    path = bag.path
    if not path.exists():
        text = f"{path} does not exist: give the folder of a bag, or its .mcap or .db3 file"
        raise BagError(text, "missing")
    if path.is_file():
        if path.suffix == ".bag":
            raise ros1(path)
        if not _is_data(path):
            endings = " or ".join(FILE_ENDINGS)
            raise BagError(f"{path} is no bag: give a folder, or a file {endings}", "not_a_bag")
        return [path]
    there = sorted(filter(_is_data, path.iterdir()), key=lambda file: natural(file.name))
    if not there:
        if old := next(path.glob("*.bag"), None):
            raise ros1(old)
        raise BagError(f"{path} holds no data file ({', '.join(FILE_ENDINGS)})", "not_a_bag")
    names = metadata.get("relative_file_paths")
    names = [PurePath(str(name)).name for name in names] if isinstance(names, list) else []
    named = [path / name for name in names if _is_data(path / name)]
    if named:
        gone = [name for name in names if not (path / name).is_file()]
        if gone:
            bag.damage.append(
                f"{', '.join(gone)} of {path} is missing, which metadata.yaml names: copy it there"
            )
        return [file for file in named if file.is_file()] or there
    stems = {re.sub(r"(_\d+)?$", "", file.name.partition(".")[0]) for file in there}
    if len(stems) > 1:
        raise BagError(
            f"{path} holds no metadata.yaml and {len(stems)} recordings: give the file of one, or "
            "make metadata.yaml with `ros2 bag reindex`",
            "not_a_bag",
        )
    return there


def _is_data(file: Path) -> bool:
    name = file.name.removesuffix(PACKED)
    return not name.startswith(".") and name.endswith(FILE_ENDINGS)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that orders names, numbers in them by value: part 9 comes before part 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _opened(file: Path, stack: ExitStack) -> McapFile | SqliteFile:
    whole = file
    try:
        if file.suffix == PACKED:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="savos_bag_")))
            whole = folder / file.name.removesuffix(PACKED)
            with file.open("rb") as source, whole.open("wb") as target:
                shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(source), target)
        data = FILES[whole.suffix](whole)
    except BagError:
        raise
    except Exception as error:  # what a parser raises on a damaged file is not documented
        text = f"{file} cannot be read as a bag ({say(error)}): {RESCUE}"
        raise BagError(text, "damaged") from error
    stack.callback(data.close)
    return data


def _compare_counts(bag: Bag, metadata: dict[str, Any]) -> None:
    """Report messages that metadata.yaml announces and the data files do not have."""
    announced: Counter[str] = Counter()
    try:
        for entry in metadata.get("topics_with_message_count") or ():
            announced[str(entry["topic_metadata"]["name"])] += int(entry["message_count"])
    except (KeyError, TypeError, ValueError) as error:
        bag.lacks(f"metadata.yaml has no usable list of topics ({say(error)})")
        return
    for name, count in sorted(announced.items()):
        there = bag.topics[name].msgcount if name in bag.topics else 0
        if there < count:
            bag.lacks(
                f"metadata.yaml announces {count} messages on {name}, the data files hold {there}"
            )


def _types_of(info: Topic) -> Typestore | None:
    """Return the types of the definition in a bag; None where it is absent or cannot be parsed."""
    language, text = info.definition
    try:
        if language == "ros2msg":
            types = get_types_from_msg(text.decode(), info.msgtype)
        elif language in ("ros2idl", "omgidl"):
            parts = re.split(r"^=+\nIDL: .*\n", text.decode(), flags=re.MULTILINE)
            types = {}
            for part in filter(str.strip, parts):
                types |= get_types_from_idl(part)
        else:
            return None
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        store.hash_rihs01(info.msgtype)  # fails where a type that it is made of is missing
    except Exception:  # what the parser raises is not documented
        return None
    return store


def _check_versions(bag: Bag) -> None:
    ours = typestore()
    for topic, info in bag.topics.items():
        kind = info.msgtype
        if not kind.startswith("savos_ros/") or kind not in ours.fielddefs:
            continue
        if bag.store(topic).hash_rihs01(kind) != ours.hash_rihs01(kind):
            raise BagError(
                f"{bag.path}: {topic} was recorded with another version of {kind}: "
                "convert the bag, or use the version of this package that wrote it",
                "version",
            )
