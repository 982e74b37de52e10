"""Manage the tracks of one camera: external ID to recurrent state, from birth to expiry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from savos_model.config import TracksConfig
from savos_model.geometry import intersect, move
from savos_model.stream.prediction import Guess
from savos_model.types import AmodalObject, Box, Instance

# Training has no object with less of it visible. A smaller part has no information on the shape and
# would shrink the crop, so the previous shape is moved instead.
LEAST_VISIBLE_SHARE = 0.12


@dataclass
class TrackState:
    """State of one track.

    Attributes:
        h, c: float32 [D], recurrent state.
        instance: last visible mask, box: its crop box.
        motion: last base motion (x, y) [px per frame].
        guess: the last prediction, which moves while the track has no new observation.
        residual: float32 [2, h, w], predicted motion beyond the observed one of the pixels of
            `guess` (savos_model.stream.estimate.SameFrame).
        prior: values predicted for the last frame in `box`, None at birth
            (savos_model.stream.estimate.NextFrame).
        extent: box of the last amodal mask; it keeps the crop around the hidden part.
        whole: area of that mask [px].
        missing: frames since the last observation.
        age: observations since birth.
    """

    h: np.ndarray
    c: np.ndarray
    instance: Instance
    box: Box
    motion: tuple[float, float] = (0.0, 0.0)
    guess: Guess | None = None
    residual: np.ndarray | None = None
    prior: np.ndarray | None = None
    extent: Box | None = None
    whole: float = 0.0
    missing: int = 0
    age: int = 0

    def leaves(self, box: Box, size: tuple[int, int]) -> bool:
        """Return whether a box at the border of the image (rows, columns) moves out of it."""
        if self.guess is None:
            return False
        (x, y), (rows, cols) = self.guess.mean_motion, size
        across = (box.x0 <= 0 and x < 0) or (box.x1 >= cols and x > 0)
        return across or (box.y0 <= 0 and y < 0) or (box.y1 >= rows and y > 0)

    def hold(self) -> None:
        """Extrapolate the state after a frame without an observation."""
        if self.guess is None or self.extent is None:
            return
        self.guess.held += 1
        self.extent = move(self.extent, *self.guess.mean_motion)


class TrackTable:
    """Live tracks by external ID; IDs are never renumbered."""

    def __init__(self, config: TracksConfig, hidden: int) -> None:
        self.config, self.hidden = config, hidden
        self.states: dict[str, TrackState] = {}

    def __len__(self) -> int:
        return len(self.states)

    def get(self, track_id: str) -> TrackState | None:
        """Return the state of a track, None if unknown."""
        return self.states.get(track_id)

    def observed_last(self) -> Iterator[tuple[str, TrackState]]:
        """Return the tracks with a mask in the last frame, in order of birth."""
        return ((i, s) for i, s in self.states.items() if s.missing == 0)

    def observe(
        self, instance: Instance, box: Box, done: AmodalObject, kept: Mapping[str, object]
    ) -> None:
        """Store this frame's mask of a track and the published object; new IDs have zero state.

        `kept`: attributes of the state to update from the estimate.
        """
        state = self.states.get(instance.id)
        if state is None:
            zeros = np.zeros(self.hidden, np.float32)
            state = self.states[instance.id] = TrackState(zeros, zeros, instance, box, age=-1)
        state.instance, state.box = instance, box
        for name, value in kept.items():
            setattr(state, name, value)
        state.extent = done.extent or done.box
        state.whole = area(instance) / (1 - done.occlusion)
        state.missing = 0
        state.age += 1

    def forget(self, track_id: str) -> None:
        """End one track."""
        self.states.pop(track_id, None)

    def clear(self) -> None:
        """End all tracks."""
        self.states.clear()

    def choose(
        self, instances: list[Instance], size: tuple[int, int]
    ) -> tuple[set[str], dict[str, int]]:
        """Return the IDs to complete in an image (rows, columns); the number of others by reason.

        Live tracks come first, then the largest; `max_tracks` bounds the work of a frame.
        """
        large = [i for i in instances if area(i) >= self.config.min_mask_px]
        shown = [i for i in large if self.shows_shape(i, size)]
        skipped = {
            "below min_mask_px": len(instances) - len(large),
            "almost all hidden": len(large) - len(shown),
        }
        large = shown
        large.sort(key=lambda i: (i.id not in self.states, -i.box.width * i.box.height))
        skipped["over max_tracks"] = max(0, len(large) - self.config.max_tracks)
        chosen = {i.id for i in large[: self.config.max_tracks]}
        return chosen, {reason: n for reason, n in skipped.items() if n}

    def shows_shape(self, item: Instance, size: tuple[int, int]) -> bool:
        """Return whether enough of a known object is visible to show its shape.

        An object that leaves the image (rows, columns) loses area, too, but nothing hides it: its
        previous shape would stay in the image.
        """
        state = self.states.get(item.id)
        if state is None or jumped(state, item):
            return True
        return area(item) >= LEAST_VISIBLE_SHARE * state.whole or state.leaves(item.box, size)

    def expire(self, observed: set[str], present: set[str]) -> None:
        """Age tracks without a mask in this frame; end those past `coast_frames`.

        A mask that is too small to be observed still proves that the object exists.
        """
        for track_id in [i for i in self.states if i not in observed]:
            state = self.states[track_id]
            state.missing = max(1, state.missing) if track_id in present else state.missing + 1
            if state.missing > self.config.coast_frames:
                del self.states[track_id]


def area(instance: Instance) -> int:
    """Return the number of visible pixels."""
    return int(np.count_nonzero(instance.mask))


def jumped(state: TrackState, item: Instance) -> bool:
    """Return whether an ID jumped: its mask does not touch its old crop box, moved."""
    last = move(state.guess.box, *state.guess.drift) if state.guess else state.box
    expected = move(last, *state.motion)
    return intersect(expected, item.box) is None
