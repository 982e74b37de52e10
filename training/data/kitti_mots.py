"""Images, stamps, tracked masks and amodal boxes in the layouts of KITTI tracking, MOTS and raw."""

from __future__ import annotations

import calendar
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from savos_model.files import FileError
from savos_model.masks import BoxedMask, from_image
from savos_model.types import Box, Instance
from training.data.outside import read_lines, read_picture
from training.data.rle import RleError, decode
from training.data.store import ClipFrame

PERIOD_NS = 100_000_000  # KITTI's cameras run at 10 Hz
# Without times frame 0 gets this stamp (26 September 2011, a day of KITTI): zero is no time in ROS.
START_NS = 1_317_000_000_000_000_000
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")


class KittiError(FileError):
    """Files that cannot be used; the text names line or frame too."""


def regular_stamp(frame: int) -> int:
    """Return the stamp of a frame of a recording without times: 10 Hz [ns]."""
    return START_NS + frame * PERIOD_NS


def parse_time(text: str) -> int:
    """Return `2011-09-26 13:02:25.964389445`, taken as UTC, in ns since 1970, exactly.

    Raises KittiError: another form, or no such time.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise KittiError(f"{text.strip()[:40]!r} must read YYYY-MM-DD hh:mm:ss.fraction", "time")
    try:
        moment = datetime(*(int(part) for part in match.groups()[:6]), tzinfo=timezone.utc)
    except ValueError as error:
        raise KittiError(f"{text.strip()[:40]!r} is no time: {error}", "time") from None
    seconds = calendar.timegm(moment.timetuple())
    return seconds * 1_000_000_000 + int((match[7] or "0").ljust(9, "0"))


def read_timestamps(path: Path, frames: Iterable[int]) -> dict[int, int]:
    """Return stamps of frames from a timestamps.txt, whose line i (from 0) belongs to frame i.

    Raises KittiError: no text, too few lines, a line of another form, or times that fall back.
    """
    lines = read_lines(path, KittiError)
    stamps: dict[int, int] = {}
    previous = None
    for frame in sorted(frames):
        if frame >= len(lines):
            raise KittiError(
                f"{path} has {len(lines)} lines but there is a frame {frame}", "frames"
            )
        try:
            stamps[frame] = parse_time(lines[frame])
        except KittiError as error:
            raise KittiError(f"{path}: line {frame + 1}: {error}", error.kind) from None
        if previous is not None and stamps[frame] <= previous:
            text = f"{path}: line {frame + 1} is not later than the frame before it"
            raise KittiError(text, "order")
        previous = stamps[frame]
    return stamps


Truth = Callable[[int, list[Instance], tuple[int, int]], dict[str, BoxedMask] | None]
Row = TypeVar("Row")
IGNORE_ID = "10000"  # KITTI MOTS: regions without annotation
MASK_SOURCES = ("txt", "png", "tracker", "none")
IMAGE_ENDINGS = (".png", ".jpg")


class KittiLabel(NamedTuple):
    """One line of label_02.

    Attributes:
        track_id: -1 for DontCare; equals MOTS id % 1000.
        type: "Car", "Pedestrian", "DontCare" and so on.
        truncated: 0 inside, 1 partly, 2 largely outside the image.
        occluded: 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 for DontCare.
        box: the whole object, hidden part included, cut at the image border [px], as written.
    """

    track_id: int
    type: str
    truncated: float
    occluded: int
    box: Box


class MotsEntry(NamedTuple):
    """One line of a MOTS text file, its mask still encoded."""

    id: str
    class_id: str
    height: int
    width: int
    counts: str
    line: int


@dataclass(frozen=True)
class KittiClip:
    """The frames of one sequence or drive that are on disk, in order, by frame number.

    Attributes:
        images: image file; stamps: [ns], empty means 10 Hz.
        entries: lines of the mask file; mask_images: 16-bit mask images.
        labels: lines of label_02.
        source: where the masks stand, for messages.
    """

    name: str
    images: dict[int, Path]
    stamps: dict[int, int]
    entries: dict[int, list[MotsEntry]]
    mask_images: dict[int, Path]
    labels: dict[int, list[KittiLabel]]
    source: Path | None = None

    @property
    def frames(self) -> list[int]:
        """Return official frame numbers, ascending."""
        return list(self.images)

    def image(self, frame: int) -> np.ndarray:
        """Read an image: uint8 [H, W, 3], BGR; KittiError when it is damaged or far too large."""
        return read_picture(self.images[frame], KittiError)

    def stamp_ns(self, frame: int) -> int:
        """Return the time of a frame [ns]: of timestamps.txt, else 10 Hz counted from frame 0."""
        return self.stamps[frame] if self.stamps else regular_stamp(frame)

    def instances(self, frame: int, shape: tuple[int, int]) -> list[Instance]:
        """Return tracked masks of a frame, without ignore regions; predicted ones may overlap.

        Raises KittiError: a mask is broken, or not of the image's `shape` (rows, columns).
        """
        return [item for item in self._masks(frame, shape) if item.id != IGNORE_ID]

    def ignored(self, frame: int, shape: tuple[int, int]) -> list[Instance]:
        """Return regions of a frame in which nothing is annotated (id 10000)."""
        return [item for item in self._masks(frame, shape) if item.id == IGNORE_ID]

    def _masks(self, frame: int, shape: tuple[int, int]) -> list[Instance]:
        if self.mask_images:
            if frame not in self.mask_images:
                raise KittiError(f"{self.source} has no mask image for frame {frame}", "missing")
            return _from_png(self.mask_images[frame], shape)
        masks = (self._decode(entry, frame, shape) for entry in self.entries.get(frame, []))
        return [item for item in masks if item.mask.size]

    def _decode(self, entry: MotsEntry, frame: int, shape: tuple[int, int]) -> Instance:
        where = f"{self.source}: line {entry.line} (frame {frame}, id {entry.id})"
        if (entry.height, entry.width) != shape:
            raise KittiError(
                f"{where}: mask is {entry.width}x{entry.height}, the image {shape[1]}x{shape[0]}",
                "size",
            )
        try:
            boxed = decode(entry.counts, entry.height, entry.width)
        except RleError as error:
            raise KittiError(f"{where}: {error}", "mask") from None
        return Instance(entry.id, *boxed, entry.class_id)


def open_tracking(
    root: str | Path,
    sequence: str,
    masks: str = "txt",
    mask_path: str | Path | None = None,
    timestamps: str | Path | None = None,
) -> KittiClip:
    """Open a sequence in the KITTI tracking and MOTS layout.

    Args:
        root: folder with training/image_02, and instances_txt, instances or tracker_masks*.
        sequence: its four-digit name, such as "0001".
        masks: "txt" or "png" (truth), "tracker" (predicted, tracker_masks*/SSSS.txt), or "none".
        mask_path: file or folder of the masks, when it is not at its usual place.
        timestamps: file of one time per frame; the layout itself has none, so 10 Hz without it.

    Raises:
        KittiError: something is missing; the text says what was looked for.
    """
    root = Path(root)
    base = root / "training" if (root / "training").is_dir() else root
    images = _numbered(base / "image_02" / sequence, IMAGE_ENDINGS)
    if mask_path is None and masks != "none":
        mask_path = _find_masks(root, base, sequence, masks)
    labels = base / "label_02" / f"{sequence}.txt"
    stamps = read_timestamps(Path(timestamps), images) if timestamps else {}
    return _clip(sequence, images, stamps, masks, mask_path, labels)


def open_raw(
    drive: str | Path,
    masks: str = "none",
    mask_path: str | Path | None = None,
    timestamps: str | Path | None = None,
) -> KittiClip:
    """Open a drive in the KITTI raw layout (image_02/data, image_02/timestamps.txt).

    `drive` is its folder, such as 2011_09_26_drive_0009_sync; masks "txt", "png" and "tracker" need
    their file or folder. `timestamps`, one time per frame, replace the drive's own.

    Raises KittiError: something is missing or unreadable.
    """
    drive = Path(drive)
    images = _numbered(drive / "image_02" / "data", IMAGE_ENDINGS)
    own = drive / "image_02" / "timestamps.txt"
    if timestamps is None and own.is_file():
        timestamps = own
    stamps = read_timestamps(Path(timestamps), images) if timestamps else {}
    if masks != "none" and mask_path is None:
        raise KittiError(
            "a raw drive holds no masks: give their file or folder, or masks none", "no_masks"
        )
    return _clip(drive.name, images, stamps, masks, mask_path, None)


def is_raw(path: str | Path) -> bool:
    """Return whether a folder is a drive of KITTI raw."""
    return (Path(path) / "image_02" / "data").is_dir()


def read_mots(path: Path) -> dict[int, list[MotsEntry]]:
    """Read a MOTS text file (`frame id class height width rle`) without decoding its masks.

    Raises KittiError: unreadable, or a line of another form.
    """

    def parse(parts: list[str], line: int) -> MotsEntry:
        if len(parts) != 6:
            raise ValueError(f"{len(parts)} fields")
        return MotsEntry(parts[1], parts[2], int(parts[3]), int(parts[4]), parts[5], line)

    return _by_frame(path, "frame id class height width rle", parse)


def read_labels(path: Path) -> dict[int, list[KittiLabel]]:
    """Read a label_02 file, DontCare included; raises KittiError on a line of another form."""

    def parse(parts: list[str], line: int) -> KittiLabel:
        box = Box(*(float(value) for value in parts[6:10]))
        return KittiLabel(int(parts[1]), parts[2], float(parts[3]), int(float(parts[4])), box)

    return _by_frame(path, "frame track type truncated occluded alpha x0 y0 x1 y1 ...", parse)


def _by_frame(
    path: Path, form: str, parse: Callable[[list[str], int], Row]
) -> dict[int, list[Row]]:
    """Return what `parse` makes of the fields and the number of each line, by the first field."""
    rows: dict[int, list[Row]] = defaultdict(list)
    for number, line in enumerate(read_lines(path, KittiError), 1):
        parts = line.split()
        try:
            row = parse(parts, number)
            rows[int(parts[0])].append(row)
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            raise KittiError(
                f"{path}: line {number} must read '{form}', got {line[:60]!r} ({error})", "line"
            ) from None
    return dict(rows)


def _clip(
    name: str,
    images: dict[int, Path],
    stamps: dict[int, int],
    masks: str,
    mask_path: str | Path | None,
    labels: Path | None,
) -> KittiClip:
    if masks not in MASK_SOURCES:
        raise KittiError(
            f"masks must be one of {', '.join(MASK_SOURCES)}, got {masks!r}", "choices"
        )
    source = Path(mask_path) if mask_path is not None and masks != "none" else None
    entries: dict[int, list[MotsEntry]] = {}
    pictures: dict[int, Path] = {}
    if source is not None and masks == "png":
        pictures = _numbered(source, (".png",))
    elif source is not None:
        entries = read_mots(source)
    found = read_labels(labels) if labels is not None and labels.is_file() else {}
    return KittiClip(name, images, stamps, entries, pictures, found, source)


def _find_masks(root: Path, base: Path, sequence: str, masks: str) -> Path:
    if masks == "tracker":
        places = [folder / f"{sequence}.txt" for folder in sorted(root.glob("tracker_masks*"))]
    else:
        leaf = f"instances_txt/{sequence}.txt" if masks == "txt" else f"instances/{sequence}"
        places = [root / leaf, base / leaf]
    for place in places:
        if place.exists():
            return place
    looked = ", ".join(str(place) for place in dict.fromkeys(places)) or f"{root}/tracker_masks*"
    raise KittiError(f"no {masks} masks of sequence {sequence}: looked for {looked}", "no_masks")


def _numbered(folder: Path, endings: Iterable[str]) -> dict[int, Path]:
    """Return files of a folder by the number that is their name, ascending."""
    if not folder.is_dir():
        raise KittiError(
            f"{folder} does not exist: check the root folder, also the sequence", "missing"
        )
    paths = (path for path in folder.iterdir() if path.suffix in endings)
    files = {int(path.stem): path for path in paths if path.stem.isdigit()}
    if not files:
        raise KittiError(f"{folder} holds no numbered {' or '.join(endings)} file", "missing")
    return dict(sorted(files.items()))


def _from_png(path: Path, shape: tuple[int, int]) -> list[Instance]:
    labels = read_picture(path, KittiError, cv2.IMREAD_UNCHANGED)
    if labels.ndim != 2 or labels.dtype != np.uint16:
        raise KittiError(f"{path} must be a 16-bit grey PNG (class * 1000 + track)", "encoding")
    if labels.shape != shape:
        raise KittiError(
            f"{path} is {labels.shape[1]}x{labels.shape[0]}, the image {shape[1]}x{shape[0]}",
            "size",
        )
    values = [int(value) for value in np.unique(labels) if value]
    masks = ((value, from_image((labels == value).view(np.uint8))) for value in values)
    return [Instance(str(value), *boxed, str(value // 1000)) for value, boxed in masks]


def clip_frames(
    clip: KittiClip,
    start: int = 0,
    stop: int | None = None,
    classes: Collection[str] | None = None,
    truth: Truth | None = None,
) -> Iterator[ClipFrame]:
    """Yield frames start .. stop - 1, by place, of a clip with masks.

    Ids are preceded by the number of the frame where a run begins. Other objects than those of
    `classes` (None for all), and ignored regions, only hide. `truth` gives the whole masks by track
    id of (frame number, tracked masks, image shape), or None in a frame without truth.

    Raises:
        KittiError: an image or a mask is damaged.
    """
    numbers = clip.frames[start:stop]
    run = numbers[0] if numbers else 0
    for place, number in enumerate(numbers):
        if place and number != numbers[place - 1] + 1:
            run = number  # a frame is missing: tracks must not be linked over the gap
        image = clip.image(number)
        shape = image.shape[:2]
        tracked, untracked = [], clip.ignored(number, shape)
        for item in clip.instances(number, shape):
            (tracked if classes is None or item.class_id in classes else untracked).append(item)
        known = truth(number, tracked, shape) if truth is not None else None
        yield ClipFrame(
            image,
            [Instance(f"{run}/{t.id}", t.box, t.mask, t.class_id, t.score) for t in tracked],
            None if known is None else {f"{run}/{name}": mask for name, mask in known.items()},
            untracked,
        )
