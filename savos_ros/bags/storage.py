"""Opens bags, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rosbags.highlevel import AnyReader

from savos_ros.bags.types import BagError, typestore

RESCUE = "a recording that was cut off can be rescued with `mcap recover` or `ros2 bag reindex`"
FILE_ENDINGS = (".mcap", ".db3")


@contextmanager
def open_bag(path: str | Path) -> Iterator[AnyReader]:
    """Open a bag (its folder, or one .mcap or .db3 file) for reading.

    Raises:
        BagError: it is missing, unreadable, or holds another version of this package's messages.
    """
    place = _storage(Path(path))
    try:
        reader = AnyReader([place], default_typestore=typestore())
        reader.open()
    except Exception as error:  # what a parser raises on a damaged file is not documented
        raise BagError(f"{path} cannot be read as a bag ({_say(error)}): {RESCUE}") from error
    try:
        _check_counts(path, reader)
        _check_versions(path, reader)
        yield reader
    finally:
        reader.close()


def _check_counts(path: str | Path, reader: AnyReader) -> None:
    try:
        whole = all(info.msgcount >= 0 for info in reader.topics.values())
    except TypeError:  # rosbags adds up what metadata.yaml says, numbers or not
        whole = False
    if not whole:
        raise BagError(f"{path}: a message count in metadata.yaml is no whole number: {RESCUE}")


def messages(
    reader: AnyReader, topics: set[str], damage: list[str]
) -> Iterator[tuple[str, int, bytes]]:
    """Read topic, bag time [ns] and serialized message in order of time.

    Messages of one time come in the order in which they were written.

    Args:
        reader: an open bag.
        topics: those to read.
        damage: gets one text when the bag turns out to be damaged; reading ends there.
    """
    wanted = [item for item in reader.connections if item.topic in topics]
    source = reader.messages(wanted) if wanted else iter(())
    while True:
        try:
            connection, stamp, data = next(source)
        except StopIteration:
            return
        except Exception as error:  # see open_bag
            damage.append(f"the bag is damaged, reading stopped ({_say(error)}): {RESCUE}")
            return
        yield connection.topic, stamp, data


def topics_text(reader: AnyReader) -> str:
    """List the topics of a bag with type and count, for errors."""
    lines = [
        f"  {name}  {info.msgtype}  {info.msgcount} messages"
        for name, info in sorted(reader.topics.items())
    ]
    return "the bag holds\n" + "\n".join(lines) if lines else "the bag holds no topic at all"


def _storage(path: Path) -> Path:
    if not path.exists():
        raise BagError(
            f"{path} does not exist: give the folder of a bag, or its .mcap or .db3 file"
        )
    if path.is_file():
        if path.suffix not in FILE_ENDINGS:
            raise BagError(
                f"{path} is no bag: give a folder, or a file {' or '.join(FILE_ENDINGS)}"
            )
        return path
    if (path / "metadata.yaml").is_file():
        return path
    # A recorder that was killed leaves no metadata.yaml; its one data file may still be whole.
    files = [file for file in path.iterdir() if file.suffix in FILE_ENDINGS]
    if len(files) != 1:
        raise BagError(f"{path} holds no metadata.yaml and {len(files)} data files: {RESCUE}")
    return files[0]


def _check_versions(path: str | Path, reader: AnyReader) -> None:
    ours = typestore()
    for connection in reader.connections:
        kind = connection.msgtype
        if not kind.startswith("savos_ros/") or kind not in ours.fielddefs:
            continue
        if reader.typestore.hash_rihs01(kind) != ours.hash_rihs01(kind):
            raise BagError(
                f"{path}: {connection.topic} was recorded with another version of {kind}: "
                "convert the bag, or use the version of this package that wrote it"
            )


def _say(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
