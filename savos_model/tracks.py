"""The tracks of one camera: outside id to recurrent state, from birth over coasting to expiry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from savos_model.config import TracksConfig
from savos_model.guess import Guess
from savos_model.types import Box, Instance


@dataclass
class TrackState:
    """Everything remembered of one track.

    Attributes:
        h, c: float32 [D], recurrent state.
        instance: last visible mask, box: its crop box.
        motion: last base motion (x, y) [px per frame].
        prior: values predicted for the last frame in `box`, None at birth.
        guess: prediction held while the track has no new observation.
        extent: box of the last published amodal mask; it keeps the crop around the hidden part.
        missing: frames since the last observation.
        age: observations since birth.
    """

    h: np.ndarray
    c: np.ndarray
    instance: Instance
    box: Box
    motion: tuple[float, float] = (0.0, 0.0)
    prior: np.ndarray | None = None
    guess: Guess | None = None
    extent: Box | None = None
    missing: int = 0
    age: int = 0


class TrackTable:
    """Live tracks by outside id; ids are never renumbered."""

    def __init__(self, config: TracksConfig, hidden: int) -> None:
        self.config, self.hidden = config, hidden
        self.states: dict[str, TrackState] = {}

    def __len__(self) -> int:
        return len(self.states)

    def get(self, track_id: str) -> TrackState | None:
        """State of a track, None when unknown."""
        return self.states.get(track_id)

    def observed_last(self) -> Iterator[tuple[str, TrackState]]:
        """Tracks that had a mask in the last frame, in order of birth."""
        return ((i, s) for i, s in self.states.items() if s.missing == 0)

    def observe(self, instance: Instance, box: Box, extent: Box, prior: np.ndarray | None) -> None:
        """Store this frame's mask of a track; a new id is born with zero state."""
        state = self.states.get(instance.id)
        if state is None:
            zeros = np.zeros(self.hidden, np.float32)
            self.states[instance.id] = TrackState(zeros, zeros, instance, box, extent=extent)
            return
        state.instance, state.box, state.extent, state.prior = instance, box, extent, prior
        state.missing, state.guess = 0, None
        state.age += 1

    def forget(self, track_id: str) -> None:
        """End one track."""
        self.states.pop(track_id, None)

    def clear(self) -> None:
        """End all tracks."""
        self.states.clear()

    def choose(self, instances: list[Instance]) -> tuple[set[str], dict[str, int]]:
        """Ids that are completed this frame, and how many are not, by reason.

        Live tracks come first, then the largest; `max_tracks` bounds the work of a frame.
        """
        large = [i for i in instances if int(np.count_nonzero(i.mask)) >= self.config.min_mask_px]
        skipped = {"below min_mask_px": len(instances) - len(large)}
        large.sort(key=lambda i: (i.id not in self.states, -i.box.width * i.box.height))
        skipped["over max_tracks"] = max(0, len(large) - self.config.max_tracks)
        chosen = {i.id for i in large[: self.config.max_tracks]}
        return chosen, {reason: n for reason, n in skipped.items() if n}

    def expire(self, observed: set[str]) -> None:
        """Age tracks without a mask in this frame; end those past `coast_frames`."""
        for track_id in [i for i in self.states if i not in observed]:
            state = self.states[track_id]
            state.missing += 1
            if state.missing > self.config.coast_frames:
                del self.states[track_id]
