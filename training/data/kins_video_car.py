"""KINS, its mapping to KITTI raw, and cars tracked in these drives, in both layouts of the set."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from savos_model.files import FileError
from savos_model.masks import EMPTY, BoxedMask, look_at, match
from savos_model.settings import SettingError
from savos_model.types import Box, Instance
from training.data.flow_files import with_flo
from training.data.kitti_mots import clip_frames, open_raw
from training.data.outside import is_file_name, read_json, read_lines, read_picture
from training.data.provenance import MissingPartError, require
from training.data.rle import RleError, decode, decode_record
from training.data.safe_pickle import load
from training.data.settings import KinsSource
from training.data.store import ClipFrame, remainder

MAX_BYTES = 2 << 30  # instances_train.json has some hundred MB
MAX_SIDE = 4096
MAX_POINTS = 100_000
# Names of the fields in instances_train.json, then in update_train_2020.json.
FULL_FIELDS = ("segmentation", "a_segm")
VISIBLE_FIELDS = ("inmodal_seg", "i_segm")


class KinsError(FileError):
    """Files that cannot be used; the text names the file, what of it, and the rule."""


class KinsAnnotations:
    """The annotations of one file, by number of the KITTI object image; masks decode when asked."""

    def __init__(self, path: str | Path) -> None:
        """Read a file; raises MissingPartError without it, KinsError for another layout."""
        self.path = require("kins", Path(path))
        record = read_json(self.path, KinsError, MAX_BYTES)
        try:
            images = {entry["id"]: entry for entry in record["images"]}
            found: dict[Any, list[dict]] = defaultdict(list)
            for note in record["annotations"]:
                found[note["image_id"]].append(note)
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

    def objects(self, image: int) -> list[tuple[Instance, BoxedMask]]:
        """Return visible and whole mask of the objects of an image that show some pixel.

        Ids are their places; classes are categories as KINS numbers them (4 car). Raises KinsError
        for a damaged mask.
        """
        shape, notes = self._notes[image]
        made: list[tuple[Instance, BoxedMask]] = []
        for note in notes:
            try:
                full = _mask(_field(note, FULL_FIELDS), *shape)
                visible = _mask(_field(note, VISIBLE_FIELDS), *shape)
                category = str(int(note["category_id"]))
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise KinsError(
                    f"{self.path}: annotation {note.get('id')} of image {image:06d}: {error}",
                    "annotation",
                ) from None
            if visible.mask.size:
                made.append((Instance(str(len(made)), *visible, category), full))
        return made


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


def read_mapping(folder: Path) -> dict[str, dict[int, int]]:
    """Return the image number of each frame of KITTI raw in the object set, by drive and frame.

    Image i, from 0, is the frame in line train_rand[i] (counted from 1) of train_mapping.txt.

    Raises:
        MissingPartError: a table is not there.
        KinsError: a table is of another form, or the two do not belong together.
    """
    table = require("kitti_object_mapping", folder / "train_mapping.txt")
    random = require("kitti_object_mapping", folder / "train_rand.txt")
    frames = [line.split() for line in read_lines(table, KinsError)]
    for number, parts in enumerate(frames, 1):
        good = len(parts) == 3 and parts[2].isdigit() and parts[1].startswith(f"{parts[0]}_drive_")
        if not good:
            text = f"{table}: line {number} must read 'date drive frame', got {parts!r:.60}"
            raise KinsError(text, "line")
    lines = read_lines(random, KinsError)
    try:
        order = [int(value) for line in lines for value in line.split(",") if value]
    except ValueError as error:
        raise KinsError(
            f"{random} must hold numbers with commas between them: {error}", "numbers"
        ) from None
    if sorted(order) != list(range(1, len(frames) + 1)):
        raise KinsError(
            f"{random} must name each of the {len(frames)} lines of {table.name} once, got "
            f"{len(order)} numbers from {min(order, default=0)} to {max(order, default=0)}",
            "order",
        )
    drives: dict[str, dict[int, int]] = defaultdict(dict)
    for image, line in enumerate(order):
        _, drive, frame = frames[line - 1]
        drives[drive][int(frame)] = image
    return dict(drives)


mapping_of = functools.lru_cache(maxsize=1)(read_mapping)


SPLITS = ("train", "val", "test")
CAR = "1"  # class of MOTS files
MAX_PICKLE_BYTES = 2 << 30


def amodal_truth(
    instances: list[Instance], kins: KinsAnnotations, image: int, shape: tuple[int, int]
) -> dict[str, BoxedMask]:
    """Return the whole masks of the tracked objects that KINS annotates in one image, by track id.

    A track and an annotation are paired when their visible masks have the best IoU, at least 0.5.

    Raises:
        KinsError: a mask is damaged, or the image has another size.
    """
    if kins.shape(image) != shape:
        raise KinsError(
            f"{kins.path}: image {image:06d} is {kins.shape(image)[::-1]}, its raw frame "
            f"{shape[::-1]}: the mapping belongs to other images",
            "size",
        )
    objects = kins.objects(image)
    pairs = match(instances, [item for item, _ in objects])
    return {track: objects[int(name)][1] for name, track in pairs.items()}


@dataclass(frozen=True)
class TruthSource:
    """KINS' whole masks for frames of KITTI raw drives: its file, and the folder of the mapping."""

    annotations: Path
    mapping: Path

    def of(
        self, drive: str, frame: int, instances: list[Instance], shape: tuple[int, int]
    ) -> dict[str, BoxedMask] | None:
        """Return the whole masks by track id, None in a frame without annotation."""
        image = mapping_of(self.mapping).get(drive, {}).get(frame)
        kins = read_kins(self.annotations)
        if image is None or image not in kins.images:
            return None
        return amodal_truth(instances, kins, image, shape)


class ReleasedCars:
    """One split of the released data: car_data, Kitti/raw_video, Kitti/Kitti_flow."""

    def __init__(self, root: str | Path, split: str) -> None:
        """Read the masks of a split.

        Raises:
            MissingPartError: they are not there.
            KinsError, UnsafePickleError: unknown split, or another layout.
        """
        if split not in SPLITS:
            text = f"split must be one of {', '.join(SPLITS)}, got {split!r}"
            raise KinsError(text, "choices")
        self.root = Path(root)
        self.path = require("kins_video_car", self.root / "car_data" / f"{split}_data.pkl")
        self._tracks = load(self.path, MAX_PICKLE_BYTES)
        kinds = self._tracks.values() if isinstance(self._tracks, dict) else [None]
        good = all(
            isinstance(tracks, dict) and all(isinstance(times, dict) for times in tracks.values())
            for tracks in kinds
        )
        if not good:
            raise KinsError(f"{self.path} must hold video: object: frame: masks", "layout")
        bad = [n for n in self._tracks if not isinstance(n, str) or not is_file_name(n)]
        if bad:
            raise KinsError(f"{self.path}: {bad[0]!r:.60} is no name of a video", "name")
        self.videos = sorted(self._tracks)

    def pictures(self, video: str) -> list[Path]:
        """Return the images of a drive; the masks' frame t is the t-th of them."""
        folder = require("kins_video_car", self.root / "Kitti" / "raw_video" / dated(video))
        numbered = (path for path in folder.glob("*.png") if path.stem.isdigit())
        return sorted(numbered, key=lambda path: int(path.stem))

    def frames(
        self, video: str, start: int = 0, stop: int | None = None, truth: TruthSource | None = None
    ) -> Iterator[ClipFrame]:
        """Yield frames start .. stop - 1 of a drive, with the released flow where it is there.

        Raises:
            MissingPartError: the images of the drive are not there.
            KinsError: an image or a mask is damaged or of another size.
        """
        made = self._plain(video, start, stop, truth)
        kinds = ("Kitti_flow", "Kitti_reverse_flow")
        folders = [self.root / "Kitti" / kind / dated(video) for kind in kinds]
        if all(folder.is_dir() for folder in folders):
            made = with_flo(made, *folders, first=start)
        return made

    def _plain(
        self, video: str, start: int, stop: int | None, truth: TruthSource | None
    ) -> Iterator[ClipFrame]:
        tracks = self._tracks[video]
        for index, path in enumerate(self.pictures(video)[start:stop], start):
            image = read_picture(path, KinsError)
            shape = image.shape[:2]
            whole = Box(0, 0, shape[1], shape[0])
            here = {str(name): times[index] for name, times in tracks.items() if index in times}
            masks = {i: self._decode(e, "VM", shape, (video, i, index)) for i, e in here.items()}
            instances = [Instance(i, *mask, CAR) for i, mask in masks.items() if mask.mask.size]
            # The loss masks take dropped short tracks as occluders, too.
            others = [
                look_at(self._decode(e, "loss_mask", shape, (video, i, index)), whole)
                for i, e in here.items()
            ]
            hiding = remainder((mask.view(np.uint8) for mask in others), instances, "")
            known = truth.of(video, int(path.stem), instances, shape) if truth else None
            yield ClipFrame(image, instances, known, hiding)

    def _decode(
        self, entry: Any, kind: str, shape: tuple[int, int], where: tuple[str, str, int]
    ) -> BoxedMask:
        try:
            return decode_record(entry[kind], shape)
        except (RleError, KeyError, TypeError, AttributeError) as error:
            video, name, index = where
            raise KinsError(
                f"{self.path}: {kind} of {video}, object {name}, frame {index}: {error!r}",
                "mask",
            ) from None


@functools.lru_cache(maxsize=1)
def open_released(root: Path, split: str) -> ReleasedCars:
    """Return one split of the released data, read once by each process; errors as ReleasedCars."""
    return ReleasedCars(root, split)


def released_frames(
    root: Path,
    split: str,
    drive: str,
    truth: TruthSource | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[ClipFrame]:
    """Yield frames start .. stop - 1 of a drive of the released data."""
    return open_released(root, split).frames(drive, start, stop, truth)


def dated(drive: str) -> Path:
    """Return the path of a drive below the folder of its date, <date>/<drive>."""
    return Path("_".join(drive.split("_")[:3])) / drive


def drive_folder(raw: str | Path, drive: str) -> Path:
    """Return the folder of a drive in KITTI raw; raises MissingPartError where it is not there."""
    folder = Path(raw) / dated(drive)
    require("kitti_raw", folder / "image_02" / "data")
    return folder


def tracked_drives(raw: str | Path, masks: str | Path) -> dict[str, Path]:
    """Return the mask file of each drive that has one and whose images are there, by drive.

    Raises MissingPartError: no mask file, or the images of one of them are missing.
    """
    files = sorted(Path(masks).glob("*_drive_*.txt"))
    if not files:
        raise MissingPartError("tracked_masks", Path(masks) / "<drive>.txt")
    for file in files:
        drive_folder(raw, file.stem)
    return {file.stem: file for file in files}


def built_frames(
    raw: str | Path,
    drive: str,
    masks: str | Path,
    truth: TruthSource | None = None,
    start: int = 0,
    stop: int | None = None,
    classes: Collection[str] = (CAR,),
) -> Iterator[ClipFrame]:
    """Yield frames start .. stop - 1, by place, of a drive of KITTI raw with tracked masks.

    `masks` is MOTS text of a tracker whose frame numbers are those of the drive; objects of other
    `classes` only hide. Whole masks come from `truth` where it knows them.

    Raises KittiError, KinsError: a file is damaged.
    """
    clip = open_raw(drive_folder(raw, drive), "txt", masks)
    known = None if truth is None else functools.partial(truth.of, drive)
    return clip_frames(clip, start, stop, classes, known)


class Drive(NamedTuple):
    """One drive as KITTI raw names it, and the number of each frame.

    `frames` is a picklable call that yields the frames, whole masks in those that KINS annotates;
    it takes the places of the first frame and of that after the last, too.
    """

    name: str
    numbers: tuple[int, ...]
    frames: functools.partial[Iterator[ClipFrame]]


def truth_source(kins: Path | None, mapping: Path | None) -> TruthSource:
    """Return the source of the whole masks, its parts checked before hours of work.

    Raises:
        MissingPartError: one of them is not given or not there.
    """
    if kins is None or mapping is None:
        name = "kins" if kins is None else "kitti_object_mapping"
        raise MissingPartError(name, Path("--kins" if kins is None else "--mapping"))
    require("kins", kins)
    require("kitti_object_mapping", mapping / "train_mapping.txt")
    return TruthSource(kins, mapping)


def drives_of(source: KinsSource, truth: TruthSource | None) -> list[Drive]:
    """Return the drives of either layout of a set that have tracked masks; `truth` may be None.

    Raises:
        ValueError: neither layout is given as a whole, or both are.
        MissingPartError: a part of the set is not there.
        KittiError, KinsError: a file is damaged.
    """
    raw, masks, released = source.raw, source.masks, source.released
    drives = []
    if released is not None and raw is None and masks is None:
        cars = open_released(released, source.split)
        for name in cars.videos:
            numbers = tuple(int(path.stem) for path in cars.pictures(name))
            frames = functools.partial(released_frames, released, source.split, name, truth)
            drives.append(Drive(name, numbers, frames))
    elif released is None and raw is not None and masks is not None:
        for name, file in tracked_drives(raw, masks).items():
            numbers = tuple(open_raw(drive_folder(raw, name)).frames)
            frames = functools.partial(built_frames, raw, name, file, truth)
            drives.append(Drive(name, numbers, frames))
    else:
        raise SettingError("--released must be given, or --raw with --masks: give either of both")
    return drives


def annotated_drives(source: KinsSource) -> list[Drive]:
    """Return the drives in which KINS annotates some frame; errors as drives_of and truth_source.

    Raises ValueError where no frame is annotated, KinsError where the annotations are damaged.
    """
    truth = truth_source(source.kins, source.mapping)
    drives = drives_of(source, truth)
    images, known = mapping_of(truth.mapping), read_kins(truth.annotations).images
    kept = [d for d in drives if any(images.get(d.name, {}).get(n) in known for n in d.numbers)]
    if not kept:
        raise SettingError(
            "kins must annotate some frame of the set, none of "
            f"{', '.join(d.name for d in drives) or 'it'} is: give drives of its training images"
        )
    return kept
