"""Makes bags from FISHBOWL clips, with the whole objects as truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from savos_ros.bags.recording import START_NS, Recorded, RecordOptions, SourceFrame, record
from savos_ros.bags.types import BagError
from training.data.fishbowl import FishbowlClip, FishbowlError


def fishbowl_to_bag(clip_path: Path, path: Path, options: RecordOptions) -> Recorded:
    """Write one clip as a bag.

    Fish are numbered from 0, which a label image cannot hold, so masks are always written as
    instance_masks; the truth topic is always there.

    Args:
        clip_path: either file of the clip, or their common path without ending.
        path: folder of the bag.
        options: how to record; `form` and `truth` are set here.

    Raises:
        BagError: the clip is incomplete or broken; nothing is left behind.
    """
    options = dataclasses.replace(options, form="instance_masks", truth=True)
    try:
        clip = FishbowlClip(clip_path)
        return record(_frames(clip), clip.num_frames, path, options)
    except FishbowlError as error:
        raise BagError(str(error), "fishbowl") from None


def _frames(clip: FishbowlClip) -> Iterator[SourceFrame]:
    for number, image in enumerate(clip.frames()):
        yield SourceFrame(
            START_NS + clip.stamp_ns(number),
            image,
            clip.instances(number),
            truth=clip.truth(number),
        )
