"""Read FISHBOWL clips: a video and a file of per-frame visible and amodal masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from savos_model.files import FileError
from savos_model.masks import BoxedMask
from savos_model.types import Instance
from training.data.outside import read_json
from training.data.rle import RleError, decode_record

OBJECT_LISTS = ("visible", "full", "depth", "depth_order")
SUFFIXES = (".json.gz", ".mp4")


class FishbowlError(FileError):
    """A clip that cannot be used; the text names the file, the rule and the value found."""


class FishbowlObject:
    """One fish of a clip; masks are decoded when asked for.

    Attributes:
        id: track id as text, as the data set numbers it.
        category: species.
    """

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
                f"{clip.masks_path}: object {self.id}, {kind} mask of frame {frame}: {error}"
            ) from None
        return boxed if boxed.mask.size else None


class MaskClip:
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

    def _instances(self, frame: int, kind: str) -> list[Instance]:
        raise NotImplementedError


class FishbowlClip(MaskClip):
    """One clip: `<name>.mp4` and `<name>.json.gz`.

    Attributes:
        name: file name without ending.
        width, height: of every frame [px].
        num_frames, fps: length and rate.
        objects: list[FishbowlObject].
    """

    KINDS = ("visible", "full")

    def __init__(self, path: str | Path) -> None:
        """Open a clip.

        Args:
            path: either of its two files, or their common path without ending.

        Raises:
            FishbowlError: a file is missing or unreadable, or the two do not belong together.
        """
        text = str(path)
        stem = next((text[: -len(end)] for end in SUFFIXES if text.endswith(end)), text)
        self.masks_path, self.video_path = Path(f"{stem}.json.gz"), Path(f"{stem}.mp4")
        for mine, other in ((self.masks_path, self.video_path), (self.video_path, self.masks_path)):
            if not mine.is_file():
                half = f"; {other.name} is there, its other half" if other.is_file() else ""
                raise FishbowlError(f"{mine} does not exist{half}: a clip needs both files")
        self.name = Path(stem).name
        record = read_json(self.masks_path, FishbowlError)
        try:
            self._take(record)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, FishbowlError):
                raise
            what = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)
            raise FishbowlError(f"{self.masks_path} is not a FISHBOWL mask file: {what}") from None
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
                        f"entries of {name}, the clip has {self.num_frames} frames"
                    )
        self.objects = [FishbowlObject(entry, self) for entry in record["objects"]]

    def _check_video(self) -> None:
        video = cv2.VideoCapture(str(self.video_path))
        try:
            if not video.isOpened():
                raise FishbowlError(f"{self.video_path} cannot be decoded: is it cut off?")
            width = int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
            count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        finally:
            video.release()
        if (width, height) != (self.width, self.height):
            raise FishbowlError(
                f"{self.video_path} is {width}x{height}, "
                f"{self.masks_path.name} says {self.width}x{self.height}"
            )
        if count != self.num_frames:
            raise FishbowlError(
                f"{self.video_path} has {count} frames, "
                f"{self.masks_path.name} says {self.num_frames}"
            )

    def frames(self) -> Iterator[np.ndarray]:
        """Decode the video in order: uint8 [height, width, 3], BGR.

        Raises:
            FishbowlError: the video ends too early.
        """
        video = cv2.VideoCapture(str(self.video_path))
        try:
            for index in range(self.num_frames):
                good, image = video.read()
                if not good:
                    raise FishbowlError(
                        f"{self.video_path} ends after {index} of {self.num_frames} frames: "
                        "it is cut off or damaged"
                    )
                yield image
        finally:
            video.release()

    def untracked(self, frame: int) -> list[Instance]:
        """Return what else may hide fish: nothing, as every fish is an instance."""
        return []

    def _instances(self, frame: int, kind: str) -> list[Instance]:
        found = ((item, item.mask(kind, frame)) for item in self.objects)
        return [Instance(item.id, *boxed, item.category) for item, boxed in found if boxed]


def clip_names(folder: str | Path) -> list[Path]:
    """Return the sorted paths, without ending, of the clips in a folder; incomplete ones too."""
    stems = {str(path)[: -len(end)] for end in SUFFIXES for path in Path(folder).glob(f"*{end}")}
    return [Path(stem) for stem in sorted(stems)]
