"""Reads KINS, masks of KITTI object images, and the tables that map these to KITTI raw."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from savos_model.files import FileError
from savos_model.masks import EMPTY, BoxedMask
from savos_model.types import Instance
from training.data.outside import read_json, read_lines
from training.data.provenance import require
from training.data.rle import decode, decode_record

MAX_BYTES = 2 << 30  # instances_train.json has some hundred MB
MAX_SIDE = 4096
MAX_POINTS = 100_000
# Names of the fields in instances_train.json, then in update_train_2020.json.
FULL_FIELDS = ("segmentation", "a_segm")
VISIBLE_FIELDS = ("inmodal_seg", "i_segm")


class KinsError(FileError):
    """Annotations that cannot be used; the text names the file, the annotation and the rule."""


class KinsObject(NamedTuple):
    """One annotated object: category as KINS numbers it (4 car), visible and whole mask."""

    category: int
    visible: BoxedMask
    full: BoxedMask


class KinsAnnotations:
    """The annotations of one file, by number of the KITTI object image; masks decode when asked.

    `categories` are names by category number, as far as the file gives them.
    """

    def __init__(self, path: str | Path) -> None:
        """Read a file; raises MissingPartError without it, KinsError for another layout."""
        self.path = require("kins", Path(path))
        record = read_json(self.path, KinsError, MAX_BYTES)
        try:
            images = {entry["id"]: entry for entry in record["images"]}
            found: dict[Any, list[dict]] = defaultdict(list)
            for note in record["annotations"]:
                found[note["image_id"]].append(note)
            self.categories = {
                int(entry["id"]): str(entry["name"]) for entry in record.get("categories", [])
            }
            self._notes = {
                int(Path(image["file_name"]).stem): (
                    (int(image["height"]), int(image["width"])),
                    found.get(key, []),
                )
                for key, image in images.items()
            }
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)
            raise KinsError(f"{self.path} is not in KINS' layout: {what}", "layout") from None
        if any(not 0 < side <= MAX_SIDE for shape, _ in self._notes.values() for side in shape):
            raise KinsError(f"{self.path} has images of more than {MAX_SIDE} pixels a side", "size")

    @property
    def images(self) -> set[int]:
        """Return the numbers of the annotated images."""
        return set(self._notes)

    def shape(self, image: int) -> tuple[int, int]:
        """Return rows and columns of an image."""
        return self._notes[image][0]

    def objects(self, image: int) -> list[KinsObject]:
        """Return the objects of an image that show some pixel; raises KinsError for a bad mask."""
        shape, notes = self._notes[image]
        made = []
        for note in notes:
            try:
                full = _mask(_field(note, FULL_FIELDS), *shape)
                visible = _mask(_field(note, VISIBLE_FIELDS), *shape)
                category = int(note["category_id"])
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise KinsError(
                    f"{self.path}: annotation {note.get('id')} of image {image:06d}: {error}",
                    "annotation",
                ) from None
            if visible.mask.size:
                made.append(KinsObject(category, visible, full))
        return made

    def truth(self, image: int) -> tuple[list[Instance], dict[str, BoxedMask]]:
        """Return visible masks, whose ids are their places in the file, and whole masks by id."""
        objects = self.objects(image)
        seen = [
            Instance(str(i), *item.visible, str(item.category)) for i, item in enumerate(objects)
        ]
        return seen, {str(i): item.full for i, item in enumerate(objects)}


@functools.lru_cache(maxsize=1)
def read_kins(path: Path) -> KinsAnnotations:
    """Return the annotations of a file, read once by each process."""
    return KinsAnnotations(path)


def _field(note: dict, names: tuple[str, str]) -> Any:
    for name in names:
        if name in note:
            return note[name]
    raise KeyError(f"one of {', '.join(names)}")


def _mask(segment: Any, height: int, width: int) -> BoxedMask:
    """Return a mask of run lengths or of polygons."""
    if isinstance(segment, dict):
        return decode_record(segment, (height, width))
    # Imported here: readers of other sets do without it. Polygons are filled by COCO's own rule.
    from pycocotools import mask as coco

    polygons = [_polygon(points, height, width) for points in segment]
    if not polygons:
        return EMPTY
    runs = coco.merge(coco.frPyObjects(polygons, height, width))
    return decode(runs["counts"], height, width)


def _polygon(points: Any, height: int, width: int) -> list[float]:
    values = [float(value) for value in points]
    if len(values) % 2 or not 6 <= len(values) <= 2 * MAX_POINTS:
        raise ValueError(f"a polygon needs 3 to {MAX_POINTS} points, got {len(values)} numbers")
    limits = (2 * width, 2 * height)
    if not all(math.isfinite(v) and abs(v) <= limits[i % 2] for i, v in enumerate(values)):
        raise ValueError(f"a polygon leaves the image of {width}x{height} by far")
    return values


class MappingError(FileError):
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
    lines = read_lines(random, MappingError)
    try:
        order = [int(value) for line in lines for value in line.split(",") if value]
    except ValueError as error:
        raise MappingError(
            f"{random} must hold numbers with commas between them: {error}", "numbers"
        ) from None
    if sorted(order) != list(range(1, len(frames) + 1)):
        raise MappingError(
            f"{random} must name each of the {len(frames)} lines of {table.name} once, got "
            f"{len(order)} numbers from {min(order, default=0)} to {max(order, default=0)}",
            "order",
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
        text = f"{path}: line {number} must read 'date drive frame', got {line[:60]!r}"
        raise MappingError(text, "line")
    return RawFrame(parts[0], parts[1], int(parts[2]))
