"""Assigned ids for the masks of recordings, by association (savos_model.stream.associate)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from savos_model.backends.interface import Backend
from savos_model.config import AssociationConfig, StreamConfig
from savos_model.stream.stream import AmodalStream
from savos_model.stream.video import cropped_as_trained
from savos_model.types import Frame
from savos_ros.bags.reader import BagFrame


def associating(stream: StreamConfig) -> StreamConfig:
    """Return the settings of a stream that gives ids, by its own settings where it has some."""
    return dataclasses.replace(stream, associate=stream.associate or AssociationConfig())


def with_ids(
    frames: Iterable[Frame], backend: Backend, stream: StreamConfig | None = None
) -> Iterator[Frame]:
    """Yield frames with ids given by association, those they came with meaning nothing."""
    config = cropped_as_trained(associating(stream or StreamConfig()), backend.weights.info)
    loop = AmodalStream(backend, config)
    for frame in frames:
        loop.step(frame)
        yield loop.frame


def renamed(item: BagFrame, frame: Frame) -> BagFrame:
    """Return a frame of a bag under other ids, whole objects included."""
    if frame is item.frame:
        return item
    pairs = zip(item.frame.instances, frame.instances, strict=True)
    names = {old.id: new.id for old, new in pairs}
    truth = item.truth
    if truth is not None:  # what has no mask in this frame must not pass for what has one
        truth = [dataclasses.replace(t, id=names.get(t.id, f"unseen {t.id}")) for t in truth]
    return dataclasses.replace(item, frame=frame, truth=truth)
