"""Reads and writes sets of Chewing Gum videos as one npz file, a video at a time."""

from __future__ import annotations

import contextlib
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from savos_model.files import atomic
from training.data.chewing_gum import Video

ARRAYS = ("frames", "full", "visible", "order", "shape")
MAX_VIDEOS = 1_000_000
MAX_OBJECTS = 64
MAX_VIDEO_BYTES = 256 << 20  # of one video: pictures, or masks of one byte a pixel
MAX_SMALL_BYTES = 64 << 20  # of `order` and `shape`, which are held whole
BAD_FILE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
BAD_HEADER = (OverflowError, SyntaxError, tokenize.TokenError)  # NumPy's parser of array headers
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for gigabytes


class VideoFileError(ValueError):
    """A file of videos that cannot be used; the text names the file, the rule and the value."""


@dataclass(frozen=True)
class Member:
    """Header of one array in the file: shape, element type, bytes before the first element."""

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int

    @property
    def item_bytes(self) -> int:
        """Bytes of one video."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class NpzVideos:
    """Videos of one npz file.

    The arrays: `frames` uint8 [N, T, H, W, 3], RGB; `full` and `visible` uint8, the masks
    [N, T, K, H, W] packed by numpy.packbits along the last axis; `order` [N, K], objects from the
    bottom one up; `shape` = N, T, K, H, W.

    Attributes:
        path: the file.
        count: number of videos N.
        length: frames T of each.
    """

    def __init__(self, path: str | Path) -> None:
        """Check the headers; no picture is read.

        Raises:
            VideoFileError: unreadable, an array is missing, or their shapes do not fit each other.
        """
        self.path = Path(path)
        with self._reported(), zipfile.ZipFile(self.path) as file:
            self._members = {name: self._header(file, name) for name in ARRAYS}
            shape = self._small(file, "shape")
            self._check(shape)
            self._order = self._small(file, "order")
        if (np.sort(self._order, 1) != np.arange(self._masks[2])).any():
            self._fail(f"order must hold each of the objects 0..{self._masks[2] - 1} once a video")

    def _header(self, file: zipfile.ZipFile, name: str) -> Member:
        try:
            info = file.getinfo(f"{name}.npy")
        except KeyError:
            self._fail(f"holds no array {name}; {', '.join(ARRAYS)} are needed")
        if info.compress_type not in PACKED:
            self._fail(f"{name} is packed in another way than NumPy's")
        with file.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
            start = stream.tell()
        if fortran or dtype.kind not in "ui" or (name not in ("order", "shape") and dtype != "u1"):
            self._fail(f"{name} must be of unsigned bytes (or integers), in C order, got {dtype}")
        if start + math.prod(shape) * dtype.itemsize != info.file_size:
            self._fail(f"{name} of shape {shape} does not fit its {info.file_size} bytes: cut off")
        return Member(shape, dtype, start)

    def _small(self, file: zipfile.ZipFile, name: str) -> np.ndarray:
        member = self._members[name]
        size = math.prod(member.shape) * member.dtype.itemsize
        if size > MAX_SMALL_BYTES:
            self._fail(f"{name} takes {size} bytes, more than {MAX_SMALL_BYTES}")
        with file.open(f"{name}.npy") as stream:
            stream.seek(member.start)
            values = np.frombuffer(stream.read(size), member.dtype)
        return values.reshape(member.shape).astype(np.int64)

    def _check(self, shape: np.ndarray) -> None:
        if shape.shape != (5,) or shape.min() < 1:
            self._fail(f"shape must be N, T, K, H, W, all positive, got {shape.tolist()}")
        count, length, objects, height, width = self._masks = tuple(int(v) for v in shape)
        wanted = {
            "frames": (count, length, height, width, 3),
            "full": (count, length, objects, height, (width + 7) // 8),
            "order": (count, objects),
        }
        wanted["visible"] = wanted["full"]
        for name, want in wanted.items():
            if self._members[name].shape != want:
                got = self._members[name].shape
                self._fail(f"{name} must be of shape {want}, as shape says, got {got}")
        pixels = length * height * width
        if count > MAX_VIDEOS or objects > MAX_OBJECTS:
            self._fail(f"has {count} videos of {objects} objects, more than the limit")
        if pixels * max(objects, 3) > MAX_VIDEO_BYTES:
            self._fail(f"has videos of {pixels} pixels, more than {MAX_VIDEO_BYTES} bytes each")
        self.count, self.length = count, length

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Video]:
        """Videos start .. stop - 1, one in memory at a time.

        Raises:
            VideoFileError: the file is damaged, or a visible mask leaves its full mask.
        """
        stop = self.count if stop is None else min(stop, self.count)
        with self._reported(), contextlib.ExitStack() as stack:
            file = stack.enter_context(zipfile.ZipFile(self.path))
            streams = {n: stack.enter_context(file.open(f"{n}.npy")) for n in ARRAYS[:3]}
            for name, stream in streams.items():
                member = self._members[name]
                stream.seek(member.start + start * member.item_bytes)
            for index in range(start, stop):
                yield self._video(index, streams)

    def _video(self, index: int, streams: dict[str, IO[bytes]]) -> Video:
        frames, full, visible = (self._array(index, name, streams[name]) for name in ARRAYS[:3])
        width = self._masks[-1]
        full, visible = (
            np.unpackbits(packed, axis=-1, count=width).view(bool) for packed in (full, visible)
        )
        if (visible & ~full).any():
            self._fail(f"video {index}: a visible mask leaves its full mask")
        return Video(f"{index:06d}", frames, full, visible, self._order[index])

    def _array(self, index: int, name: str, stream: IO[bytes]) -> np.ndarray:
        member = self._members[name]
        data = stream.read(member.item_bytes)
        if len(data) != member.item_bytes:
            self._fail(f"{name} ends in video {index} of {self.count}: it is cut off")
        return np.frombuffer(data, np.uint8).reshape(member.shape[1:])

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except VideoFileError:
            raise
        except (*BAD_FILE, *BAD_HEADER) as error:
            text = f"{self.path} cannot be read ({error}): no npz file, or damaged"
            raise VideoFileError(text) from None

    def _fail(self, text: str) -> None:
        raise VideoFileError(f"{self.path}: {text}")


def write_npz(path: str | Path, videos: Iterable[Video], count: int) -> None:
    """Write videos of one shape; the file appears whole or not at all.

    Args:
        path: file to write, as NpzVideos reads it.
        videos: at least `count` videos; more are left.
        count: number written.

    Raises:
        VideoFileError: too few videos, or of different shapes.
    """
    path = Path(path)
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as out:
        _write(out, path, iter(videos), count)


def _write(out: zipfile.ZipFile, path: Path, videos: Iterator[Video], count: int) -> None:
    packed: dict[str, list[np.ndarray]] = {"full": [], "visible": []}
    order, shape = [], None
    first = next(videos, None)
    if first is None or count < 1:
        raise VideoFileError(f"{path}: no videos to write")
    shape = first.full.shape
    with out.open("frames.npy", "w", force_zip64=True) as member:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *first.frames.shape)}
        np.lib.format.write_array_header_1_0(member, header)
        video: Video | None = first
        for index in range(count):
            if video is None or video.full.shape != shape:
                found = "the end" if video is None else str(video.full.shape)
                raise VideoFileError(f"{path}: video {index} must be of shape {shape}, got {found}")
            member.write(np.ascontiguousarray(video.frames, np.uint8).tobytes())
            packed["full"].append(np.packbits(video.full, axis=-1))
            packed["visible"].append(np.packbits(video.visible, axis=-1))
            order.append(video.order)
            video = next(videos, None) if index + 1 < count else None
    arrays = {name: np.stack(masks) for name, masks in packed.items()}
    arrays |= {"order": np.stack(order).astype(np.int64), "shape": np.array([count, *shape])}
    for name, values in arrays.items():
        with out.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, values, allow_pickle=False)
