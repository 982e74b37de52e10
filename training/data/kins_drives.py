"""Drives of KINS-Video-Car in either layout of the set."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from training.data.kins import read_kins
from training.data.kins_video_car import (
    TruthSource,
    built_frames,
    drive_folder,
    open_released,
    released_frames,
    tracked_drives,
)
from training.data.kitti_mots import open_raw
from training.data.kitti_object import images_of_drives
from training.data.provenance import MissingPartError, require
from training.data.settings import KinsSource
from training.data.store import ClipFrame


class Drive(NamedTuple):
    """One drive.

    Attributes:
        name: as KITTI raw has it.
        numbers: number of each frame.
        frames: picklable call that yields the frames, whole masks in those that KINS annotates; it
            takes the places of the first frame and of that after the last, too.
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
    """Return the drives of a set that have tracked masks.

    Args:
        source: either layout of the set.
        truth: source of the whole masks; None for none.

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
        raise ValueError("give either --released, or --raw with --masks")
    return drives


def annotated_drives(source: KinsSource) -> list[Drive]:
    """Return the drives in which KINS annotates some frame; errors as drives_of and truth_source.

    Raises:
        ValueError: no frame is annotated.
        KinsError: the annotations are damaged.
    """
    truth = truth_source(source.kins, source.mapping)
    drives = drives_of(source, truth)
    images, known = images_of_drives(truth.mapping), read_kins(truth.annotations).images
    kept = [d for d in drives if any(images.get(d.name, {}).get(n) in known for n in d.numbers)]
    if not kept:
        raise ValueError(
            f"KINS annotates no frame of {', '.join(d.name for d in drives) or 'the set'}: "
            "give drives that its training images were taken from"
        )
    return kept
