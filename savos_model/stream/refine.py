"""Run recorded frames backwards and merge both directions by alpha (eq. 8).

Over the last frames this is a fixed-lag smoother, over a whole video the paper's offline mode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from savos_model.backends.interface import Backend
from savos_model.config import ComposeConfig, RefineConfig, StreamConfig
from savos_model.network.layers import ALPHA_SCALE
from savos_model.stream.backward import Backwards, linked, make_backward
from savos_model.stream.compose import compose
from savos_model.stream.flow import make_flow
from savos_model.stream.order import doubted
from savos_model.stream.prediction import calibrated
from savos_model.stream.record import Observed, Record
from savos_model.types import AmodalObject, Source


class Refined(NamedTuple):
    """A frame's objects after the bidirectional pass, in the order of publication."""

    stamp_ns: int
    objects: list[AmodalObject]


class WindowRefiner:
    """Refines the records of one stream, each frame exactly once and in order.

    Args:
        backend: an engine with the weights of the stream.
        stream: settings of the stream.
        config: window and stride.
        pause: called before each unit of work; an exception ends the pass, which may be
            repeated.
    """

    def __init__(
        self,
        backend: Backend,
        stream: StreamConfig,
        config: RefineConfig,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self.config, self.pause = config, pause
        self.compose_config = stream.compose
        self.backward = make_backward(backend, make_flow(stream.flow.method), pause)
        self.records: deque[Record] = deque()
        self.inputs: deque[dict[str, Backwards]] = deque()  # of each record, as far as computed

    @property
    def backend(self) -> Backend:
        """Return the engine of the next pass; a new one must have the same preset."""
        return self.backward.backend

    @backend.setter
    def backend(self, backend: Backend) -> None:
        self.backward.backend = backend

    def set_compose(self, config: ComposeConfig) -> None:
        """Replace the live settings, between two passes."""
        self.compose_config = config

    def feed(self, record: Record, fresh: bool) -> Iterator[Refined]:
        """Add the record of the next frame; yield the frames that are refined now.

        `fresh`: the tracks restarted with this frame, so later frames cannot refine earlier ones.
        """
        if fresh:
            yield from self.flush()
        self.push(record)
        if self.due:
            yield from self.refine()

    def push(self, record: Record) -> None:
        """Add the record of the next frame."""
        self.records.append(record)
        self.inputs.append({})

    @property
    def due(self) -> bool:
        """Return whether a pass should run now."""
        return len(self.records) >= self.config.window

    def refine(self) -> list[Refined]:
        """Run a pass over the window; return and remove its oldest frames."""
        return self.give_out(self.config.stride)

    def flush(self) -> list[Refined]:
        """Run the last pass of a video; return all remaining frames."""
        return self.give_out(len(self.records))

    def needy(self, count: int) -> list[str]:
        """Return IDs of the tracks that a pass can refine in the oldest `count` frames by need."""
        need: dict[str, float] = {}
        for before, record in islice(pairwise(self.records), count):
            for name in linked(record):
                need[name] = max(need.get(name, 0.0), before.tracks[name].need)
        return sorted(need, key=lambda name: -need[name])

    def give_out(self, count: int, names: Collection[str] | None = None) -> list[Refined]:
        """Return the oldest `count` frames with the tracks of `names` (None: all) refined.

        All other objects are those that were published.
        """
        names = self.needy(count) if names is None else names
        backward = self.backward.run(self.records, self.inputs, names)
        done = [
            self.compose_frame(record, estimates)
            for record, estimates in islice(zip(self.records, backward, strict=True), count)
        ]
        for _ in done:
            self.records.popleft()
            self.inputs.popleft()
        return done

    def compose_frame(self, record: Record, backward: dict[str, np.ndarray]) -> Refined:
        """Return refined objects if a backward estimate exists, otherwise the published ones."""
        better = {
            name: self.compose_track(record, record.tracks[name], values)
            for name, values in backward.items()
        }
        objects = [better.get(item.id, item) for item in record.objects]
        return Refined(record.seen.frame.stamp_ns, objects)

    def compose_track(self, record: Record, item: Observed, backward: np.ndarray) -> AmodalObject:
        """Return one object of the merged prediction."""
        chance = calibrated(merge(item.forward, backward), self.backend.weights.temperature)
        chance = doubted(chance, item.factor)
        count, motion = record.seen.count, item.object.motion
        config = self.compose_config.suited(record.unfamiliar)
        self.pause()
        return compose(item.instance, chance, item.box, count, motion, config, Source.REFINED)


def merge(forward: np.ndarray | None, backward: np.ndarray) -> np.ndarray:
    """Return the probability [h, w] of both directions' values [h, w, 2], merged by eq. 8.

    Without a forward prediction, as in a track's first frame, it is the backward one.
    """
    if forward is None:
        return backward[..., 0]
    share = forward_share(forward, backward)
    return share * forward[..., 0] + (1 - share) * backward[..., 0]


def forward_share(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return the weight of the forward direction in eq. 8, float32 [h, w], 0..1."""
    return expit(ALPHA_SCALE * (forward[..., 1] - backward[..., 1]))
