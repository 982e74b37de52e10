"""Finds the drives of KINS-Video-Car that have truth, in either layout of the set."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
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
from training.data.store import ClipFrame


class Drive(NamedTuple):
    """One drive.

    Attributes:
        name: as KITTI raw has it.
        numbers: number of each frame.
        frames: picklable call that yields the frames, whole masks in those that KINS annotates.
    """

    name: str
    numbers: tuple[int, ...]
    frames: Callable[[], Iterator[ClipFrame]]


def truth_source(kins: Path | None, mapping: Path | None) -> TruthSource:
    """Source of the whole masks, its parts checked before hours of work.

    Raises:
        MissingPartError: one of them is not given or not there.
    """
    if kins is None or mapping is None:
        name = "kins" if kins is None else "kitti_object_mapping"
        raise MissingPartError(name, Path("--kins" if kins is None else "--mapping"))
    require("kins", kins)
    require("kitti_object_mapping", mapping / "train_mapping.txt")
    return TruthSource(kins, mapping)


def takes_released(raw: Path | None, masks: Path | None, released: Path | None) -> bool:
    """Whether the released layout is asked for, not the built one.

    Raises:
        ValueError: neither is given as a whole, or both are.
    """
    if released is not None and raw is None and masks is None:
        return True
    if released is None and raw is not None and masks is not None:
        return False
    raise ValueError("give either --released, or --raw with --masks")


def annotated_drives(
    raw: Path | None, masks: Path | None, released: Path | None, split: str, truth: TruthSource
) -> list[Drive]:
    """Drives of a set with tracked masks, those in which KINS annotates some frame.

    Args:
        raw: folder of KITTI raw.
        masks: folder of tracked masks, <drive>.txt.
        released: folder of the released set, in place of both.
        split: train, val or test of the released set.
        truth: source of the whole masks.

    Raises:
        ValueError: the layout is not clear, or no frame is annotated.
        MissingPartError: a part of the set is not there.
        KittiError, KinsError, KinsVideoCarError: a file is damaged.
    """
    drives = []
    if takes_released(raw, masks, released):
        cars = open_released(released, split)
        for name in cars.videos:
            numbers = tuple(int(path.stem) for path in cars.pictures(name))
            frames = functools.partial(released_frames, released, split, name, truth)
            drives.append(Drive(name, numbers, frames))
    else:
        for name, file in tracked_drives(raw, masks).items():
            numbers = tuple(open_raw(drive_folder(raw, name)).frames)
            frames = functools.partial(built_frames, raw, name, file, truth)
            drives.append(Drive(name, numbers, frames))
    images, known = images_of_drives(truth.mapping), read_kins(truth.annotations).images
    kept = [d for d in drives if any(images.get(d.name, {}).get(n) in known for n in d.numbers)]
    if not kept:
        raise ValueError(
            f"KINS annotates no frame of {', '.join(d.name for d in drives) or 'the set'}: "
            "give drives that its training images were taken from"
        )
    return kept
