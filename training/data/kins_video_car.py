"""Cars tracked in KITTI raw, with KINS' amodal masks on some frames, in both layouts of the set."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from savos_model.files import FileError
from savos_model.masks import BoxedMask, look_at, match
from savos_model.settings import SettingError
from savos_model.types import Box, Instance
from training.data.flow_files import with_flo
from training.data.kins import KinsAnnotations, KinsError, images_of_drives, read_kins
from training.data.kitti_mots import clip_frames, open_raw
from training.data.outside import is_file_name, read_picture
from training.data.provenance import MissingPartError, require
from training.data.rle import RleError, decode_record
from training.data.safe_pickle import load
from training.data.settings import KinsSource
from training.data.store import ClipFrame, remainder

SPLITS = ("train", "val", "test")
CAR = "1"  # class of MOTS files
MAX_PICKLE_BYTES = 2 << 30


class KinsVideoCarError(FileError):
    """Files that cannot be used; the text names file, video or frame, and the rule."""


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
    seen, full = kins.truth(image)
    return {track: full[name] for name, track in match(instances, seen).items()}


@dataclass(frozen=True)
class TruthSource:
    """KINS' whole masks for frames of KITTI raw drives: its file, and the folder of the mapping."""

    annotations: Path
    mapping: Path

    def of(
        self, drive: str, frame: int, instances: list[Instance], shape: tuple[int, int]
    ) -> dict[str, BoxedMask] | None:
        """Return the whole masks by track id, None in a frame without annotation."""
        image = _mapping(self.mapping).get(drive, {}).get(frame)
        kins = read_kins(self.annotations)
        if image is None or image not in kins.images:
            return None
        return amodal_truth(instances, kins, image, shape)


@functools.lru_cache(maxsize=1)
def _mapping(folder: Path) -> dict[str, dict[int, int]]:
    return images_of_drives(folder)


class ReleasedCars:
    """One split of the released data: car_data, Kitti/raw_video, Kitti/Kitti_flow."""

    def __init__(self, root: str | Path, split: str) -> None:
        """Read the masks of a split.

        Raises:
            MissingPartError: they are not there.
            KinsVideoCarError, UnsafePickleError: unknown split, or another layout.
        """
        if split not in SPLITS:
            text = f"split must be one of {', '.join(SPLITS)}, got {split!r}"
            raise KinsVideoCarError(text, "choices")
        self.root = Path(root)
        self.path = require("kins_video_car", self.root / "car_data" / f"{split}_data.pkl")
        self._tracks = load(self.path, MAX_PICKLE_BYTES)
        kinds = self._tracks.values() if isinstance(self._tracks, dict) else [None]
        good = all(
            isinstance(tracks, dict) and all(isinstance(times, dict) for times in tracks.values())
            for tracks in kinds
        )
        if not good:
            raise KinsVideoCarError(f"{self.path} must hold video: object: frame: masks", "layout")
        bad = [n for n in self._tracks if not isinstance(n, str) or not is_file_name(n)]
        if bad:
            raise KinsVideoCarError(f"{self.path}: {bad[0]!r:.60} is no name of a video", "name")
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
            KinsVideoCarError: an image or a mask is damaged or of another size.
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
            image = read_picture(path, KinsVideoCarError)
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
            raise KinsVideoCarError(
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
        KittiError, KinsVideoCarError: a file is damaged.
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
    images, known = images_of_drives(truth.mapping), read_kins(truth.annotations).images
    kept = [d for d in drives if any(images.get(d.name, {}).get(n) in known for n in d.numbers)]
    if not kept:
        raise SettingError(
            "kins must annotate some frame of the set, none of "
            f"{', '.join(d.name for d in drives) or 'it'} is: give drives of its training images"
        )
    return kept
