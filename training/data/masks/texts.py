"""Reads tracked masks from COCO JSON and from the text files of Ultralytics."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from savos_model.masks import BoxedMask, from_image
from savos_model.types import Box, Instance
from training.data.masks.common import MaskFolderError, Read, by_name
from training.data.outside import read_json, read_lines, shown
from training.data.rle import RleError, decode_record, decode_runs

MAX_BYTES = 1 << 30
TRACK_KEYS = ("track_id", "instance_id", "object_id")
NO_ID, EMPTY_MASK = "mask without a track id", "empty mask"
NO_IDS = ("", "nan", "none", "null", "inf", "-inf")
FARTHEST = 1e6  # of a corner of an outline from the image's, which may leave it a little [px]
NUMBERED = re.compile(r"(.*)_([1-9][0-9]*)")  # VIDEO_1.txt, VIDEO_2.txt: frames counted from 1


def coco_masks(
    path: Path, names: Sequence[str], skipped: Counter[str], tracked: bool = True
) -> Read:
    """Read COCO results or annotations, or YouTube-VIS results; arguments of open_masks."""
    files = [path] if path.is_file() else shown(path.glob("*.json"))
    if len(files) != 1:
        text = f"{path} holds {len(files)} JSON files: give the one to read"
        raise MaskFolderError(text, "form")
    document, path = read_json(files[0], MaskFolderError, MAX_BYTES), files[0]
    whole = isinstance(document, dict)
    entries = document.get("annotations") if whole else document
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        text = f"{path} must be a list of results, or have a list `annotations`"
        raise MaskFolderError(text, "document")
    try:
        classes = {c["id"]: str(c["name"]) for c in document.get("categories", [])} if whole else {}
        if entries and "segmentations" in entries[0]:
            found = _per_track(entries, names)
        else:
            table = document.get("images") if whole else None
            found = _per_frame(entries, _image_names(table, names), tracked)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise MaskFolderError(f"{path}: {what}", "document") from None

    def read(name: str, shape: tuple[int, int]) -> list[Instance]:
        return [
            item
            for track, entry, runs in found[name]
            if (item := _instance(path, name, track, entry, runs, classes, shape, skipped))
        ]

    return read


def track_name(value: Any) -> str | None:
    """Return the name of a track; None where a value says that there is none.

    Trackers write -1 until a track is confirmed, tables NaN where a cell is empty and 3.0 for 3
    once that happened; 3, 3.0, "3" and "03" are one id.
    """
    if value is None or isinstance(value, bool | dict | list):
        return None
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return None if text.lower() in NO_IDS else text
    if not math.isfinite(number) or number < 0 or number != int(number):
        return None
    return str(int(text)) if text.isdecimal() else str(int(number))


def _track_of(entry: dict, keys: Sequence[str]) -> str | None:
    """Return the first id of an entry, or of its `attributes`, where CVAT writes it."""
    more = entry.get("attributes")
    places = [entry, more] if isinstance(more, dict) else [entry]
    names = (track_name(place.get(key)) for key in keys for place in places)
    return next((name for name in names if name is not None), None)


def _image_names(table: Any, names: Sequence[str]) -> Callable[[Any], str]:
    """Return a function from image_id to the name of an image."""
    known = set(names)
    if table is not None:
        files = {row["id"]: Path(row["file_name"]).stem for row in table}
        counts = Counter(name for name in files.values() if name in known)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(
                f"two images are called {twice[0]}, in different folders or of different endings: "
                "keep the annotations of one video"
            )
    else:  # results alone: the id is the name, or the number that it ends in
        files = {name: name for name in names}
        numbers = {name: re.search(r"(\d+)$", name) for name in names}
        counted = Counter(int(found[1]) for found in numbers.values() if found)
        for name, found in numbers.items():
            if found and counted[int(found[1])] == 1:
                files[int(found[1])] = name

    def name_of(image_id: Any) -> str:
        if files.get(image_id) not in known:
            raise ValueError(
                f"image_id {image_id!r} belongs to none of the images ({names[0]} .. {names[-1]}): "
                "an entry of `images` must have its file name"
            )
        return files[image_id]

    return name_of


def _per_frame(
    entries: list[dict], name_of: Callable[[Any], str], tracked: bool
) -> dict[str, list]:
    found = defaultdict(list)
    for place, entry in enumerate(entries):
        track = _track_of(entry, TRACK_KEYS) if tracked else f"mask {place}"
        found[name_of(entry["image_id"])].append((track, entry, entry["segmentation"]))
    if entries and all(track is None for masks in found.values() for track, *_ in masks):
        raise ValueError(
            f"no mask has a {' or '.join(TRACK_KEYS)}: run a tracker over them, or give --track"
        )
    return found


def _per_track(entries: list[dict], names: Sequence[str]) -> dict[str, list]:
    """YouTube-VIS: an entry is a track; without an id its place in the list is its name."""
    if len({str(entry.get("video_id")) for entry in entries}) > 1:
        raise ValueError("holds the results of several videos: keep one video_id")
    found = defaultdict(list)
    tracks = [_track_of(entry, (*TRACK_KEYS, "id")) for entry in entries]
    if not any(tracks):
        tracks = [str(place) for place in range(len(entries))]
    for track, entry in zip(tracks, entries, strict=True):
        masks = entry["segmentations"]
        if len(masks) != len(names):
            raise ValueError(f"a track has {len(masks)} masks, the video {len(names)} images")
        for name, runs in zip(names, masks, strict=True):
            if runs is not None:
                found[name].append((track, entry, runs))
    return found


def _instance(
    path: Path,
    name: str,
    track: str | None,
    entry: dict,
    runs: Any,
    classes: dict,
    shape: tuple[int, int],
    skipped: Counter[str],
) -> Instance | None:
    if track is None:
        skipped[NO_ID] += 1
        return None
    try:
        box, mask = _mask(runs, shape)
        score = entry.get("score")
        score = 1.0 if score is None else float(score)
        score = min(max(score, 0.0), 1.0) if math.isfinite(score) else 0.0
        number = entry.get("category_id", "")
        class_id = classes.get(number, str(number))
    except (RleError, KeyError, TypeError, ValueError, OverflowError) as error:
        text = f"{path}: image {name}, track {track}: {error}"
        raise MaskFolderError(text, "mask") from None
    if not mask.size:
        skipped[EMPTY_MASK] += 1
        return None
    return Instance(track, box, mask, class_id, score)


def _mask(found: Any, shape: tuple[int, int]) -> BoxedMask:
    """Return the mask of a COCO segmentation: RLE as text or numbers, or polygons."""
    if isinstance(found, list):
        return _filled(found, shape)
    if not isinstance(found, dict) or "counts" not in found:
        raise RleError("segmentation must be RLE (size, counts) or polygons")
    counts = found["counts"]
    if not isinstance(counts, list):
        return decode_record(found, shape)
    if list(found["size"]) != list(shape):
        raise RleError(f"size {found['size']} is not the image's {list(shape)}")
    whole = all(type(count) is int and 0 <= count <= shape[0] * shape[1] for count in counts)
    if not whole or not counts:
        raise RleError("counts must be whole numbers from 0 to the pixels of the image")
    return decode_runs(np.array(counts, np.int64), *shape)


def _filled(polygons: list, shape: tuple[int, int]) -> BoxedMask:
    """Return the union of polygons `[x1, y1, x2, y2, ...]` [px]; tiny parts are left out."""
    full = np.zeros(shape, np.uint8)
    for polygon in polygons:
        points = np.array(polygon, np.float64)
        if points.ndim != 1 or len(points) % 2:
            raise RleError("a polygon must be a list of numbers x1, y1, x2, y2, ...")
        if not (np.abs(points) < FARTHEST).all():
            raise RleError(f"a corner of a polygon must be a number below {FARTHEST:g}")
        if len(points) >= 6:
            cv2.fillPoly(full, [np.rint(points.reshape(-1, 2)).astype(np.int32)], 1)
    return from_image(full)


def ultralytics_masks(
    path: Path, names: Sequence[str], skipped: Counter[str], tracked: bool = True
) -> Read:
    """Read masks that `yolo track` writes with save_txt; arguments of open_masks.

    Unless masks must be `tracked`, also those that `yolo predict` writes, which have no ids.

    A line is `class x1 y1 x2 y2 ... [confidence] [id]`, x and y over the image size. A line that
    the tracker gave no id has none, so which of the two a file's last numbers are follows from all.
    """
    folder = path / "labels" if (path / "labels").is_dir() else path
    files = _text_files(folder, names)
    lines = {name: _numbers(file) for name, file in files.items()}
    every = [words for found in lines.values() for words in found]
    plain = sum(len(words) % 2 == 0 and words[-1].isdecimal() for words in every)
    scored = sum(len(words) % 2 == 1 and words[-1].isdecimal() for words in every)
    if tracked and every and not plain and not scored:
        raise MaskFolderError(
            f"{folder}: no line ends in a track id: yolo track with save_txt=True writes them, or "
            "give --track",
            "no_ids",
        )
    bare = not tracked and 2 * (plain + scored) <= len(every)  # a confidence of 1 looks like an id
    extra = 2 if scored > plain else 1  # confidence and id, or the id alone
    if bare:  # the confidence, or nothing
        extra = int(2 * sum(len(words) % 2 == 0 for words in every) > len(every))

    def whole(words: list[str]) -> bool:
        rest = len(words) - 1 - extra
        return rest >= 0 and rest % 2 == 0 and (bare or words[-1].isdecimal())

    if every and all(len(words) == 5 + extra for words in every if whole(words)):
        raise MaskFolderError(f"{folder} holds boxes, no outlines: use a -seg model", "boxes")

    def read(name: str, shape: tuple[int, int]) -> list[Instance]:
        found = []
        for number, words in enumerate(lines.get(name, ()), 1):
            if not whole(words):
                skipped[NO_ID] += 1
            elif len(words) < 7 + extra:  # less than three points: too small for an outline
                skipped[EMPTY_MASK] += 1
            else:
                end = len(words) - extra
                score = float(words[end]) if extra == 2 or (bare and extra) else 1.0
                track = f"mask {number}" if bare else words[-1]
                where = f"{files[name]}: line {number}"
                found.append(_polygon(where, words[0], words[1:end], track, score, shape))
        return found

    return read


def _text_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    files = shown(folder.glob("*.txt"))
    numbered = [NUMBERED.fullmatch(file.stem) for file in files]
    if all(numbered) and not {file.stem for file in files} & set(names):  # of a video file
        places = {int(found[2]) - 1: file for found, file in zip(numbered, files, strict=True)}
        if len(places) == len(files) and max(places, default=0) < len(names):
            return {names[place]: file for place, file in places.items()}
    return by_name(files, names, folder)


def _numbers(path: Path) -> list[list[str]]:
    """Return the words of each line, all of them numbers."""
    lines = [line.split() for line in read_lines(path, MaskFolderError)]
    for number, words in enumerate(lines, 1):
        try:
            good = all(math.isfinite(float(word)) for word in words)
        except ValueError:
            good = False
        if not good:
            raise MaskFolderError(f"{path}: line {number} must hold numbers alone", "numbers")
    return [words for words in lines if words]


def _polygon(
    where: str, kind: str, values: list[str], track: str, score: float, shape: tuple[int, int]
) -> Instance:
    points = np.array(values, np.float64).reshape(-1, 2)
    if points.min() < 0 or points.max() > 1 or not 0 <= score <= 1:
        text = f"{where}: coordinates and confidence must lie between 0 and 1"
        raise MaskFolderError(text, "numbers")
    height, width = shape
    last = (width - 1, height - 1)
    pixels = np.minimum(np.rint(points * (width, height)), last).astype(np.int32)
    corner = pixels.min(axis=0)
    columns, rows = pixels.max(axis=0) - corner + 1
    mask = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(mask, [pixels - corner], 1)
    x, y = (int(value) for value in corner)
    return Instance(track, Box(x, y, x + int(columns), y + int(rows)), mask, kind, score)
