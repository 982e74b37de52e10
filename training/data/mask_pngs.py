"""Read tracked masks from PNG files: label images, or a folder per object."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from savos_model.instances import from_label_image
from savos_model.types import Instance
from training.boxed import from_image
from training.data.kitti_mots import IGNORE_ID
from training.data.mask_common import MaskFolderError, Read, by_name
from training.data.outside import read_bytes

ALONE = "frame without a mask file"
IGNORED = f"region to be ignored (pixel {IGNORE_ID})"
INDEX_MODES = ("1", "L", "P", "I;16", "I;16B", "I")  # one number a pixel; a palette is not applied


def label_images(folder: Path, names: Sequence[str], skipped: Counter[str]) -> Read:
    """Read a PNG of ids per image; arguments of open_masks."""
    files = by_name(folder.glob("*.png"), names, folder)

    def read(name: str, shape: tuple[int, int]) -> list[Instance]:
        if name not in files:
            skipped[ALONE] += 1
            return []
        found = from_label_image(read_png(files[name], shape))
        kept = [item for item in found if item.id != IGNORE_ID]
        skipped[IGNORED] += len(found) - len(kept)
        return kept

    return read


def object_folders(folder: Path, names: Sequence[str], skipped: Counter[str]) -> Read:
    """Read a folder of PNG files per object; arguments of open_masks."""
    objects = {
        sub.name: by_name(sub.glob("*.png"), names, sub)
        for sub in sorted(folder.iterdir())
        if sub.is_dir()
    }
    if not objects:
        raise MaskFolderError(f"{folder} has no folders: one per object, named by its id, is due")

    def read(name: str, shape: tuple[int, int]) -> list[Instance]:
        files = {track: of[name] for track, of in objects.items() if name in of}
        skipped[ALONE] += not files
        masks = {track: from_image(read_png(path, shape) != 0) for track, path in files.items()}
        return [
            Instance(track, found.box, found.mask.astype(np.uint8))
            for track, found in masks.items()
            if found.mask.size
        ]

    return read


def read_png(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Numbers of a grey or palette PNG, [H, W]; its size is checked before it is decoded."""
    try:
        # From memory: out of a file a damaged length is allocated before it is missed.
        with Image.open(io.BytesIO(read_bytes(path, MaskFolderError)), formats=("PNG",)) as picture:
            if (picture.height, picture.width) != shape:
                raise MaskFolderError(
                    f"{path} is {picture.width}x{picture.height}, its image {shape[1]}x{shape[0]}: "
                    "write the masks at the size of the images"
                )
            if picture.mode not in INDEX_MODES:
                raise MaskFolderError(
                    f"{path} has colours (mode {picture.mode}): a pixel must be a number, as in "
                    "grey or palette PNG files"
                )
            numbers = np.asarray(picture)
            return numbers.astype(np.uint8) if numbers.dtype == bool else numbers
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise MaskFolderError(f"{path} cannot be read as PNG ({error}): write it again") from None
