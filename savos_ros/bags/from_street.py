"""Makes bags from the generator of street scenes, with the whole objects as truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from savos_model.types import Instance
from savos_ros.bags.recording import START_NS, Recorded, RecordOptions, SourceFrame, record
from training.street.config import StreetConfig, StreetFrame
from training.street.generate import generate


def street_to_bag(config: StreetConfig, path: Path, options: RecordOptions) -> Recorded:
    """Generate a clip and write it as a bag.

    Args:
        config: of the generator; the same one gives the same bag.
        path: folder of the bag.
        options: how to record; the truth topic is always there.

    Raises:
        BagError: the place is taken.
    """
    options = dataclasses.replace(options, truth=True)
    return record(map(_source_frame, generate(config)), config.frames, path, options)


def _source_frame(frame: StreetFrame) -> SourceFrame:
    return SourceFrame(
        START_NS + frame.stamp_ns,
        frame.image,
        list(_instances(frame, "tracked")),
        truth=list(_instances(frame, "full")),
    )


def _instances(frame: StreetFrame, kind: str) -> Iterator[Instance]:
    for item in reversed(frame.objects):  # from far to near: in a label image near ones cover
        boxed = getattr(item, kind)
        if boxed is not None:
            box, mask = boxed
            yield Instance(str(item.id), box, mask, str(item.class_id))
