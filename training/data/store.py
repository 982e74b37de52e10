"""The one sample type of all data sets: object-frames of tracked masks, mapped, without pickles."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from savos_model.files import FileError
from savos_model.geometry import crop, enlarge, mask_box, move, window
from savos_model.instances import check_instances, occupancy
from savos_model.masks import from_image, slices
from savos_model.settings import SettingError
from savos_model.stream.flow import DisFlow
from savos_model.types import Box, Instance

CONTEXT = 2.5  # stored box over visible box: room to crop again after an occluder was pasted
FIELDS = {
    "rgb": (np.uint8, "[M, 3, H, W] colours of the context box"),
    "visible": (np.uint8, "[M, H, W] visible mask, area mean 0..255"),
    "others": (np.uint8, "[M, H, W] visible masks of all other objects, 0..255"),
    "flow": (np.float16, "[M, 2, H/2, W/2] motion (x, y) to the next frame [px]"),
    "flow_back": (np.float16, "[M, 2, H/2, W/2] motion (x, y) to the previous frame [px]"),
    "boxes": (np.float32, "[M, 4] context box x0, y0, x1, y1 [px]"),
    "linked": (np.uint8, "[M] 1 when the next row is the same track in the next frame"),
    "truth": (np.uint8, "[M, H, W] amodal truth, 0..255; for scoring only"),
    "known": (np.uint8, "[M] 1 where the amodal truth is known"),
    "scenery": (np.uint8, "[M, H, W] unlabelled things in front of the object, 0..255: W = 0"),
}
UNFINISHED = ".part"  # ending of the folder that a clip is written in
OPTIONAL = ("truth", "known", "scenery")  # left out of a clip that knows nothing of it


@dataclass(frozen=True)
class ClipFrame:
    """One frame of a raw data set.

    Attributes:
        image: uint8 [H, W, 3], BGR.
        instances: visible masks of the tracked objects.
        full: amodal truth by id where it is known.
        untracked: visible masks of what else may hide objects; counted as others, never stored.
        flow, flow_back: float32 [H, W, 2], motion (x, y) to the next and to the previous frame
            [px], NaN where unknown; None lets DIS compute it.
        scenery: by id, what unlabelled things cover of an object; unlike `untracked`, the network
            is not shown it, and the loss leaves it out.
    """

    image: np.ndarray
    instances: list[Instance]
    full: dict[str, tuple[Box, np.ndarray]] | None = None
    untracked: Sequence[Instance] = ()
    flow: np.ndarray | None = None
    flow_back: np.ndarray | None = None
    scenery: dict[str, tuple[Box, np.ndarray]] | None = None


class StoreError(FileError):
    """A stored clip that cannot be used; the text names it, what was found and the remedy."""


class Seen(NamedTuple):
    """A tracked object in a frame: the frame, its grey image and the visible mask."""

    frame: ClipFrame
    grey: np.ndarray
    item: Instance


@dataclass(frozen=True)
class Clip:
    """Rows of one clip; arrays are read-only maps where stored (FIELDS has shapes and units)."""

    name: str
    arrays: dict[str, np.ndarray]

    @property
    def patch_rows(self) -> int:
        """Return the rows of the patch whose detail the clip has."""
        return self.arrays["rgb"].shape[-2] // 2

    def windows(self, length: int) -> np.ndarray:
        """Return the first rows of all runs of `length` linked rows, int64 [K]."""
        linked = np.asarray(self.arrays["linked"], np.int64)
        if len(linked) < length:
            return np.empty(0, np.int64)
        steps = np.concatenate(([0], np.cumsum(linked)))
        starts = np.arange(len(linked) - length + 1)
        return starts[steps[starts + length - 1] - steps[starts] == length - 1]


def open_clip(folder: Path) -> Clip:
    """Map a stored clip.

    Raises FileNotFoundError, ValueError: not a finished clip, or arrays of different length.
    """
    arrays = {}
    for name in FIELDS:
        path = folder / f"{name}.npy"
        if path.exists() or name not in OPTIONAL:
            arrays[name] = _mapped(path)
    rows = {len(a) if a.ndim else -1 for a in arrays.values()}
    if len(rows) != 1:
        raise StoreError(
            f"{folder}: arrays have different lengths {sorted(rows)}: prepare this clip again",
            "rows",
        )
    return Clip(folder.name, arrays)


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")  # unlike np.load, for arrays alone
    except FileNotFoundError:
        raise
    except Exception as error:  # its parser of headers raises anything
        raise StoreError(f"{path} is no array ({error}): prepare it again", "array") from None


def open_store(folder: Path) -> list[Clip]:
    """Return all finished clips of a data set, by name."""
    return [open_clip(path) for path in clip_folders(folder)]


def clip_folders(folder: Path) -> list[Path]:
    """Return the folders of all finished clips of a data set, by name."""
    folders = [path.parent for path in sorted(folder.glob("*/meta.json"))]
    return [path for path in folders if path.suffix != UNFINISHED]


def store_clip(
    frames: Iterable[ClipFrame],
    folder: Path,
    patch: tuple[int, int],
    min_px: int = 64,
    made: dict[str, Any] | None = None,
) -> int:
    """Turn the frames of one clip into rows sorted by track, then frame; return their number.

    A clip without rows is written empty, so that it is not prepared again.

    Args:
        frames: the frames in order.
        folder: target; a temporary folder is renamed to it, so a finished folder is complete.
        patch: rows and columns of the network's patch; the context is stored at twice that.
        min_px: smaller visible masks are left out.
        made: what the clip was made from and how, as JSON has it; it is put into meta.json.
    """
    rows = collect_rows(frames, patch, min_px)
    write_rows(rows, folder, made)
    return len(rows)


def collect_rows(
    frames: Iterable[ClipFrame], patch: tuple[int, int], min_px: int = 64
) -> list[dict[str, np.ndarray]]:
    """Return the rows of a clip as store_clip writes them: one dictionary of FIELDS each.

    Raises InstanceError: a mask does not fit its image, or an id comes twice in a frame;
    SettingError: given flow is not of the image's size.
    """
    rows: dict[str, list[dict[str, np.ndarray]]] = {}
    previous: dict[str, Seen] = {}
    flow = DisFlow("dis_fast")
    for frame in frames:
        grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
        check_instances(frame.instances, *grey.shape)
        kept = [item for item in frame.instances if int(item.mask.sum()) >= min_px]
        count = occupancy([*frame.instances, *frame.untracked], *grey.shape)
        seen = {item.id: Seen(frame, grey, item) for item in kept}
        for item in kept:
            row = context_row(frame, item, count, patch)
            track = rows.setdefault(item.id, [])
            if item.id in previous:
                link_rows(track[-1], row, flow, previous[item.id], seen[item.id], patch)
            track.append(row)
        previous = seen
    return [row for track in rows.values() for row in track]


def context_row(
    frame: ClipFrame, item: Instance, count: np.ndarray, patch: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return all that is stored of one object in one frame, except flow."""
    context = (2 * patch[0], 2 * patch[1])
    tight = mask_box(item.mask, (int(item.box.x0), int(item.box.y0)))
    assert tight is not None  # masks below min_px were left out
    box = enlarge(tight, CONTEXT)
    own = place(item.mask, item.box, box)
    whole = crop(frame.image, box, context)
    others = np.clip(window(count, box).astype(np.int16) - own, 0, 1).astype(np.uint8)
    row = {
        "rgb": np.ascontiguousarray(whole[..., ::-1].transpose(2, 0, 1)),
        "visible": crop(own * 255, local(box), context),
        "others": crop(others * 255, local(box), context),
        "flow": np.zeros((2, *patch), np.float16),
        "flow_back": np.zeros((2, *patch), np.float16),
        "boxes": np.array(box, np.float32),
        "linked": np.uint8(0),
    }
    for name, masks in (("truth", frame.full or {}), ("scenery", frame.scenery or {})):
        at, mask = masks.get(item.id, (item.box, np.zeros_like(item.mask)))
        set_there = (place(mask, at, box) != 0).astype(np.uint8)
        row[name] = crop(set_there * 255, local(box), context)
    row["known"] = np.uint8(item.id in (frame.full or {}))
    return row


def local(box: Box) -> Box:
    """Return the box in its own coordinates."""
    return Box(0, 0, box.width, box.height)


def place(mask: np.ndarray, mask_at: Box, box: Box) -> np.ndarray:
    """Return a mask crop seen in another box, uint8 [box.height, box.width]."""
    return window(mask, move(box, -mask_at.x0, -mask_at.y0))


def link_rows(
    row: dict[str, np.ndarray],
    following: dict[str, np.ndarray],
    flow: DisFlow,
    before: Seen,
    after: Seen,
    patch: tuple[int, int],
) -> None:
    """Link two rows of a track by the flow both ways, that of the frames or else computed."""
    a, b = before.item.box, after.item.box
    shift = (b.x0 + b.x1 - a.x0 - a.x1) / 2, (b.y0 + b.y1 - a.y0 - a.y1) / 2
    back = (-shift[0], -shift[1])
    boxes = Box(*row["boxes"]), Box(*following["boxes"])
    given = before.frame.flow, after.frame.flow_back
    row["flow"] = flow_patch(flow, before, after, boxes[0], shift, given[0], patch)
    following["flow_back"] = flow_patch(flow, after, before, boxes[1], back, given[1], patch)
    row["linked"] = np.uint8(1)


def flow_patch(
    flow: DisFlow,
    here: Seen,
    there: Seen,
    box: Box,
    shift: tuple[float, float],
    given: np.ndarray | None,
    patch: tuple[int, int],
) -> np.ndarray:
    """Return the flow of a box of one frame into another, float16 [2, h, w].

    It comes out of `given` [H, W, 2] where there is any; where that is unknown, it is `shift`.
    """
    if given is None:
        (region,) = flow.regions(here.grey, there.grey, [box], [shift])
        return region.patch(box, patch).astype(np.float16)
    if given.shape != (*here.grey.shape, 2):
        raise SettingError(
            f"flow must be of the image's size {(*here.grey.shape, 2)}, got {given.shape}: pad it "
            "first"
        )
    cut = window(given, box)
    filled = np.where(np.isnan(cut), np.array(shift, np.float32), cut)
    return crop(filled, local(box), patch).transpose(2, 0, 1).astype(np.float16)


def stack_rows(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of a clip out of its rows; OPTIONAL only with something in them."""
    known = any(row["known"] for row in rows)
    given = {"truth": known, "known": known, "scenery": any(row["scenery"].any() for row in rows)}
    return {
        name: (np.stack([row[name] for row in rows]) if rows else np.empty(0)).astype(
            dtype, copy=False
        )
        for name, (dtype, _) in FIELDS.items()
        if given.get(name, True)
    }


def write_rows(
    rows: list[dict[str, np.ndarray]], folder: Path, made: dict[str, Any] | None
) -> None:
    """Write all rows of a clip and what they were made from to a temporary folder; rename it."""
    aside = folder.with_name(folder.name + UNFINISHED)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, values in stack_rows(rows).items():
        np.save(aside / f"{name}.npy", values, allow_pickle=False)
    meta = {"rows": len(rows), "context": CONTEXT, "made": made}
    (aside / "meta.json").write_text(json.dumps(meta), "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)


Masks = dict[str, tuple[Box, np.ndarray]]


def scenery_over(full: Masks, shown: Iterable[Instance], shape: tuple[int, int]) -> Masks:
    """Return the part of each whole mask that no visible mask in the image covers.

    Scenery has no mask, so the loss would take what it hides of an object for background. Where a
    whole mask is covered neither by its own visible mask nor by another one, something unlabelled
    must be in front. This part gets the loss weight 0: the whole mask is no target there, it
    only removes a wrong negative. Masks are uint8 0/1 crops of integer boxes inside the image.
    """
    free = occupancy(list(shown), *shape) == 0
    covered = {name: (box, mask * free[slices(box)]) for name, (box, mask) in full.items()}
    return {name: (box, mask) for name, (box, mask) in covered.items() if mask.any()}


def remainder(
    masks: Iterable[np.ndarray], instances: Iterable[Instance], name: str
) -> list[Instance]:
    """Return the union of uint8 0/1 masks [H, W] without instances, as one instance or none."""
    left = functools.reduce(np.bitwise_or, masks, np.zeros((), np.uint8))
    if not left.any():
        return []
    for item in instances:
        left[slices(item.box)] &= 1 - item.mask
    boxed = from_image(left)
    return [Instance(name, *boxed)] if boxed.mask.size else []


CHUNK = 200  # frames of a long video stored as one clip: all its rows are held in memory
NAME = re.compile(r"(.+)_(\d{6})")


def part_name(video: str, start: int) -> str:
    """Return the name of the part of a video that begins with frame `start`."""
    return f"{video}_{start:06d}"


def continues(before: str, name: str) -> bool:
    """Return whether a clip is the next part of the video that the clip before it is of.

    What else bears a number behind its name, such as blocks of Chewing Gum videos, counts in other
    steps than CHUNK.
    """
    first, second = NAME.fullmatch(before), NAME.fullmatch(name)
    if not first or not second or first[1] != second[1]:
        return False
    return int(second[2]) == int(first[2]) + CHUNK


def video_numbers(names: Sequence[str]) -> list[int]:
    """Return the number of each clip's video, from 0 by name; the parts of a video share it."""
    numbers: list[int] = []
    for before, name in zip(["", *names], names, strict=False):
        number = numbers[-1] + 1 if numbers else 0
        numbers.append(number - continues(before, name))
    return numbers
