"""Reads Chewing Gum videos in the layout that the paper's released generator writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from savos_model.files import FileError
from training.data.chewing_gum import Video
from training.data.outside import read_picture
from training.data.safe_pickle import load

MAX_FRAMES = 10_000
MAX_OBJECTS = 64
MAX_PICKLE_BYTES = 64 << 20


class VideoFileError(FileError):
    """Videos that cannot be used; the text names the file, the rule and the value found."""


class ReleasedVideos:
    """A folder of videos: `<video>/<frame>.png` with `<video>/<frame>.pkl`, names being numbers.

    Each pickle holds `full_mask` [K, H, W], `order` [K] from the bottom one up and `color`, one RGB
    value for each object. Visible masks are not written: they are the pixels of the full mask that
    show the object's colour and lie under no object above it. What the generator glues over the
    lower object without being an object is thus hidden too.

    Attributes:
        path: the folder.
        count: number of videos.
    """

    def __init__(self, path: str | Path) -> None:
        """List the videos.

        Raises:
            VideoFileError: the folder holds none.
        """
        self.path = Path(path)
        folders = self.path.iterdir() if self.path.is_dir() else ()
        self._folders = sorted(p for p in folders if p.name.isdigit() and p.is_dir())
        self.count = len(self._folders)
        if not self.count:
            raise VideoFileError(f"{self.path} holds no folders <video> of <frame>.png and .pkl")

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Video]:
        """Yield videos start .. stop - 1 by name.

        Raises:
            VideoFileError, UnsafePickleError: a file is damaged, too large, or does not fit.
        """
        for folder in self._folders[start:stop]:
            yield _read_video(folder)


def _read_video(folder: Path) -> Video:
    pictures = {int(p.stem): p for p in folder.glob("*.png") if p.stem.isdigit()}
    if not 0 < len(pictures) <= MAX_FRAMES:
        raise VideoFileError(f"{folder} has {len(pictures)} frames, 1 to {MAX_FRAMES} are read")
    parts = [_read_frame(pictures[number]) for number in sorted(pictures)]
    frames, full, visible, orders = zip(*parts, strict=True)
    forms = {(f.shape, m.shape, tuple(o)) for f, m, o in zip(frames, full, orders, strict=True)}
    if len(forms) > 1:
        raise VideoFileError(f"{folder}: sizes or order change from frame to frame")
    return Video(folder.name, np.stack(frames), np.stack(full), np.stack(visible), orders[0])


def _read_frame(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return image uint8 [H, W, 3] RGB, full and visible masks bool [K, H, W], order int [K]."""
    image = np.ascontiguousarray(read_picture(path, VideoFileError)[..., ::-1])
    notes = path.with_suffix(".pkl")
    record = load(notes, MAX_PICKLE_BYTES)
    try:
        full = np.asarray(record["full_mask"]) != 0
        order, colours = np.asarray(record["order"]), np.asarray(record["color"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise VideoFileError(f"{notes} must hold full_mask, order and color: {error}") from None
    objects = len(order) if order.ndim == 1 else 0
    good = 0 < objects <= MAX_OBJECTS and full.shape == (objects, *image.shape[:2])
    if not good or colours.shape != (objects, 3) or sorted(order.tolist()) != list(range(objects)):
        raise VideoFileError(
            f"{notes}: full_mask {full.shape}, order {order.shape} and color {colours.shape} do "
            f"not fit each other or the picture of {image.shape[1]}x{image.shape[0]}"
        )
    visible = full & (image == colours[:, None, None]).all(-1)
    above = np.zeros(image.shape[:2], bool)
    for k in order[::-1]:
        visible[k] &= ~above
        above |= full[k]
    if (visible[order[-1]] != full[order[-1]]).any():
        raise VideoFileError(f"{path} does not show the uppermost object as {notes.name} says")
    return image, full, visible, order.astype(np.int64)
