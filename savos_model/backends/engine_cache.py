"""Store built engines in a folder: build each key once, verify files before use."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from savos_model.files import atomic
from savos_model.settings import user_cache

MAGIC = b"SAVOSENG"
HEAD = struct.Struct("<8sI")  # magic, bytes of the JSON header that follows
MAX_HEADER_BYTES = 64 * 2**10
MAX_ENGINE_BYTES = 2 * 2**30  # far above any engine of this network; guards memory
LOG = logging.getLogger(__name__)

Key = Mapping[str, str]


class EngineCacheError(OSError):
    """The folder cannot be used; the text names it and the remedy."""


class ForeignEngineError(ValueError):
    """A file is damaged or not an engine of the key; the text names the reason."""


def engine_folder(engine_dir: str) -> Path:
    """Return the folder of the setting engine_dir.

    Raises EngineCacheError: it is in the home of a user without one.
    """
    try:
        return Path(engine_dir).expanduser() if engine_dir else user_cache() / "engines"
    except RuntimeError as error:
        raise EngineCacheError(
            f"no folder for engines ({error}): set model.engine_dir to a full path"
        ) from None


def engine_path(folder: Path, key: Key) -> Path:
    """Return the file of a key, named by weights and hash."""
    name = "".join(letter if letter.isalnum() else "_" for letter in key.get("weights", "engine"))
    return folder / f"{name[:40]}-{hashlib.sha256(canonical(key)).hexdigest()[:20]}.engine"


def canonical(key: Key) -> bytes:
    """Return a key as bytes, independent of its order."""
    return json.dumps(dict(key), sort_keys=True).encode()


def cached_engine(folder: Path, key: Key, build: Callable[[], bytes]) -> bytes:
    """Return the engine of a key, loaded or built; other processes wait for a build.

    Args:
        folder: created if missing; a read-only one is only read.
        key: everything that the engine depends on.
        build: makes the engine; called at most once. If the disk is full, the engine
            is used but not stored, with a warning.

    Raises:
        EngineCacheError: the engine has to be built and the folder is not writable.
    """
    path = engine_path(folder, key)
    if (engine := read_if_sound(path, key)) is not None:
        return engine
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            # Another process may have built it while this one waited.
            if (engine := read_if_sound(path, key, warn=False)) is None:
                LOG.warning("building engine %s: this can take minutes, once", path)
                engine = build()
                keep_engine(path, key, engine)
            return engine
    except OSError as error:
        raise EngineCacheError(
            f"model.engine_dir: cannot write to {folder} ({error}): set it to a folder of yours"
        ) from error


def read_if_sound(path: Path, key: Key, *, warn: bool = True) -> bytes | None:
    """Return the engine of a file; None, with a warning, if it is damaged or of another key."""
    try:
        return read_engine(path, key)
    except FileNotFoundError:
        return None
    except (ForeignEngineError, OSError) as error:
        if warn:
            LOG.warning("engine file %s is not used (%s): rebuilding", path, error)
        return None


def read_engine(path: Path, key: Key) -> bytes:
    """Read an engine file; sizes are checked before memory is taken.

    Raises ForeignEngineError: of another key, truncated, or changed since it was written.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD.size)
        if len(head) < HEAD.size or head[: len(MAGIC)] != MAGIC:
            raise ForeignEngineError("not an engine file of this program")
        length = HEAD.unpack(head)[1]
        left = size - HEAD.size - length
        if length > MAX_HEADER_BYTES or not 0 <= left <= MAX_ENGINE_BYTES:
            raise ForeignEngineError(f"its sizes do not fit: {size} bytes, header {length}")
        try:
            header = json.loads(file.read(length))
            stored, wanted = header["key"], (header["bytes"], header["sha256"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ForeignEngineError("its header cannot be read") from error
        if stored != dict(key):
            raise ForeignEngineError("it was built for something else")
        if left != wanted[0]:
            raise ForeignEngineError(f"{left} bytes instead of {wanted[0]}: cut off")
        engine = file.read(left)
    if hashlib.sha256(engine).hexdigest() != wanted[1]:
        raise ForeignEngineError("its content has changed")
    return engine


def keep_engine(path: Path, key: Key, engine: bytes) -> None:
    """Write an engine file; warn if that fails."""
    try:
        write_engine(path, key, engine)
    except OSError as error:
        LOG.warning("engine %s cannot be stored (%s): the next start rebuilds it", path, error)


def write_engine(path: Path, key: Key, engine: bytes) -> None:
    """Write an engine file atomically."""
    header = {"key": dict(key), "bytes": len(engine), "sha256": hashlib.sha256(engine).hexdigest()}
    text = json.dumps(header, sort_keys=True).encode()
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(HEAD.pack(MAGIC, len(text)) + text)
        file.write(engine)
