"""The one sample type of all data sets: object-frames of tracked masks, mapped, without pickles."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from savos_model.geometry import crop, enlarge, mask_box, move, window
from savos_model.instances import occupancy
from savos_model.optical_flow import DisFlow
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
}


@dataclass(frozen=True)
class ClipFrame:
    """One frame of a raw data set: BGR image, visible masks, full masks by id where known."""

    image: np.ndarray
    instances: list[Instance]
    full: dict[str, tuple[Box, np.ndarray]] | None = None


@dataclass(frozen=True)
class Clip:
    """Rows of one stored clip; arrays are read-only memory maps (FIELDS has shapes and units)."""

    name: str
    arrays: dict[str, np.ndarray]

    def windows(self, length: int) -> np.ndarray:
        """First rows of all runs of `length` linked rows, int64 [K]."""
        linked = np.asarray(self.arrays["linked"], np.int64)
        if len(linked) < length:
            return np.empty(0, np.int64)
        steps = np.concatenate(([0], np.cumsum(linked)))
        starts = np.arange(len(linked) - length + 1)
        return starts[steps[starts + length - 1] - steps[starts] == length - 1]


def open_clip(folder: Path) -> Clip:
    """Map a stored clip.

    Raises:
        FileNotFoundError, ValueError: not a finished clip, or arrays of different length.
    """
    arrays = {}
    for name in FIELDS:
        path = folder / f"{name}.npy"
        if path.exists() or name != "truth":
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    rows = {len(a) for a in arrays.values()}
    if len(rows) != 1:
        raise ValueError(
            f"{folder}: arrays have different lengths {sorted(rows)}: prepare this clip again"
        )
    return Clip(folder.name, arrays)


def open_store(folder: Path) -> list[Clip]:
    """All finished clips of a data set, by name."""
    return [open_clip(p.parent) for p in sorted(folder.glob("*/meta.json"))]


def store_clip(
    frames: Iterable[ClipFrame], folder: Path, patch: tuple[int, int], min_px: int = 64
) -> int:
    """Turn one clip into rows sorted by track, then frame.

    Args:
        frames: the frames in order.
        folder: target; written aside and renamed, so that a finished folder is whole.
        patch: rows and columns of the network's patch; the context is stored at twice that.
        min_px: smaller visible masks are left out.

    Returns:
        Number of rows written (0 writes an empty clip, so that it is not prepared again).
    """
    rows: dict[str, list[dict[str, np.ndarray]]] = {}
    last_seen: dict[str, int] = {}
    previous: tuple[np.ndarray, list[Instance]] | None = None
    flow = DisFlow("dis_fast")
    for index, frame in enumerate(frames):
        grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
        kept = [item for item in frame.instances if int(item.mask.sum()) >= min_px]
        count = occupancy(frame.instances, *grey.shape)
        for item in kept:
            row = context_row(frame, item, count, patch)
            track = rows.setdefault(item.id, [])
            if track and last_seen[item.id] == index - 1 and previous is not None:
                before = next(p for p in previous[1] if p.id == item.id)
                link_rows(track[-1], row, flow, (previous[0], before), (grey, item), patch)
            track.append(row)
            last_seen[item.id] = index
        previous = grey, kept
    flat = [row for track in rows.values() for row in track]
    write_rows(flat, folder)
    return len(flat)


def context_row(
    frame: ClipFrame, item: Instance, count: np.ndarray, patch: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Everything stored of one object in one frame except flow."""
    context = (2 * patch[0], 2 * patch[1])
    tight = mask_box(item.mask, (int(item.box.x0), int(item.box.y0)))
    assert tight is not None  # masks below min_px were left out
    box = enlarge(tight, CONTEXT)
    own = place(item.mask, item.box, box)
    whole = crop(frame.image, box, context)
    others = np.clip(placed_count(count, box) - own, 0, 1).astype(np.uint8)
    row = {
        "rgb": np.ascontiguousarray(whole[..., ::-1].transpose(2, 0, 1)),
        "visible": crop(own * 255, local(box), context),
        "others": crop(others * 255, local(box), context),
        "flow": np.zeros((2, *patch), np.float16),
        "flow_back": np.zeros((2, *patch), np.float16),
        "boxes": np.array(box, np.float32),
        "linked": np.uint8(0),
    }
    if frame.full is not None:
        full_box, full = frame.full.get(item.id, (item.box, item.mask))
        row["truth"] = crop(
            (place(full, full_box, box) != 0).astype(np.uint8) * 255, local(box), context
        )
    return row


def local(box: Box) -> Box:
    """The box in its own coordinates."""
    return Box(0, 0, box.width, box.height)


def place(mask: np.ndarray, mask_at: Box, box: Box) -> np.ndarray:
    """A mask crop seen in another box, uint8 [box.height, box.width]."""
    return window(mask, move(box, -mask_at.x0, -mask_at.y0))


def placed_count(count: np.ndarray, box: Box) -> np.ndarray:
    """Occupancy inside a box, int16."""
    return window(count, box).astype(np.int16)


def link_rows(
    row: dict[str, np.ndarray],
    following: dict[str, np.ndarray],
    flow: DisFlow,
    before: tuple[np.ndarray, Instance],
    after: tuple[np.ndarray, Instance],
    patch: tuple[int, int],
) -> None:
    """Compute the flow both ways between two rows of a track and link them."""
    (grey_a, item_a), (grey_b, item_b) = before, after
    shift = (
        (item_b.box.x0 + item_b.box.x1 - item_a.box.x0 - item_a.box.x1) / 2,
        (item_b.box.y0 + item_b.box.y1 - item_a.box.y0 - item_a.box.y1) / 2,
    )
    row["flow"] = flow_patch(flow, grey_a, grey_b, Box(*row["boxes"]), shift, patch)
    back = (-shift[0], -shift[1])
    following["flow_back"] = flow_patch(flow, grey_b, grey_a, Box(*following["boxes"]), back, patch)
    row["linked"] = np.uint8(1)


def flow_patch(
    flow: DisFlow,
    earlier: np.ndarray,
    later: np.ndarray,
    box: Box,
    shift: tuple[float, float],
    patch: tuple[int, int],
) -> np.ndarray:
    """Flow of one box as a float16 patch [2, h, w]."""
    region = flow.regions(earlier, later, [box], [shift])[0]
    values = crop(region.flow, move(box, -region.box.x0, -region.box.y0), patch)
    return values.transpose(2, 0, 1).astype(np.float16)


def write_rows(rows: list[dict[str, np.ndarray]], folder: Path) -> None:
    """Write all rows of a clip beside the target, then rename."""
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, (dtype, _) in FIELDS.items():
        if rows and name not in rows[0]:
            continue
        values = np.stack([row[name] for row in rows]) if rows else np.empty(0)
        np.save(aside / f"{name}.npy", values.astype(dtype, copy=False), allow_pickle=False)
    (aside / "meta.json").write_text(json.dumps({"rows": len(rows), "context": CONTEXT}))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)
