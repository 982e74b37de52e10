"""Maps the images of KITTI's object set to frames of KITTI raw, by the tables of its devkit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from training.data.outside import read_lines
from training.data.provenance import require


class MappingError(ValueError):
    """Tables that cannot be used; the text names the file, the line and the rule."""


class RawFrame(NamedTuple):
    """A frame of KITTI raw: date and drive as its folders are named, number of the frame."""

    date: str
    drive: str
    frame: int


def read_mapping(folder: str | Path) -> list[RawFrame]:
    """Return the raw frame of each training image of the object set, by image number from 0.

    Image i is the frame in line train_rand[i] (counted from 1) of train_mapping.txt.

    Raises:
        MissingPartError: a table is not there.
        MappingError: a table is of another form, or the two do not belong together.
    """
    folder = Path(folder)
    table = require("kitti_object_mapping", folder / "train_mapping.txt")
    random = require("kitti_object_mapping", folder / "train_rand.txt")
    frames = [
        _frame(table, number, line)
        for number, line in enumerate(read_lines(table, MappingError), 1)
    ]
    try:
        order = [
            int(value)
            for line in read_lines(random, MappingError)
            for value in line.split(",")
            if value
        ]
    except ValueError as error:
        raise MappingError(
            f"{random} must hold numbers with commas between them: {error}"
        ) from None
    if sorted(order) != list(range(1, len(frames) + 1)):
        raise MappingError(
            f"{random} must name each of the {len(frames)} lines of {table.name} once, got "
            f"{len(order)} numbers from {min(order, default=0)} to {max(order, default=0)}"
        )
    return [frames[line - 1] for line in order]


def images_of_drives(folder: str | Path) -> dict[str, dict[int, int]]:
    """Return the image number by frame number by drive; errors as read_mapping."""
    drives: dict[str, dict[int, int]] = {}
    for image, raw in enumerate(read_mapping(folder)):
        drives.setdefault(raw.drive, {})[raw.frame] = image
    return drives


def _frame(path: Path, number: int, line: str) -> RawFrame:
    parts = line.split()
    if len(parts) != 3 or not parts[2].isdigit() or not parts[1].startswith(f"{parts[0]}_drive_"):
        raise MappingError(f"{path}: line {number} must read 'date drive frame', got {line[:60]!r}")
    return RawFrame(parts[0], parts[1], int(parts[2]))
