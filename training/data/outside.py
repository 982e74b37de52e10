"""Guards against what others' files may hold: names that leave their folder, endless contents."""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from savos_model.encoded_image import decode_image, encoded_size
from savos_model.files import FileError

MAX_PIXELS = 1 << 24  # of one picture; the largest of the data sets has half a million
MAX_BYTES = 256 << 20  # of one file; one of MAX_PIXELS without any packing takes 96 MiB
MAX_NAME = 100


def shown(paths: Iterable[Path]) -> list[Path]:
    """Return paths in order of their names, without hidden ones such as `._0001.png` of macOS."""
    return sorted(path for path in paths if not path.name.startswith("."))


def is_file_name(name: str) -> bool:
    """Return whether a name stays in the folder that it is put behind."""
    plain = name not in ("", ".", "..") and "/" not in name
    return plain and name.isprintable() and len(name) <= MAX_NAME


def read_bytes(path: str | Path, error: type[FileError], most: int = MAX_BYTES) -> bytes:
    """Read a file whose size is checked first.

    Raises `error`: missing ("unreadable"), or larger than `most` bytes ("size"); its text names the
    file and what was found.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(size) if size <= most else b""
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause}", "unreadable") from None
    if size > most:
        raise error(f"{path} has {size} bytes, at most {most} are read", "size")
    return data


def read_lines(path: Path, error: type[FileError]) -> list[str]:
    """Return the lines of an ASCII file; raises `error` as read_bytes, or for other text."""
    try:
        return read_bytes(path, error).decode("ascii").splitlines()
    except UnicodeDecodeError as cause:
        raise error(f"{path} cannot be read: {cause}", "unreadable") from None


def read_json(path: Path, error: type[FileError], most: int = MAX_BYTES) -> Any:
    """Read JSON, packed by gzip where the name ends in .gz; no more than `most` bytes are unpacked.

    Raises `error`: missing, cut off or not JSON ("unreadable"), too large ("size").
    """
    data = read_bytes(path, error, most)
    try:
        if path.suffix == ".gz":
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(most + 1)
    except (OSError, EOFError, zlib.error) as cause:
        text = f"{path} cannot be unpacked ({cause}): it is cut off or of another format"
        raise error(text, "unreadable") from None
    if len(data) > most:
        raise error(f"{path} holds more than {most >> 20} MiB: split it by video", "size")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} is not JSON ({cause}): write it again", "unreadable") from None


def read_picture(
    path: str | Path, error: type[FileError], flags: int = cv2.IMREAD_COLOR
) -> np.ndarray:
    """Read a PNG or JPEG as [H, W] or [H, W, C], as `flags` of cv2.imdecode ask for it.

    Its size is checked before it is decoded.

    Raises `error`: missing, damaged, another format, or larger than MAX_BYTES or MAX_PIXELS.
    """
    data = np.frombuffer(read_bytes(path, error), np.uint8)
    height, width = encoded_size(data) or (0, 0)
    if height * width > MAX_PIXELS:
        raise error(f"{path} is {width}x{height}, more than {MAX_PIXELS} pixels", "size")
    image = decode_image(data, flags) if height and width else None
    if image is None:
        raise error(f"{path} cannot be decoded: it is cut off or no PNG or JPEG", "unreadable")
    return image
