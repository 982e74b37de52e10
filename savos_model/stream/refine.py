"""The bi-directional pass: recorded frames run backwards, both directions merged by alpha (eq. 8).

Over a few of the last frames it is a fixed-lag smoother, over a whole video the paper's offline
mode: one implementation for both.
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
    """A frame's objects after the bi-directional pass, in the order they were published in."""

    stamp_ns: int
    objects: list[AmodalObject]


class WindowRefiner:
    """Refines the records of one stream, each frame exactly once and in order.

    Args:
        backend: an engine with the weights of the stream.
        stream: settings of the stream.
        config: window and stride.
        pause: called before each piece of work; what it raises ends the pass, which may then be
            run again.
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
        self.inputs: deque[dict[str, Backwards]] = deque()  # of each record, as far as worked out

    @property
    def backend(self) -> Backend:
        """The engine of the next pass; another one has weights of the same preset."""
        return self.backward.backend

    @backend.setter
    def backend(self, backend: Backend) -> None:
        self.backward.backend = backend

    def set_compose(self, config: ComposeConfig) -> None:
        """Replace the live settings, between two passes."""
        self.compose_config = config

    def feed(self, record: Record, fresh: bool) -> Iterator[Refined]:
        """Take the record of the next frame; yields what is refined by now.

        `fresh` says that the tracks started anew with this frame: the frames before it get no more
        from later ones.
        """
        if fresh:
            yield from self.flush()
        self.push(record)
        if self.due:
            yield from self.refine()

    def push(self, record: Record) -> None:
        """Take the record of the next frame."""
        self.records.append(record)
        self.inputs.append({})

    @property
    def due(self) -> bool:
        """Whether a pass should run now."""
        return len(self.records) >= self.config.window

    def refine(self) -> list[Refined]:
        """One pass over the window; gives its oldest frames out and forgets them."""
        return self.give_out(self.config.stride)

    def flush(self) -> list[Refined]:
        """The last pass, at the end of a video: gives all remaining frames out."""
        return self.give_out(len(self.records))

    def needy(self, count: int) -> list[str]:
        """Ids of the tracks that a pass can refine in the oldest `count` frames, neediest first."""
        need: dict[str, float] = {}
        for before, record in islice(pairwise(self.records), count):
            for name in linked(record):
                need[name] = max(need.get(name, 0.0), before.tracks[name].need)
        return sorted(need, key=lambda name: -need[name])

    def give_out(self, count: int, names: Collection[str] | None = None) -> list[Refined]:
        """Give the oldest `count` frames out, the tracks of `names` (None: all) refined in them.

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
        """Refined objects where a backward estimate exists, the published ones elsewhere."""
        better = {
            name: self.compose_track(record, record.tracks[name], values)
            for name, values in backward.items()
        }
        objects = [better.get(item.id, item) for item in record.objects]
        return Refined(record.seen.frame.stamp_ns, objects)

    def compose_track(self, record: Record, item: Observed, backward: np.ndarray) -> AmodalObject:
        """One object of the merged prediction."""
        chance = calibrated(merge(item.forward, backward), self.backend.weights.temperature)
        chance = doubted(chance, item.factor)
        count, motion = record.seen.count, item.object.motion
        self.pause()
        return compose(
            item.instance, chance, item.box, count, motion, self.compose_config, Source.REFINED
        )


def merge(forward: np.ndarray | None, backward: np.ndarray) -> np.ndarray:
    """Eq. 8: probability [h, w] of both directions' values [h, w, 2], shared by softmax of alpha.

    Without a forward prediction, as in a track's first frame, the backward one stands alone.
    """
    if forward is None:
        return backward[..., 0]
    share = forward_share(forward, backward)
    return share * forward[..., 0] + (1 - share) * backward[..., 0]


def forward_share(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Weight of the forward direction in eq. 8, float32 [h, w], 0..1."""
    return expit(ALPHA_SCALE * (forward[..., 1] - backward[..., 1]))
