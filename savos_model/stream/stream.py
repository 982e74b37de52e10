"""Run the online loop of one camera, from frames to amodal objects."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from savos_model.backends.interface import Backend, Shareable
from savos_model.config import ComposeConfig, StreamConfig
from savos_model.geometry import enlarge, intersect, move, union
from savos_model.instances import check_instances, occupancy
from savos_model.stream.associate import Associator
from savos_model.stream.compose import compose, compose_coasted, copy_visible
from savos_model.stream.crew import Crew
from savos_model.stream.estimate import Estimate, Work, make_estimator, moved
from savos_model.stream.familiar import Familiarity
from savos_model.stream.flow import make_flow, to_grey
from savos_model.stream.order import Claim, OcclusionOrder, doubted, label_visible
from savos_model.stream.prediction import Seen, calibrated
from savos_model.stream.record import Observed, Record
from savos_model.stream.tracks import TrackState, TrackTable, jumped
from savos_model.types import AmodalObject, Box, Frame, Instance

STAGES = ("associate", "flow", "crop", "network", "warp", "compose")
MEMORY_LIMIT = 4.0  # a crop box never grows beyond this multiple of the visible box
EXTENT_MARGIN = 1.2  # growth of the last extent, so that a mask clipped by its box can grow


@dataclass
class StepReport:
    """Report of the last step.

    Attributes:
        timings_ms: time per stage of STAGES [ms]; network: what is left of it once the last tracks
            are prepared, if it runs on others meanwhile.
        tracks: live tracks after the step.
        skipped: instances passed on without completion, by reason.
        reset: why all tracks were deleted before this frame, "" if they were not.
        period_s: time since the previous frame [s], in which motion starts; 0 for none.
        unfamiliar: whether the scene is taken for one unlike those of the training.
    """

    timings_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    tracks: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    reset: str = ""
    period_s: float = 0.0
    unfamiliar: bool = False


class Settled(NamedTuple):
    """An estimate, and the probability of its mask after weighing all claims of the frame.

    Attributes:
        chance: float32 [h, w], calibrated; None where nothing is known.
        factor: float32 [h, w] of the odds that were lost to objects in front; None for none.
    """

    estimate: Estimate
    chance: np.ndarray | None
    factor: np.ndarray | None


class AmodalStream:
    """SaVos forward in time for one camera, without a frame of delay.

    The preset of the network defines which step estimates the mask of a frame
    (savos_model.stream.estimate).
    """

    def __init__(
        self, backend: Backend, config: StreamConfig | None = None, *, records: bool = False
    ) -> None:
        """Create a stream; `records` keeps a Record of each step for a WindowRefiner."""
        self.config = config or StreamConfig()
        self.backend = backend
        self.compose_config = self.config.compose
        self.tracks = TrackTable(self.config.tracks, backend.model.hidden)
        self.flow = make_flow(self.config.flow.method)
        crew = Crew(backend.sharers if isinstance(backend, Shareable) else 1)
        self.estimator = make_estimator(backend, self.flow, self.tracks, records, crew)
        associate = self.config.associate
        self.associator = None if associate is None else Associator(associate)
        self.order = OcclusionOrder()
        self.familiarity = Familiarity()
        self.previous: Seen | None = None
        self.report = StepReport()
        self.record: Record | None = None

    @property
    def records(self) -> bool:
        """Return whether each step stores a Record; may change between two steps."""
        return self.estimator.with_alpha

    @records.setter
    def records(self, kept: bool) -> None:
        self.estimator.with_alpha = kept

    @property
    def frame(self) -> Frame:
        """Return the last frame, its masks with the IDs used for completion."""
        assert self.previous is not None  # only valid after a step
        return self.previous.frame

    def set_compose(self, config: ComposeConfig) -> None:
        """Replace the live settings, between two steps."""
        self.compose_config = config

    def reset(self) -> None:
        """Delete all tracks and the previous frame."""
        self.tracks.clear()
        self.order.clear()
        self.familiarity.clear()
        self.previous = None
        if self.associator is not None:
            self.associator.reset()

    def step(self, frame: Frame) -> list[AmodalObject]:
        """Complete the masks of one frame.

        Returns one object per instance in the given order, then the coasted tracks. Raises
        InstanceError: an instance does not fit the image; the tracks stay as they were.
        """
        height, width = frame.image.shape[:2]
        check_instances(frame.instances, height, width)
        self.report = report = StepReport(reset=self.reset_reason(frame))
        if report.reset:
            self.reset()
        if self.previous is not None:
            report.period_s = (frame.stamp_ns - self.previous.frame.stamp_ns) / 1e9
        clock = StageClock(report.timings_ms)
        frame = self.with_ids(frame)
        clock.stop("associate")
        seen = Seen(frame, to_grey(frame), occupancy(frame.instances, height, width))
        self.record = Record(seen, []) if self.records else None
        clock.stop("compose")

        present = {item.id for item in frame.instances}
        self.estimator.advance(seen, self.previous, present, clock)
        chosen, report.skipped = self.tracks.choose(frame.instances, (height, width))
        for item in frame.instances:
            self.end_if_jumped(item)
        estimates = self.estimate(seen, chosen, clock)
        settled = self.settle(estimates, seen)
        report.unfamiliar = self.familiarity.claimed() >= self.compose_config.limit
        config = self.compose_config.suited(report.unfamiliar)
        if self.record is not None:
            self.record.unfamiliar = report.unfamiliar
        objects = [
            self.complete(i, seen, settled.get(i.id), i.id in chosen, config)
            for i in frame.instances
        ]
        coasted = [
            self.coast(i, s, seen) for i, s in self.tracks.states.items() if i not in present
        ]
        clock.stop("compose")
        self.tracks.expire(chosen, present)
        self.order.keep(self.tracks.states)
        self.previous = seen
        report.tracks = len(self.tracks)
        objects += [item for item in coasted if item is not None]
        if self.record is not None:
            self.record.objects = objects
        return objects

    def with_ids(self, frame: Frame) -> Frame:
        """Return the frame with IDs by association, if enabled."""
        if self.associator is None:
            return frame
        shape = frame.image.shape[:2]
        named = self.associator.assign(frame.instances, self.tracks.states, shape)
        return dataclasses.replace(frame, instances=named)

    def reset_reason(self, frame: Frame) -> str:
        """Return why the tracks cannot continue in this frame, "" if they can."""
        if self.previous is None:
            return ""
        last = self.previous.frame
        if frame.image.shape[:2] != last.image.shape[:2]:
            return "image size changed"
        if frame.stamp_ns < last.stamp_ns:
            return "time went back"
        if frame.stamp_ns - last.stamp_ns > self.config.tracks.reset_gap_s * 1e9:
            return "time gap"
        return ""

    def end_if_jumped(self, item: Instance) -> None:
        """End a track whose id is now on another object."""
        state = self.tracks.get(item.id)
        if state is not None and jumped(state, item):
            self.tracks.forget(item.id)
            self.report.skipped["id jumped"] = self.report.skipped.get("id jumped", 0) + 1

    def estimate(
        self, seen: Seen, chosen: Collection[str], clock: StageClock
    ) -> dict[str, Estimate]:
        """Return estimates by ID: by the network for chosen instances, from memory for others."""
        items = [item for item in seen.frame.instances if item.id in chosen]
        states = [self.tracks.get(item.id) for item in items]
        work = [
            Work(i, self.crop_box(i, s, seen.grey.shape), s)
            for i, s in zip(items, states, strict=True)
        ]
        made = self.estimator.estimate(seen, self.previous, work, clock)
        estimates = {item.id: one for item, one in zip(items, made, strict=True)}
        for item in seen.frame.instances:
            state = self.tracks.get(item.id)
            if item.id not in chosen and state is not None and state.guess is not None:
                # A tiny mask shows no extent.
                estimates[item.id] = moved(state.guess, state.guess.moved_on())
        return estimates

    def settle(self, estimates: Mapping[str, Estimate], seen: Seen) -> dict[str, Settled]:
        """Return the probability of each estimate after weighing the claims of all objects."""
        temperature = self.backend.weights.temperature
        chances = {
            name: None if one.values is None else calibrated(one.values[..., 0], temperature)
            for name, one in estimates.items()
        }
        claims = {
            name: Claim(chance, estimates[name].box)
            for name, chance in chances.items()
            if chance is not None
        }
        items, factors = seen.frame.instances, {}
        if claims:
            labels = label_visible(items, *seen.count.shape)
            self.familiarity.look(items, claims, labels)
            strength = self.compose_config.order_strength
            if strength and len(items) > 1:
                factors = self.order.weigh(items, claims, labels, strength)
        settled = {}
        for name, one in estimates.items():
            chance, factor = chances[name], factors.get(name)
            if chance is not None:
                chance = doubted(chance, factor)
            settled[name] = Settled(one, chance, factor)
        return settled

    def complete(
        self,
        item: Instance,
        seen: Seen,
        settled: Settled | None,
        chosen: bool,
        config: ComposeConfig,
    ) -> AmodalObject:
        """Return the object of one visible mask; update the tracks of chosen ones."""
        state = self.tracks.get(item.id)
        if settled is None or settled.chance is None:
            done = copy_visible(item)
        else:
            box, motion = settled.estimate.box, settled.estimate.motion
            done = compose(item, settled.chance, box, seen.count, motion, config)
        if chosen:
            assert settled is not None  # its patch was passed to the network
            if self.record is not None:
                self.record.tracks[item.id] = observed(item, settled, done, state)
            self.tracks.observe(item, settled.estimate.box, done, settled.estimate.kept)
        elif state is not None:
            state.hold()
        return done

    def crop_box(self, item: Instance, state: TrackState | None, size: tuple[int, int]) -> Box:
        """Return the enlarged visible box; it includes the last extent while partly occluded.

        Not of an object that leaves the image (rows, columns): that is where it was, not what is
        hidden of it.
        """
        box = enlarge(item.box, self.config.tracks.enlarge)
        if state is None or state.extent is None or state.guess is None:
            return box
        if state.leaves(item.box, size):
            return box
        limit = enlarge(item.box, max(MEMORY_LIMIT, self.config.tracks.enlarge))
        moved = move(state.extent, *(float(round(v)) for v in state.guess.mean_motion))
        moved = enlarge(moved, EXTENT_MARGIN)
        remembered = intersect(moved, limit)
        return box if remembered is None else union(box, remembered)

    def coast(self, track_id: str, state: TrackState, seen: Seen) -> AmodalObject | None:
        """Predict a track without a mask by its held motion."""
        guess = state.guess
        if guess is None or state.missing >= self.config.tracks.coast_frames:
            return None
        if state.leaves(state.instance.box, seen.grey.shape):
            return None
        box = guess.moved_on()
        warped = guess.warped(box)
        state.hold()
        return compose_coasted(
            state.instance,
            calibrated(warped[..., 0], self.backend.weights.temperature),
            box,
            seen.grey.shape,
            guess.mean_motion,
            state.missing + 1,
            self.compose_config,
        )


class StageClock:
    """Records the time since the last stop for a stage."""

    def __init__(self, timings_ms: dict[str, float]) -> None:
        self.timings_ms, self.last = timings_ms, time.perf_counter()

    def stop(self, stage: str) -> None:
        """Record the time since the last stop."""
        now = time.perf_counter()
        self.timings_ms[stage] += (now - self.last) * 1e3
        self.last = now


def observed(
    item: Instance, settled: Settled, done: AmodalObject, state: TrackState | None
) -> Observed:
    """Return the record of a track that is about to be observed."""
    estimate, factor = settled.estimate, settled.factor
    values = estimate.values
    if values is not None and values.shape[-1] == 1:
        values = None  # held since before recording started, so without alpha
    linked, age = (False, 0) if state is None else (state.missing == 0, state.age + 1)
    return Observed(item, estimate.box, values, done, linked, age, factor)
