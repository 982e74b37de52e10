"""Reads amodal masks that another program has written; docs/evaluation.md has the layout."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from savos_model.files import FileError
from savos_model.masks import BoxedMask, from_image
from training.data.outside import is_file_name, read_json, read_picture
from training.data.rle import RleError, decode_record


class ExternalError(FileError):
    """Results that cannot be read; the text names the file, the rule and the value found."""


class ExternalClip:
    """The results of one clip: `<clip>.json.gz`, `<clip>.json`, or PNG files under `<clip>/`."""

    def __init__(self, folder: Path, clip: str) -> None:
        """Open the results of a clip; raises ExternalError where there are none or bad ones."""
        _check_name(clip, "clip")
        files = [
            path for end in (".json.gz", ".json") if (path := folder / f"{clip}{end}").exists()
        ]
        self.path = files[0] if files else folder / clip
        self._frames = _read_frames(self.path) if files else None
        if not files and not self.path.is_dir():
            raise ExternalError(
                f"{folder} has no results of clip {clip}: {clip}.json.gz, {clip}.json "
                f"or a folder {clip} is needed",
                "missing",
            )

    def mask(self, frame: int, name: str, shape: tuple[int, int]) -> BoxedMask | None:
        """Return the whole mask of an object in a frame of its clip, None where there is none.

        Raises ExternalError: it is damaged, or not of `shape` (rows and columns of the image).
        """
        if self._frames is None:
            _check_name(name, "object")
            path = self.path / name / f"{frame:06d}.png"
            return _read_png(path, shape) if path.exists() else None
        runs = self._frames.get(str(frame), {}).get(name)
        if runs is None:
            return None
        try:
            return decode_record(runs, shape)
        except RleError as error:
            raise ExternalError(
                f"{self.path}: frame {frame}, object {name}: {error}", "mask"
            ) from None


def _check_name(name: str, what: str) -> None:
    if not is_file_name(name):
        raise ExternalError(
            f"{what} {name!r} is no file name, so no results can be read for it", "name"
        )


def _read_frames(path: Path) -> dict[str, dict[str, Any]]:
    try:
        frames = read_json(path, ExternalError)["frames"]
    except (TypeError, KeyError) as error:
        raise ExternalError(f'{path} has not the key "frames": {error!r}', "layout") from None
    if not isinstance(frames, dict) or not all(isinstance(f, dict) for f in frames.values()):
        raise ExternalError(f'{path}: "frames" must map frame numbers to objects', "layout")
    bad = [number for number in frames if not number.isdecimal() or number != str(int(number))]
    if bad:
        raise ExternalError(
            f"{path}: frame number {bad[0]!r} must be written as 0, 1, 2, ...", "layout"
        )
    return frames


def _read_png(path: Path, shape: tuple[int, int]) -> BoxedMask:
    mask = read_picture(path, ExternalError, cv2.IMREAD_UNCHANGED)
    if mask.shape[:2] != shape:
        rows, columns = mask.shape[:2]
        raise ExternalError(
            f"{path} must be a PNG of {shape[1]}x{shape[0]}, got {columns}x{rows}", "size"
        )
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ExternalError(f"{path} must be an 8-bit grey PNG", "encoding")
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    if not set(values.tolist()) <= {0, 255}:
        raise ExternalError(
            f"{path} must hold 0 and 255 alone, got {values[:4].tolist()}", "values"
        )
    return from_image(mask != 0)
