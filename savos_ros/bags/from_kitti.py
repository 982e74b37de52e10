"""Makes bags from KITTI sequences and drives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from savos_ros.bags.recording import Recorded, RecordOptions, SourceFrame, record
from savos_ros.bags.types import BagError
from training.data.kitti_mots import KittiClip, KittiError, is_raw, open_raw, open_tracking
from training.data.kitti_time import TimestampError

JPEG_ENDINGS = (".jpg", ".jpeg")


def kitti_to_bag(
    root: Path,
    path: Path,
    options: RecordOptions,
    *,
    sequence: str = "",
    masks: str = "",
    mask_path: Path | None = None,
    timestamps: Path | None = None,
) -> Recorded:
    """Write one sequence (tracking layout) or one drive (raw layout) as a bag.

    Args:
        root: folder with training/image_02, or a drive with image_02/data.
        path: folder of the bag.
        options: how to record; without masks the mask topic is left out.
        sequence: four-digit name; needed in the tracking layout only.
        masks: "txt", "png", "tracker" or "none"; "" is txt, or none for a drive without masks.
        mask_path: file or folder of the masks, when it is not at its usual place.
        timestamps: file of times; without it those of a raw drive, or 10 Hz where it has none, as
            the tracking layout.

    Raises:
        BagError: something is missing or broken; nothing is left behind.
    """
    if not masks:
        masks = "none" if is_raw(root) and mask_path is None else "txt"
    try:
        clip = open_kitti(root, sequence, masks, mask_path, timestamps)
        if masks == "none":
            options = dataclasses.replace(options, form="")
        return record(_frames(clip), len(clip.frames), path, options)
    except (KittiError, TimestampError) as error:
        raise BagError(str(error), getattr(error, "kind", "times")) from None


def open_kitti(
    root: Path, sequence: str, masks: str, mask_path: Path | None, timestamps: Path | None
) -> KittiClip:
    """Open whichever of the two layouts lies at `root`; arguments as in kitti_to_bag."""
    if is_raw(root):
        if sequence:
            raise BagError(
                f"{root} is a raw drive, which has no sequences: leave --sequence out", "option"
            )
        return open_raw(root, masks, mask_path, timestamps)
    if not sequence:
        raise BagError(
            f"--sequence is needed: {root} holds {', '.join(sequences(root)) or 'none'}", "option"
        )
    return open_tracking(root, sequence, masks, mask_path, timestamps)


def sequences(root: Path) -> list[str]:
    """List the sequences of the tracking layout that have images."""
    base = root / "training" if (root / "training").is_dir() else root
    return sorted(folder.name for folder in base.glob("image_02/*") if folder.is_dir())


def _frames(clip: KittiClip) -> Iterator[SourceFrame]:
    for number in clip.frames:
        image, file = clip.image(number), clip.images[number]
        shape = image.shape[:2]
        yield SourceFrame(
            clip.stamp_ns(number),
            image,
            clip.instances(number, shape),
            clip.ignored(number, shape),
            jpeg=file.read_bytes() if file.suffix in JPEG_ENDINGS else None,
        )
