"""Make bags from a folder of images and the tracked masks that another program wrote."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from itertools import tee
from pathlib import Path

import cv2
import numpy as np

from savos_model.backends.interface import Backend
from savos_model.encoded_image import decode_image, encoded_size
from savos_model.types import Frame
from savos_ros.bags.ids import with_ids
from savos_ros.bags.recording import START_NS, Recorded, RecordOptions, SourceFrame, record
from savos_ros.bags.types import BagError
from savos_ros.messages.settings import InputConfig
from training.data.masks.common import MaskFolderError
from training.data.masks.folders import MaskFolder, open_masks
from training.data.outside import read_bytes, shown

JPEG = (".jpg", ".jpeg")
ENDINGS = (*JPEG, ".png")
STEP_NS = 100_000_000  # between frames that association follows: a gap would forget the tracks


def masks_to_bag(
    images: Path,
    masks: Path,
    path: Path,
    options: RecordOptions,
    form: str = "auto",
    rate_hz: float = 10.0,
    backend: Backend | None = None,
) -> tuple[Recorded, MaskFolder]:
    """Write the images of a folder and their masks as a bag.

    Args:
        images: folder of .jpg or .png files; numbers in their names count by value.
        masks: folder or JSON file of the masks.
        path: folder of the bag.
        options: how to record.
        form: form of the masks, one of training.data.masks.folders.FORMS, or auto.
        rate_hz: images per second; they carry no time of their own.
        backend: network whose predicted whole objects the masks get ids by; None keeps the ids that
            they have.

    Returns:
        What was written, and the folder of masks, which says what it left out.

    Raises:
        BagError: something is missing or broken; nothing is left behind.
    """
    if not 0.001 <= rate_hz <= 10_000:
        raise BagError(
            f"--rate must be between 0.001 and 10000 images a second, got {rate_hz}", "option"
        )
    files = _image_files(images)
    try:
        source = open_masks(masks, [file.stem for file in files], form, backend is None)
        frames = _frames(files, source, rate_hz)
        if backend is not None:
            frames = _tracked(frames, backend)
        return record(frames, len(files), path, options), source
    except MaskFolderError as error:
        raise BagError(str(error), error.kind) from None


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BagError(f"{folder} is no folder: give the folder of the images", "missing")
    files = [file for file in shown(folder.iterdir()) if file.suffix.lower() in ENDINGS]
    if not files:
        raise BagError(f"{folder} holds no image: files {', '.join(ENDINGS)} are needed", "missing")
    twice = len(files) - len({file.stem for file in files})
    if twice:
        raise BagError(
            f"{folder}: {twice} images share their name with another: keep one of each", "names"
        )
    return sorted(files, key=_order)


def _order(file: Path) -> list[tuple[int, str]]:
    """Return a key that orders names, numbers in them by value: frame 9 comes before frame 10."""
    parts = re.split(r"(\d+)", file.stem)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _frames(files: list[Path], source: MaskFolder, rate_hz: float) -> Iterator[SourceFrame]:
    for index, file in enumerate(files):
        data = read_bytes(file, BagError)
        image = _decode(file, data)
        instances = source.instances(file.stem, image.shape[:2])
        stamp = START_NS + round(index * 1e9 / rate_hz)
        jpeg = data if file.suffix.lower() in JPEG else None
        yield SourceFrame(stamp, image, instances, jpeg=jpeg)


def _tracked(frames: Iterator[SourceFrame], backend: Backend) -> Iterator[SourceFrame]:
    """Yield the frames with ids by association, a frame after the other whatever their rate."""
    kept, given = tee(frames)
    plain = (Frame(n * STEP_NS, one.image, one.instances) for n, one in enumerate(given))
    for one, named in zip(kept, with_ids(plain, backend), strict=True):
        yield dataclasses.replace(one, instances=named.instances)


def _decode(file: Path, data: bytes) -> np.ndarray:
    encoded = np.frombuffer(data, np.uint8)
    size, limit = encoded_size(encoded), InputConfig().max_pixels
    if size is not None and size[0] * size[1] > limit:
        raise BagError(
            f"{file} is {size[1]}x{size[0]}, more than {limit} pixels: scale it down", "size"
        )
    image = decode_image(encoded, cv2.IMREAD_COLOR) if size else None
    if image is None:
        raise BagError(f"{file} cannot be decoded: it is cut off or no JPEG or PNG", "unreadable")
    return image
