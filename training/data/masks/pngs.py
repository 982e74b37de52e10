"""Read tracked masks from PNG files: label images, or a folder per object."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from savos_model.instances import from_label_image
from savos_model.masks import from_image
from savos_model.types import Instance
from training.data.kitti_mots import IGNORE_ID
from training.data.masks.common import MaskFolderError, Read, by_name
from training.data.outside import MAX_PIXELS, read_bytes, shown

ALONE = "frame without a mask file"
IGNORED = f"region to be ignored (pixel {IGNORE_ID}, or 255 next to ids in 8 bits)"
VOID = 255  # DAVIS and VOC draw it around objects; a folder of 0 and 255 alone is of one object
SOFT_LEVELS = 128  # more different numbers than this in 8 bits are no ids but a soft mask
INDEX_MODES = ("1", "L", "P", "I;16", "I;16B", "I")  # one number a pixel; a palette is not applied


def label_images(folder: Path, names: Sequence[str], skipped: Counter[str]) -> Read:
    """Read a PNG of ids per image; arguments of open_masks."""
    files = by_name(folder.glob("*.png"), names, folder)
    known: list[bool] = []  # whether a file of the folder has ids next to VOID, once it matters

    def has_ids(labels: np.ndarray) -> bool:
        if _has_ids(labels):
            return True
        if not known:
            known.append(any(_has_ids(read_png(file)) for file in files.values()))
        return known[0]

    def read(name: str, shape: tuple[int, int]) -> list[Instance]:
        if name not in files:
            skipped[ALONE] += 1
            return []
        labels = read_png(files[name], shape)
        found = from_label_image(labels)
        if labels.dtype == np.uint8 and len(found) > SOFT_LEVELS:
            raise MaskFolderError(
                f"{files[name]} has {len(found)} different numbers: that is a soft mask, no image "
                "of ids. Write ids, or a folder per object for --format objects",
                "soft",
            )
        strange = {IGNORE_ID}
        if labels.dtype == np.uint8 and (labels == VOID).any() and has_ids(labels):
            strange.add(str(VOID))
        kept = [item for item in found if item.id not in strange]
        skipped[IGNORED] += len(found) - len(kept)
        return kept

    return read


def _has_ids(labels: np.ndarray) -> bool:
    return bool(((labels != 0) & (labels != VOID)).any())


def object_folders(folder: Path, names: Sequence[str], skipped: Counter[str]) -> Read:
    """Read a folder of PNG files per object; arguments of open_masks."""
    objects = {
        sub.name: by_name(sub.glob("*.png"), names, sub)
        for sub in shown(folder.iterdir())
        if sub.is_dir()
    }
    if not objects:
        text = f"{folder} has no folders: one per object, named by its id, is due"
        raise MaskFolderError(text, "form")

    def read(name: str, shape: tuple[int, int]) -> list[Instance]:
        files = {track: of[name] for track, of in objects.items() if name in of}
        skipped[ALONE] += not files
        masks = {track: from_image(inside(read_png(path, shape))) for track, path in files.items()}
        return [
            Instance(track, found.box, found.mask.astype(np.uint8))
            for track, found in masks.items()
            if found.mask.size
        ]

    return read


def inside(numbers: np.ndarray) -> np.ndarray:
    """Return where a mask of one object is set, bool [H, W].

    A mask of two values is set where it is not 0. One with levels between, such as a probability
    or a smooth edge, is set from the half of its range on.
    """
    half = 1 << (8 * numbers.dtype.itemsize - 1)
    soft = numbers.dtype.kind == "u" and numbers.max(initial=0) >= half
    if soft and ((numbers != 0) & (numbers != numbers.max())).any():
        return numbers >= half
    return numbers != 0


def read_png(path: Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Read the numbers of a grey or palette PNG, [H, W].

    Its size is checked before it is decoded: it must be `shape`, where that is given.
    """
    try:
        # From memory: out of a file a damaged length is allocated before it is missed.
        with Image.open(io.BytesIO(read_bytes(path, MaskFolderError)), formats=("PNG",)) as picture:
            if picture.height * picture.width > MAX_PIXELS:
                raise MaskFolderError(f"{path} has more than {MAX_PIXELS} pixels", "size")
            if shape and (picture.height, picture.width) != shape:
                raise MaskFolderError(
                    f"{path} is {picture.width}x{picture.height}, its image {shape[1]}x{shape[0]}: "
                    "write the masks at the size of the images",
                    "size",
                )
            if picture.mode not in INDEX_MODES:
                raise MaskFolderError(
                    f"{path} has colours (mode {picture.mode}): a pixel must be a number, as in "
                    "grey or palette PNG files",
                    "colours",
                )
            numbers = np.asarray(picture)
            return numbers.astype(np.uint8) if numbers.dtype == bool else numbers
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        text = f"{path} cannot be read as PNG ({error}): write it again"
        raise MaskFolderError(text, "unreadable") from None
