"""Estimate the masks of a frame's tracks with a network for the same or for the next frame."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, Protocol

import numpy as np

from savos_model.backends.interface import Backend, Shareable, StepOutput
from savos_model.config import ModelConfig
from savos_model.geometry import pull_patch
from savos_model.motion import flow_scale, observed_motion
from savos_model.network.layers import FLOW, VISIBLE
from savos_model.stream.crew import Crew
from savos_model.stream.flow import FlowProvider, FlowRegion, Regions, TopicFlow, same
from savos_model.stream.prediction import (
    Cue,
    Guess,
    Seen,
    mean_inside,
    moving,
    moving_whole,
    network_inputs,
    output_values,
    set_priors,
)
from savos_model.stream.tracks import TrackState, TrackTable
from savos_model.types import Box, Instance

SHARE = 4  # tracks that several threads run at a time; a call for fewer takes longer for each
MANY = 30  # tracks from which calls for twice as many still keep all threads busy
ENDS = 2  # in the first call, so that it starts early, and in the last, which one thread awaits
FEWEST = 6  # tracks from which that is faster than one call that uses all threads itself


class Work(NamedTuple):
    """A track to be estimated: visible mask, crop box and state (or None)."""

    instance: Instance
    box: Box
    state: TrackState | None


class Estimate(NamedTuple):
    """The estimated amodal mask of one track in a frame.

    Attributes:
        box: crop box.
        values: float32 [h, w, 1 or 2], fills `box`: probability and, if frames are recorded, alpha;
            None if nothing is known.
        motion: mean motion of the mask from the previous frame (x, y) [px per frame].
        kept: attributes of the track's state to update.
    """

    box: Box
    values: np.ndarray | None
    motion: tuple[float, float]
    kept: dict[str, object] = {}


class Estimator(Protocol):
    """When the network runs; see SameFrame and NextFrame.

    Attributes:
        with_alpha: whether estimates hold alpha, for a later refinement.
    """

    with_alpha: bool

    def advance(
        self, seen: Seen, before: Seen | None, present: Collection[str], clock: Clock
    ) -> None:
        """Prepare a frame before its crop boxes are chosen."""
        ...

    def estimate(
        self, seen: Seen, before: Seen | None, work: Sequence[Work], clock: Clock
    ) -> list[Estimate]:
        """Return an estimate for each track."""
        ...


class Clock(Protocol):
    """Records the time since the last stop for a stage."""

    def stop(self, stage: str) -> None:
        """Record it."""
        ...


def make_estimator(
    backend: Backend, flow: FlowProvider, tracks: TrackTable, with_alpha: bool, crew: Crew
) -> Estimator:
    """Return the estimator of the network's preset; `crew` has the threads of the engine."""
    if backend.model.same_frame:
        return SameFrame(backend, flow, tracks, with_alpha, crew)
    return NextFrame(backend, flow, tracks, with_alpha)


class SameFrame:
    """M~ of this frame, from V, image, backward flow and the warped M~ of the frame before.

    Without delay; a new track is completed in its first frame. The network runs on all tracks in
    one call or, with a `crew`, on those that are prepared while the next ones are being prepared.
    """

    def __init__(
        self,
        backend: Backend,
        flow: FlowProvider,
        tracks: TrackTable,
        with_alpha: bool,
        crew: Crew,
    ) -> None:
        self.backend, self.flow, self.with_alpha = backend, flow, with_alpha
        self.hidden, self.crew = tracks.hidden, crew

    def advance(
        self, seen: Seen, before: Seen | None, present: Collection[str], clock: Clock
    ) -> None:
        """Do nothing: the network runs once this frame's boxes are known."""

    def estimate(
        self, seen: Seen, before: Seen | None, work: Sequence[Work], clock: Clock
    ) -> list[Estimate]:
        """Implement Estimator.estimate."""
        if not work:
            return []
        flow = backward_regions(self.flow, seen, before, len(work))
        parts = shares(work, self.crew.threads)
        crew, step = Crew(1), self.backend.step
        if len(parts) > 1 and isinstance(self.backend, Shareable):
            crew, step = self.crew, self.backend.share
        prepared = (self.prepare(seen, flow, part, clock) for part in parts)
        made = crew.run(lambda ready: self.finish(ready, step(*ready.inputs)), prepared)
        clock.stop("network")
        return list(chain.from_iterable(made))

    def prepare(self, seen: Seen, flow: Regions, work: Sequence[Work], clock: Clock) -> Ready:
        """Return the network input of some of a frame's tracks."""
        model = self.backend.model
        shifts = [opposite(w.state.motion) if w.state else (0.0, 0.0) for w in work]
        regions = flow([w.box for w in work], shifts)
        cues = [
            Cue(w.instance, w.box, region, region.median(w.instance) or shift)
            for w, region, shift in zip(work, regions, shifts, strict=True)
        ]
        clock.stop("flow")
        patches = network_inputs(seen, cues, model)
        clock.stop("crop")
        motions = [backward_motion(p, c, model) for p, c in zip(patches, cues, strict=True)]
        priors = [prior_of(w, motion) for w, motion in zip(work, motions, strict=True)]
        set_priors(patches, priors, model)
        zeros = np.zeros(self.hidden, np.float32)
        h = np.stack([w.state.h if w.state else zeros for w in work])
        c = np.stack([w.state.c if w.state else zeros for w in work])
        clock.stop("warp")
        return Ready((patches, h, c), cues, motions)

    def finish(self, ready: Ready, out: StepOutput) -> list[Estimate]:
        """Return the estimates of prepared tracks from the network's output."""
        values = output_values(out, self.with_alpha)
        rows = zip(ready.cues, ready.motions, values, strict=True)
        return [estimate_of(cue, m, v, out, i) for i, (cue, m, v) in enumerate(rows)]


class Ready(NamedTuple):
    """Tracks whose network input is prepared.

    Attributes:
        inputs: patches, h and c of Backend.step.
        cues, motions: what they were made of, and the dense motion into the previous frame.
    """

    inputs: tuple[np.ndarray, np.ndarray, np.ndarray]
    cues: list[Cue]
    motions: list[np.ndarray]


def shares(work: Sequence[Work], threads: int) -> list[Sequence[Work]]:
    """Return the tracks in parts for several threads, all as one for a thread."""
    if threads == 1 or len(work) < FEWEST:
        return [work]
    middle, size = len(work) - 2 * ENDS, SHARE if len(work) < MANY else 2 * SHARE
    count = -(-middle // size)
    cuts = [0, *(ENDS + middle * part // count for part in range(count + 1)), len(work)]
    return [work[first:last] for first, last in pairwise(cuts)]


def estimate_of(
    cue: Cue, motion: np.ndarray, values: np.ndarray, out: StepOutput, row: int
) -> Estimate:
    """Return one track's part of a step's output; `motion` leads into the previous frame."""
    mean = opposite(mean_inside(motion, values[..., 0], cue.base))
    kept = {
        "h": out.h[row],
        "c": out.c[row],
        "residual": out.residual[row],
        "motion": opposite(cue.base),
        "guess": moving_whole(values, cue.box, mean),
    }
    return Estimate(cue.box, values, mean, kept)


def backward_flow(
    flow: FlowProvider,
    here: Seen,
    there: Seen | None,
    boxes: list[Box],
    shifts: list[tuple[float, float]],
) -> list[FlowRegion]:
    """Return the flow of boxes into a neighbouring frame; none if there is no neighbour."""
    return backward_regions(flow, here, there, len(boxes))(boxes, shifts)


def backward_regions(flow: FlowProvider, here: Seen, there: Seen | None, count: int) -> Regions:
    """Return `backward_flow` of two frames, for any share of `count` boxes."""
    if there is None:
        rows, cols = here.grey.shape
        return same(FlowRegion(Box(0, 0, cols, rows), np.zeros((1, 1, 2), np.float32)))
    if isinstance(flow, TopicFlow):
        flow.use(here.frame, there.frame)
    return flow.between(here.grey, there.grey, count)


def backward_motion(patch: np.ndarray, cue: Cue, model: ModelConfig) -> np.ndarray:
    """Return the dense motion of a patch into the neighbouring frame, [2, h, w] [px]."""
    scale = flow_scale(model, cue.box)
    return observed_motion(patch[FLOW], patch[VISIBLE][0], cue.base, scale, model.motion_base)


def prior_of(work: Work, motion: np.ndarray) -> np.ndarray | None:
    """Return the last mask of a track moved into its current box; None at its birth."""
    state = work.state
    if state is None or state.guess is None:
        return None
    if state.missing or state.residual is None or state.guess.held:
        return state.guess.warped(work.box)  # missing in frames whose flow was not computed
    return pull_patch(state.guess.values, motion, state.residual, state.guess.box, work.box)


def opposite(motion: tuple[float, float]) -> tuple[float, float]:
    """Return the reverse motion (x, y)."""
    return -motion[0], -motion[1]


class NextFrame:
    """The paper's M^: step n-1 of the network, warped into frame n with the flow n-1 -> n (eq. 2).

    The flow is known only with frame n, so the step runs then; the estimate uses nothing of frame n
    but its flow.
    """

    def __init__(
        self, backend: Backend, flow: FlowProvider, tracks: TrackTable, with_alpha: bool
    ) -> None:
        self.backend, self.flow, self.with_alpha = backend, flow, with_alpha
        self.tracks = tracks

    def advance(
        self, seen: Seen, before: Seen | None, present: Collection[str], clock: Clock
    ) -> None:
        """Run the network on the tracks seen in the last frame; each gets a Guess for this one."""
        items = list(self.tracks.observed_last())
        if not items or before is None:
            return
        if isinstance(self.flow, TopicFlow):
            self.flow.use(before.frame, seen.frame)
        boxes, shifts = [s.box for _, s in items], [s.motion for _, s in items]
        regions = self.flow.regions(before.grey, seen.grey, boxes, shifts)
        for (track_id, state), region in zip(items, regions, strict=True):
            if track_id in present:  # of an object that vanished, flow sees what covers it
                state.motion = region.median(state.instance) or state.motion
        clock.stop("flow")
        model = self.backend.model
        cues = [
            Cue(state.instance, state.box, region, state.motion)
            for (_, state), region in zip(items, regions, strict=True)
        ]
        patches = network_inputs(before, cues, model)
        set_priors(patches, [s.prior for _, s in items], model)
        h, c = (np.stack([getattr(s, name) for _, s in items]) for name in ("h", "c"))
        clock.stop("crop")
        out = self.backend.step(patches, h, c)
        values = output_values(out, self.with_alpha)
        clock.stop("network")
        for row, (track_id, state) in enumerate(items):
            state.h, state.c = out.h[row], out.c[row]
            if track_id in present:
                state.guess = moving(values[row], out.residual[row], patches[row], cues[row], model)
            else:
                state.guess = moving_whole(values[row], state.box, state.motion)
        clock.stop("warp")

    def estimate(
        self, seen: Seen, before: Seen | None, work: Sequence[Work], clock: Clock
    ) -> list[Estimate]:
        """Implement Estimator.estimate; nothing is known at a track's birth."""
        estimates = [moved(w.state.guess if w.state else None, w.box) for w in work]
        clock.stop("warp")
        return estimates


def moved(guess: Guess | None, box: Box) -> Estimate:
    """Return a held guess in a box of the current frame."""
    if guess is None:
        return Estimate(box, None, (0.0, 0.0), {"guess": None, "prior": None})
    values = guess.warped(box)
    return Estimate(box, values, guess.mean_motion, {"guess": None, "prior": values})
