"""Read FISHBOWL clips, made with the generator (a video and a file of masks) or released."""

from __future__ import annotations

import csv
import functools
import io
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from savos_model.files import FileError
from savos_model.masks import EMPTY, BoxedMask, slices
from savos_model.settings import SettingError
from savos_model.types import Instance
from training.data.outside import is_file_name, read_bytes, read_json, read_picture
from training.data.provenance import require
from training.data.rle import RleError, decode_record
from training.data.safe_pickle import load
from training.data.store import remainder

OBJECT_LISTS = ("visible", "full", "depth", "depth_order")
SUFFIXES = (".json.gz", ".mp4")


class FishbowlError(FileError):
    """A clip that cannot be used; the text names the file, the rule and the value found."""


class FishbowlObject:
    """One fish of a clip: track id as text, species, and masks that are decoded when asked for."""

    def __init__(self, record: dict[str, Any], clip: FishbowlClip) -> None:
        self.id = str(record["id"])
        self.category = str(record["category"])
        self._clip = clip
        self._masks = {kind: record[kind] for kind in ("visible", "full")}

    def mask(self, kind: str, frame: int) -> BoxedMask | None:
        """Return the "visible" or "full" mask (uint8 crop of 0 or 1) of a frame, None when empty.

        Full masks are cut at the frame's border.
        """
        runs, clip = self._masks[kind][frame], self._clip
        if runs is None:
            return None
        try:
            boxed = decode_record(runs, (clip.height, clip.width))
        except RleError as error:
            raise FishbowlError(
                f"{clip.masks_path}: object {self.id}, {kind} mask of frame {frame}: {error}",
                "mask",
            ) from None
        return boxed if boxed.mask.size else None


class MaskClip(ABC):
    """A clip of either layout; `KINDS` are the names of its visible and its whole masks."""

    KINDS: tuple[str, str]
    fps: float

    def stamp_ns(self, frame: int) -> int:
        """Return the time of a frame after the first one [ns]."""
        return round(frame * 1_000_000_000 / self.fps)

    def instances(self, frame: int) -> list[Instance]:
        """Return the visible masks of a frame, as a perfect tracker would give them."""
        return self._instances(frame, self.KINDS[0])

    def truth(self, frame: int) -> list[Instance]:
        """Return the whole masks of a frame by the same ids, fully hidden fish included."""
        return self._instances(frame, self.KINDS[1])

    def untracked(self, frame: int) -> list[Instance]:
        """Return what else may hide fish: nothing, where every fish is an instance."""
        return []

    @abstractmethod
    def _instances(self, frame: int, kind: str) -> list[Instance]:
        """Return the masks of a frame of one of KINDS."""


class FishbowlClip(MaskClip):
    """One clip: `<name>.mp4` and `<name>.json.gz`; sides [px], length and rate are attributes."""

    KINDS = ("visible", "full")

    def __init__(self, path: str | Path) -> None:
        """Open a clip by either of its files or their common path without ending.

        Raises:
            FishbowlError: a file is missing or unreadable, or the two do not belong together.
        """
        text = str(path)
        stem = next((text[: -len(end)] for end in SUFFIXES if text.endswith(end)), text)
        self.masks_path, self.video_path = Path(f"{stem}.json.gz"), Path(f"{stem}.mp4")
        for mine, other in ((self.masks_path, self.video_path), (self.video_path, self.masks_path)):
            if not mine.is_file():
                half = f"; {other.name} is there, its other half" if other.is_file() else ""
                raise FishbowlError(
                    f"{mine} does not exist{half}: a clip needs both files", "missing"
                )
        self.name = Path(stem).name
        record = read_json(self.masks_path, FishbowlError)
        try:
            self._take(record)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, FishbowlError):
                raise
            what = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)
            raise FishbowlError(
                f"{self.masks_path} is not a FISHBOWL mask file: {what}", "layout"
            ) from None
        self._check_video()

    def _take(self, record: dict[str, Any]) -> None:
        self.width, self.height = int(record["width"]), int(record["height"])
        self.num_frames, self.fps = int(record["num_frames"]), float(record["fps"])
        if min(self.width, self.height, self.num_frames) < 1 or not self.fps > 0:
            raise ValueError("width, height, num_frames and fps must be positive")
        for entry in record["objects"]:
            for name in OBJECT_LISTS:
                if len(entry[name]) != self.num_frames:
                    raise FishbowlError(
                        f"{self.masks_path}: object {entry['id']} has {len(entry[name])} "
                        f"entries of {name}, the clip has {self.num_frames} frames",
                        "frames",
                    )
        self.objects = [FishbowlObject(entry, self) for entry in record["objects"]]

    def _check_video(self) -> None:
        with self._opened() as video:
            if not video.isOpened():
                raise FishbowlError(
                    f"{self.video_path} cannot be decoded: is it cut off?", "unreadable"
                )
            width = int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
            count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        if (width, height) != (self.width, self.height):
            raise FishbowlError(
                f"{self.video_path} is {width}x{height}, "
                f"{self.masks_path.name} says {self.width}x{self.height}",
                "size",
            )
        if count != self.num_frames:
            raise FishbowlError(
                f"{self.video_path} has {count} frames, "
                f"{self.masks_path.name} says {self.num_frames}",
                "frames",
            )

    def frames(self) -> Iterator[np.ndarray]:
        """Decode the video in order: uint8 [height, width, 3], BGR.

        Raises FishbowlError: the video ends too early.
        """
        with self._opened() as video:
            for index in range(self.num_frames):
                good, image = video.read()
                if not good:
                    raise FishbowlError(
                        f"{self.video_path} ends after {index} of {self.num_frames} frames: "
                        "it is cut off or damaged",
                        "frames",
                    )
                yield image

    @contextmanager
    def _opened(self) -> Iterator[cv2.VideoCapture]:
        video = cv2.VideoCapture(str(self.video_path))
        try:
            yield video
        finally:
            video.release()

    def _instances(self, frame: int, kind: str) -> list[Instance]:
        found = ((item, item.mask(kind, frame)) for item in self.objects)
        return [Instance(item.id, *boxed, item.category) for item, boxed in found if boxed]


def clip_names(folder: str | Path) -> list[Path]:
    """Return the sorted paths, without ending, of the clips in a folder; incomplete ones too."""
    stems = {str(path)[: -len(end)] for end in SUFFIXES for path in Path(folder).glob(f"*{end}")}
    return [Path(stem) for stem in sorted(stems)]


FRAMES, MASKS = "test_frames", "test_data.pkl"
FLOW = Path("inference") / "run.epoch-0-flow-field"
SUBSET_FILE = "test_subtest.csv"
SUBSETS = ("test", "test1", "test2", "test3", "test4")
FPS = 30.0
MAX_PICKLE_BYTES = 2 << 30
UNTRACKED = "untracked"


class ReleasedClip(MaskClip):
    """One video of the released test data; the masks are those of its scored fish alone.

    Attributes as of FishbowlClip; `flow`: folders of the forward and the backward flow, or None.
    """

    KINDS = ("VM", "FM")

    def __init__(self, folder: str | Path) -> None:
        """Open the video of pictures ROOT/test_frames/<video>; ROOT holds the masks and the flow.

        Raises:
            MissingPartError: pictures or masks are not there.
            FishbowlError, UnsafePickleError: a picture or the masks are of another form.
        """
        folder = require("fishbowl_test_data", Path(folder))
        root = folder.parents[1]
        self.name, self.fps = folder.name, FPS
        self.path = require("fishbowl_test_data", root / MASKS)
        self._pictures = sorted(folder.glob("*.png"))
        self._fish = _videos(self.path).get(self.name, {})
        if not self._pictures:
            raise FishbowlError(
                f"{folder} holds no pictures (*.png): unpack the data again", "missing"
            )
        self.num_frames = len(self._pictures)
        self.height, self.width = read_picture(self._pictures[0], FishbowlError).shape[:2]
        flow = [root / kind / FLOW / self.name for kind in ("test_flow", "test_flow_reverse")]
        self.flow = (flow[0], flow[1]) if all(path.is_dir() for path in flow) else None

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the pictures in order: uint8 [height, width, 3], BGR.

        Raises FishbowlError: one is damaged or of another size.
        """
        for path in self._pictures:
            image = read_picture(path, FishbowlError)
            if image.shape[:2] != (self.height, self.width):
                raise FishbowlError(
                    f"{path} is {image.shape[1]}x{image.shape[0]}, the first picture "
                    f"{self.width}x{self.height}",
                    "size",
                )
            yield image

    def untracked(self, frame: int) -> list[Instance]:
        """Return what the loss weights take as occluders next to the scored fish, as one instance.

        The released file leaves out fish near the image border, small ones and those seen for few
        frames; they hide others all the same.
        """
        hidden = []
        for name, times in self._fish.items():
            if frame in times:
                box, free = self._decode(name, frame, "loss_mask_weight")
                whole = np.ones((self.height, self.width), np.uint8)
                whole[slices(box)] -= free
                hidden.append(whole)
        return remainder(hidden, self.instances(frame), UNTRACKED)

    def _instances(self, frame: int, kind: str) -> list[Instance]:
        found = []
        for name, times in self._fish.items():
            boxed = self._decode(name, frame, kind) if frame in times else EMPTY
            if boxed.mask.size:
                found.append(Instance(name, *boxed, str(times[frame].get("fish_type", ""))))
        return found

    def _decode(self, name: str, frame: int, kind: str) -> BoxedMask:
        try:
            runs = self._fish[name][frame][kind]
            runs = runs[0] if isinstance(runs, list) else runs
            return decode_record(runs, (self.height, self.width))
        except (RleError, LookupError, TypeError) as error:
            raise FishbowlError(
                f"{self.path}: {kind} of {self.name}_{name}, frame {frame}: {error!r}",
                "mask",
            ) from None


@functools.lru_cache(maxsize=1)
def _videos(path: Path) -> dict[str, dict[str, dict[int, Any]]]:
    """Return the entries of a masks' file by video, fish and frame."""
    data = load(path, MAX_PICKLE_BYTES)
    good = isinstance(data, dict) and all(
        isinstance(name, str)
        and name.count("_") == 1
        and is_file_name(name.partition("_")[0])
        and isinstance(times, dict)
        for name, times in data.items()
    )
    if not good:
        raise FishbowlError(f"{path} must hold '<video>_<fish>': frame: masks", "layout")
    videos: dict[str, dict[str, dict[int, Any]]] = defaultdict(dict)
    for name, times in data.items():
        video, fish = name.split("_")
        videos[video][fish] = times
    return dict(videos)


def is_released(folder: str | Path) -> bool:
    """Return whether a folder has the layout of the released test data, whole or in part."""
    return (Path(folder) / FRAMES).is_dir() or (Path(folder) / MASKS).is_file()


def clip_paths(folder: str | Path) -> list[Path]:
    """Return the paths of the clips in a folder of either layout, sorted, for open_fishbowl.

    Of the released test data those videos that have scored fish.

    Raises:
        MissingPartError: half of the released test data is missing.
        UnsafePickleError, FishbowlError: its masks are of another form.
    """
    if not is_released(folder):
        return clip_names(folder)
    frames = require("fishbowl_test_data", Path(folder) / FRAMES)
    videos = _videos(require("fishbowl_test_data", Path(folder) / MASKS))
    return [require("fishbowl_test_data", frames / name) for name in sorted(videos)]


def open_fishbowl(path: str | Path) -> FishbowlClip | ReleasedClip:
    """Open a clip of either layout; the errors are those of the two classes."""
    path = Path(path)
    return ReleasedClip(path) if path.parent.name == FRAMES else FishbowlClip(path)


@functools.lru_cache(maxsize=1)
def read_subset(folder: Path, subset: str) -> dict[tuple[int, int], frozenset[str]]:
    """Return the fish listed in a subset of the released test by (video, frame).

    The list lies in `folder`, in its test_files or in one next to it; `subset` is one of SUBSETS.

    Raises:
        SettingError: unknown subset.
        MissingPartError: no list.
        FishbowlError: the list lacks a column or holds something else than numbers.
    """
    if subset not in SUBSETS:
        text = f"subset must be one of {', '.join(SUBSETS)}, got {subset!r}"
        raise SettingError(text, "choices")
    places = [base / SUBSET_FILE for base in (folder, folder / "test_files")]
    places.append(folder.resolve().parent / "test_files" / SUBSET_FILE)
    path = next((place for place in places if place.is_file()), places[0])
    listed: dict[tuple[int, int], set[str]] = defaultdict(set)
    data = read_bytes(require("fishbowl_test_files", path), FishbowlError)
    try:
        for row in csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")):
            # pandas wrote flags as 0 and 1, as 1.0, or as True and False.
            if row[subset] in ("1", "1.0", "True"):
                key = int(row["v_id"]), int(float(row["frame_id"]))
                listed[key].add(str(int(float(row["obj_id"]))))
    except (KeyError, TypeError, ValueError, OverflowError, csv.Error) as error:
        raise FishbowlError(
            f"{path} must have numbers in v_id, obj_id, frame_id and {subset}: {error!r}",
            "layout",
        ) from None
    return {key: frozenset(names) for key, names in listed.items()}
