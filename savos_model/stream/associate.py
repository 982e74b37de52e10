"""Assign track IDs to masks without IDs, using the predicted amodal mask of each track."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from savos_model.config import AssociationConfig
from savos_model.geometry import intersect, mask_box, move, paste, window
from savos_model.stream.tracks import TrackState, area
from savos_model.types import Box, Instance

INSIDE = 0.5  # probability from which a pixel belongs to an expected amodal mask
NEAREST = 8  # tracks compared with a mask; bounds the work in a crowded frame
NEAR_WEIGHT = 0.3  # for masks without overlap: small objects move farther
NEVER = -1.0  # score of a pair that cannot be


@dataclass
class Known:
    """State of an ID.

    Attributes:
        last: last visible mask.
        motion: motion of the object (x, y) [px per frame].
        whole: last predicted amodal mask, float32 [h, w], which fills `box`; None before the
            first one.
        box: where it is expected in the frame to come [px].
        missing: frames since the last mask.
    """

    last: Instance
    motion: tuple[float, float] = (0.0, 0.0)
    whole: np.ndarray | None = None
    box: Box | None = None
    missing: int = 0

    def learn(self, state: TrackState | None) -> None:
        """Update from the stream's state after the last frame; without one, extrapolate."""
        if state is not None and state.guess is not None:
            guess = state.guess
            steps = (d + v for d, v in zip(guess.drift, guess.mean_motion, strict=True))
            self.whole, self.box = guess.probability, move(guess.box, *steps)
            self.motion = guess.mean_motion if self.missing else state.motion
        elif state is not None and state.prior is not None:
            self.whole, self.box = state.prior[..., 0], move(state.box, *state.motion)
            self.motion = state.motion
        elif self.box is not None:
            self.box = move(self.box, *self.motion)

    def seen(self, item: Instance) -> None:
        """Set this frame's mask; measure its motion if the stream does not."""
        passed = self.missing + 1
        before, now = centre(self.last.box), centre(item.box)
        self.motion = (now[0] - before[0]) / passed, (now[1] - before[1]) / passed
        self.last, self.missing = item, 0

    def visible(self) -> Region:
        """Return where the last visible mask would be in the frame to come."""
        steps = self.missing + 1
        box = move(self.last.box, round(steps * self.motion[0]), round(steps * self.motion[1]))
        return Region(box, self.last.mask, area(self.last))

    def expected(self, shape: tuple[int, int]) -> Region | None:
        """Return where the amodal mask is expected in an image; None if it is unknown."""
        if self.whole is None or self.box is None:
            return None
        left, top = round(self.box.x0), round(self.box.y0)
        box = Box(left, top, left + round(self.box.width), top + round(self.box.height))
        inside = intersect(box, Box(0, 0, shape[1], shape[0]))
        if inside is None:
            return None
        mask = (paste(self.whole, box, inside) >= INSIDE).view(np.uint8)
        tight = mask_box(mask)
        if tight is None:
            return None
        mask = window(mask, tight)
        return Region(move(tight, inside.x0, inside.y0), mask, int(np.count_nonzero(mask)))


@dataclass(frozen=True)
class Region:
    """Pixels of an object, uint8 [box.height, box.width], 0 or 1, in an integer box; their area."""

    box: Box
    mask: np.ndarray
    area: int

    def common(self, other: Region) -> int:
        """Return the number of pixels that both have."""
        view = intersect(self.box, other.box)
        if view is None:
            return 0
        parts = [window(r.mask, move(view, -r.box.x0, -r.box.y0)) for r in (self, other)]
        return int(np.count_nonzero(parts[0] & parts[1]))

    def closeness(self, other: Region, reach: float) -> float:
        """Return 1 for an object of the same place and area, 0 for one `reach` diagonals away."""
        here, there = centre(self.box), centre(other.box)
        far = math.dist(here, there) / math.hypot(other.box.width, other.box.height)
        alike = min(self.area, other.area) / max(self.area, other.area)
        return max(0.0, 1 - far / reach) * alike if reach else 0.0


def iou(a: Region, b: Region, common: int) -> float:
    """Return the IoU of two regions with `common` pixels in common."""
    return common / max(1, a.area + b.area - common)


class Associator:
    """Assigns IDs to the masks of one camera, frame by frame.

    A mask is compared with the expected appearance of each track in its frame: the last visible
    mask and the predicted amodal mask, both moved by the track's motion. An object that reappears
    from behind an occluder, on any side, thus keeps its ID.
    """

    def __init__(self, config: AssociationConfig | None = None) -> None:
        self.config = config or AssociationConfig()
        self.known: dict[str, Known] = {}
        self.given = 0

    def reset(self) -> None:
        """Delete all tracks; their IDs are not reused."""
        self.known.clear()

    def assign(
        self,
        instances: Sequence[Instance],
        states: Mapping[str, TrackState],
        shape: tuple[int, int],
    ) -> list[Instance]:
        """Return the instances with assigned IDs.

        Args:
            instances: visible masks of the frame; their IDs are ignored.
            states: live tracks of the stream by ID after the last frame.
            shape: image rows and columns.
        """
        for track_id, known in self.known.items():
            known.learn(states.get(track_id))
        names = list(self.known)
        sure, likely = self.scores(instances, [self.known[name] for name in names], shape)
        chosen = matched(sure, self.config.sure)
        likely[list(chosen)] = NEVER
        likely[:, list(chosen.values())] = NEVER
        chosen |= matched(likely, self.config.least)
        result = [
            dataclasses.replace(item, id=names[chosen[row]] if row in chosen else self.new_id())
            for row, item in enumerate(instances)
        ]
        self.remember(result)
        return result

    def scores(
        self, instances: Sequence[Instance], tracks: Sequence[Known], shape: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compare every mask with the tracks near it.

        Returns two arrays float [instances, tracks], 0..1 or NEVER: IoU, and the score that also
        counts a mask inside the expected object, and one that is near it.
        """
        sure = np.full((len(instances), len(tracks)), NEVER)
        likely = sure.copy()
        if not sure.size:
            return sure, likely
        seen = [known.visible() for known in tracks]
        wholes = seen
        if self.config.masks == "amodal":
            pairs = zip(tracks, seen, strict=True)
            wholes = [known.expected(shape) or last for known, last in pairs]
        near = self.near(instances, tracks, wholes)
        for row, item in enumerate(instances):
            own = Region(item.box, item.mask, area(item))
            for column in near[row]:
                last, whole = seen[column], wholes[column]
                common = own.common(whole)
                sure[row, column] = max(iou(own, whole, common), iou(own, last, own.common(last)))
                inside = self.config.inside_weight * common / max(1, own.area)
                fresh = tracks[column].missing <= 1
                close = NEAR_WEIGHT * own.closeness(last, self.config.reach) if fresh else 0.0
                likely[row, column] = max(sure[row, column], inside, close)
        return sure, likely

    def near(
        self, instances: Sequence[Instance], tracks: Sequence[Known], wholes: Sequence[Region]
    ) -> list[np.ndarray]:
        """Return by mask the tracks that it may belong to, by class and distance, nearest first."""
        centres = np.array([centre(item.box) for item in instances])
        expected = np.array([centre(region.box) for region in wholes])
        sizes = np.array([math.hypot(r.box.width, r.box.height) for r in wholes])
        far = np.linalg.norm(centres[:, None] - expected[None], axis=2) / sizes
        classes = np.array([item.class_id for item in instances])[:, None]
        theirs = np.array([known.last.class_id for known in tracks])[None]
        apart = (classes != theirs) & (classes != "") & (theirs != "")
        far[apart | (far > self.config.reach)] = np.inf
        order = np.argsort(far, axis=1, kind="stable")[:, :NEAREST]
        return [row[np.isfinite(far[i, row])] for i, row in enumerate(order)]

    def remember(self, instances: Sequence[Instance]) -> None:
        """Store the masks of a frame; delete IDs without a mask for too long."""
        for known in self.known.values():
            known.missing += 1
        for item in instances:
            if item.id in self.known:
                self.known[item.id].missing -= 1
                self.known[item.id].seen(item)
            else:
                self.known[item.id] = Known(item)
        gone = [i for i, known in self.known.items() if known.missing > self.config.max_age]
        for track_id in gone:
            del self.known[track_id]

    def new_id(self) -> str:
        """Return an ID that was not assigned before."""
        self.given += 1
        return str(self.given)


def matched(scores: np.ndarray, least: float) -> dict[int, int]:
    """Return by row the column of the best pairs of a score matrix, those of at least `least`."""
    rows, columns = linear_sum_assignment(np.where(scores >= least, scores, NEVER), maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {row: column for row, column in pairs if scores[row, column] >= least}


def centre(box: Box) -> tuple[float, float]:
    """Return the centre (x, y) of a box [px]."""
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
