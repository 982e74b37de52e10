"""Reads the released FISHBOWL test data: pictures, pickled masks, FlowNet2's flow, test subsets."""

from __future__ import annotations

import csv
import functools
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from savos_model.masks import EMPTY, BoxedMask, slices
from savos_model.types import Instance
from training.data.fishbowl import FishbowlClip, FishbowlError, MaskClip, clip_names
from training.data.outside import is_file_name, read_bytes, read_picture
from training.data.provenance import require
from training.data.rle import RleError, decode_record
from training.data.safe_pickle import load
from training.data.scenery import remainder

FRAMES, MASKS = "test_frames", "test_data.pkl"
FLOW = Path("inference") / "run.epoch-0-flow-field"
SUBSET_FILE = "test_subtest.csv"
SUBSETS = ("test", "test1", "test2", "test3", "test4")
FPS = 30.0
MAX_PICKLE_BYTES = 2 << 30
UNTRACKED = "untracked"


class ReleasedClip(MaskClip):
    """One video of the released test data; the masks are those of its scored fish alone.

    Attributes:
        name: number of the video as its folder is named.
        width, height: of every frame [px].
        num_frames, fps: length and rate.
        flow: folders of the forward and the backward flow, None where one is missing.
    """

    KINDS = ("VM", "FM")

    def __init__(self, folder: str | Path) -> None:
        """Open a video.

        Args:
            folder: its pictures, ROOT/test_frames/<video>; ROOT holds the masks and the flow.

        Raises:
            MissingPartError: pictures or masks are not there.
            FishbowlError: a picture or the masks are of another form.
            UnsafePickleError: the masks' file holds something else than plain data.
        """
        folder = require("fishbowl_test_data", Path(folder))
        root = folder.parents[1]
        self.name, self.fps = folder.name, FPS
        self.path = require("fishbowl_test_data", root / MASKS)
        self._pictures = sorted(folder.glob("*.png"))
        self._fish = _videos(self.path).get(self.name, {})
        if not self._pictures:
            raise FishbowlError(f"{folder} holds no pictures (*.png): unpack the data again")
        self.num_frames = len(self._pictures)
        self.height, self.width = read_picture(self._pictures[0], FishbowlError).shape[:2]
        flow = [root / kind / FLOW / self.name for kind in ("test_flow", "test_flow_reverse")]
        self.flow = (flow[0], flow[1]) if all(path.is_dir() for path in flow) else None

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the pictures in order: uint8 [height, width, 3], BGR.

        Raises:
            FishbowlError: one is damaged or of another size.
        """
        for path in self._pictures:
            image = read_picture(path, FishbowlError)
            if image.shape[:2] != (self.height, self.width):
                raise FishbowlError(
                    f"{path} is {image.shape[1]}x{image.shape[0]}, the first picture "
                    f"{self.width}x{self.height}"
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
                f"{self.path}: {kind} of {self.name}_{name}, frame {frame}: {error!r}"
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
        raise FishbowlError(f"{path} must hold '<video>_<fish>': frame: masks")
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

    Args:
        folder: of the test data; the list lies there, in its test_files or in one next to it.
        subset: of SUBSETS.

    Raises:
        ValueError: unknown subset.
        MissingPartError: no list.
        FishbowlError: the list lacks a column or holds something else than numbers.
    """
    if subset not in SUBSETS:
        raise ValueError(f"subset must be one of {', '.join(SUBSETS)}, got {subset!r}")
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
            f"{path} must have numbers in v_id, obj_id, frame_id and {subset}: {error!r}"
        ) from None
    return {key: frozenset(names) for key, names in listed.items()}
