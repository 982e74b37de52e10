"""Make bags from KITTI, FISHBOWL, generated streets, and folders of images with masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import tee
from pathlib import Path

from savos_model.backends.interface import Backend
from savos_model.types import Instance
from savos_ros.bags.ids import with_ids
from savos_ros.bags.recording import START_NS, Recorded, SourceFrame, record
from savos_ros.bags.settings import BagError, KittiSource, MaskSource, RecordOptions
from savos_ros.bags.storage import natural
from training.data.fishbowl import FishbowlClip
from training.data.kitti_mots import KittiClip, is_raw, open_raw, open_tracking
from training.data.masks.folders import MaskFolder, open_masks
from training.data.outside import read_bytes, read_picture, shown
from training.street.generate import StreetConfig, StreetFrame, generate

JPEG = (".jpg", ".jpeg")
ENDINGS = (*JPEG, ".png")
STEP_NS = 100_000_000  # between frames that association follows: a gap would forget the tracks


def kitti_to_bag(source: KittiSource, path: Path, options: RecordOptions) -> Recorded:
    """Write one sequence (tracking layout) or one drive (raw layout) as a bag.

    Raises FileError: something is missing or broken; nothing is left behind.
    """
    root, masks = source.root, source.masks
    if not masks:
        masks = "none" if is_raw(root) and source.mask_path is None else "txt"
    options = options.resolved("instance_masks" if masks == "tracker" else "label_image")
    if masks == "none":
        options = dataclasses.replace(options, form="")
    clip = _open_kitti(source, masks)
    return record(_kitti_frames(clip), len(clip.frames), path, options)


def _open_kitti(source: KittiSource, masks: str) -> KittiClip:
    """Open whichever of the two layouts is there."""
    root, sequence = source.root, source.sequence
    files = (masks, source.mask_path, source.timestamps)
    if is_raw(root):
        if sequence:
            raise BagError(
                f"{root} is a raw drive, which has no sequences: leave --sequence out", "option"
            )
        return open_raw(root, *files)
    if not sequence:
        base = root / "training" if (root / "training").is_dir() else root
        found = sorted(folder.name for folder in base.glob("image_02/*") if folder.is_dir())
        raise BagError(f"--sequence is needed: {root} holds {', '.join(found) or 'none'}", "option")
    return open_tracking(root, sequence, *files)


def _kitti_frames(clip: KittiClip) -> Iterator[SourceFrame]:
    for number in clip.frames:
        image, file = clip.image(number), clip.images[number]
        shape = image.shape[:2]
        yield SourceFrame(
            clip.stamp_ns(number),
            image,
            clip.instances(number, shape),
            ignored=clip.ignored(number, shape),
            jpeg=file.read_bytes() if file.suffix in JPEG else None,
        )


def fishbowl_to_bag(clip_path: Path, path: Path, options: RecordOptions) -> Recorded:
    """Write one FISHBOWL clip (either file, or their common path) as a bag, with the truth.

    Fish are numbered from 0, which a label image cannot hold: masks are written as instance_masks.
    Raises FileError: the clip is incomplete or broken; nothing is left behind.
    """
    options = dataclasses.replace(options, form="instance_masks", truth=True)
    clip = FishbowlClip(clip_path)
    frames = (
        SourceFrame(START_NS + clip.stamp_ns(n), image, clip.instances(n), truth=clip.truth(n))
        for n, image in enumerate(clip.frames())
    )
    return record(frames, clip.num_frames, path, options)


def street_to_bag(config: StreetConfig, path: Path, options: RecordOptions) -> Recorded:
    """Write a generated street as a bag with its truth; raises BagError: the place is taken."""
    options = options.resolved("label_image", truth=True)
    return record(map(street_frame, generate(config)), config.frames, path, options)


def street_frame(frame: StreetFrame) -> SourceFrame:
    """Return a generated frame with the masks of its tracker and its whole objects."""
    tracked, full = (list(_street_masks(frame, kind)) for kind in ("tracked", "full"))
    return SourceFrame(START_NS + frame.stamp_ns, frame.image, tracked, truth=full)


def with_largest(frame: StreetFrame, tracks: int) -> StreetFrame:
    """Return a frame with the objects alone that have the `tracks` largest masks."""
    areas = {i.id: int(i.tracked[1].sum()) for i in frame.objects if i.tracked is not None}
    kept = sorted(areas, key=lambda name: -areas[name])[:tracks]
    return dataclasses.replace(frame, objects=[i for i in frame.objects if i.id in kept])


def _street_masks(frame: StreetFrame, kind: str) -> Iterator[Instance]:
    for item in reversed(frame.objects):  # from far to near: in a label image near ones cover
        boxed = getattr(item, kind)
        if boxed is not None:
            box, mask = boxed
            yield Instance(str(item.id), box, mask, str(item.class_id))


def masks_to_bag(
    source: MaskSource, path: Path, options: RecordOptions, backend: Backend | None = None
) -> tuple[Recorded, MaskFolder]:
    """Write the images of a folder and their masks as a bag.

    With a backend, the masks get ids by the whole objects that it predicts; else they keep theirs.
    The returned folder of masks reports what it left out. Raises FileError: something is missing or
    broken; nothing is left behind.
    """
    options = options.resolved("instance_masks")
    files = _image_files(source.images)
    masks = open_masks(source.masks, [file.stem for file in files], source.form, backend is None)
    frames = _file_frames(files, masks, source.rate_hz)
    if backend is not None:
        frames = _tracked(frames, backend)
    return record(frames, len(files), path, options), masks


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BagError(f"{folder} is not a folder: give the folder of the images", "missing")
    files = [file for file in shown(folder.iterdir()) if file.suffix.lower() in ENDINGS]
    if not files:
        raise BagError(f"{folder} holds no image: files {', '.join(ENDINGS)} are needed", "missing")
    twice = len(files) - len({file.stem for file in files})
    if twice:
        raise BagError(
            f"{folder}: {twice} images share their name with another: keep one of each", "names"
        )
    return sorted(files, key=lambda file: natural(file.stem))


def _file_frames(files: list[Path], masks: MaskFolder, rate_hz: float) -> Iterator[SourceFrame]:
    for index, file in enumerate(files):
        image = read_picture(file, BagError)
        instances = masks.instances(file.stem, image.shape[:2])
        stamp = START_NS + round(index * 1e9 / rate_hz)
        jpeg = read_bytes(file, BagError) if file.suffix.lower() in JPEG else None
        yield SourceFrame(stamp, image, instances, jpeg=jpeg)


def _tracked(frames: Iterator[SourceFrame], backend: Backend) -> Iterator[SourceFrame]:
    """Yield the frames with ids by association, one frame after the other whatever their rate."""
    kept, given = tee(frames)
    plain = (dataclasses.replace(one, stamp_ns=n * STEP_NS) for n, one in enumerate(given))
    for one, named in zip(kept, with_ids(plain, backend), strict=True):
        yield dataclasses.replace(one, instances=named.instances)
