"""The online loop of one camera: frames in, amodal objects out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import cv2
import numpy as np

from savos_model.backends.interface import Backend
from savos_model.compose import compose, compose_coasted, copy_visible
from savos_model.config import ComposeConfig, StreamConfig
from savos_model.geometry import enlarge, intersect, move, union
from savos_model.guess import (
    Cue,
    Seen,
    calibrated,
    moving,
    moving_whole,
    network_inputs,
    output_values,
    set_priors,
)
from savos_model.instances import check_instances, occupancy
from savos_model.optical_flow import TopicFlow, make_flow
from savos_model.record import Observed, Record
from savos_model.tracks import TrackState, TrackTable, jumped
from savos_model.types import AmodalObject, Box, Frame, Instance

STAGES = ("flow", "crop", "network", "warp", "compose")
MEMORY_LIMIT = 3.0  # a crop box never grows beyond this multiple of the visible box
EXTENT_MARGIN = 1.2  # growth of a remembered extent, so that a mask cut by its box can unfold


@dataclass
class StepReport:
    """What happened in the last step.

    Attributes:
        timings_ms: time per stage of STAGES [ms].
        tracks: live tracks after the step.
        skipped: instances passed on without completion, by reason.
        reset: why all tracks were forgotten before this frame, "" when they were not.
    """

    timings_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    tracks: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    reset: str = ""


class AmodalStream:
    """SaVos forward in time for one camera.

    The mask of frame n is Warp(M~, dM) of frame n-1 (eq. 2), made with the flow n-1 -> n, so it is
    ready when frame n arrives, with no frame of delay.
    """

    def __init__(
        self, backend: Backend, config: StreamConfig | None = None, *, records: bool = False
    ) -> None:
        """`records` keeps a Record of each step for a WindowRefiner; it may change between two."""
        self.config = config or StreamConfig()
        self.backend = backend
        self.compose_config = self.config.compose
        self.tracks = TrackTable(self.config.tracks, backend.model.hidden)
        self.flow = make_flow(self.config.flow.method)
        self.previous: Seen | None = None
        self.report = StepReport()
        self.records, self.record = records, None

    def set_compose(self, config: ComposeConfig) -> None:
        """Replace the live settings, between two steps."""
        self.compose_config = config

    def reset(self) -> None:
        """Forget all tracks and the previous frame."""
        self.tracks.clear()
        self.previous = None

    def step(self, frame: Frame) -> list[AmodalObject]:
        """Complete the masks of one frame.

        Returns:
            One object per instance in the given order, then the coasted tracks.

        Raises:
            InstanceError: an instance does not fit the image; the tracks stay as they were.
        """
        height, width = frame.image.shape[:2]
        check_instances(frame.instances, height, width)
        self.report = report = StepReport(reset=self.reset_reason(frame))
        if report.reset:
            self.reset()
        clock = StageClock(report.timings_ms)
        seen = Seen(frame, to_grey(frame), occupancy(frame.instances, height, width))
        self.record = Record(seen, []) if self.records else None
        clock.stop("compose")

        # Step n-1 of the network, with the flow n-1 -> n that is known only now.
        self.predict(seen, clock)

        # Move every prediction into frame n and compose it with the visible masks of n.
        chosen, report.skipped = self.tracks.choose(frame.instances)
        objects = [self.complete(item, seen, item.id in chosen, clock) for item in frame.instances]
        present = {item.id for item in frame.instances}
        coasted = [
            self.coast(i, s, seen, clock) for i, s in self.tracks.states.items() if i not in present
        ]
        self.tracks.expire(chosen, present)
        self.previous = seen
        report.tracks = len(self.tracks)
        objects += [item for item in coasted if item is not None]
        if self.record is not None:
            self.record.objects = objects
        return objects

    def reset_reason(self, frame: Frame) -> str:
        """Why the tracks cannot go on into this frame; "" when they can."""
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

    def predict(self, seen: Seen, clock: StageClock) -> None:
        """Run the network on the tracks seen in the last frame; each gets a Guess for this one."""
        items = list(self.tracks.observed_last())
        if not items or self.previous is None:
            return
        if isinstance(self.flow, TopicFlow):
            self.flow.flow = seen.frame.flow
        last, model = self.previous, self.backend.model
        boxes, shifts = [s.box for _, s in items], [s.motion for _, s in items]
        regions = self.flow.regions(last.grey, seen.grey, boxes, shifts)
        present = {item.id for item in seen.frame.instances}
        for (track_id, state), region in zip(items, regions, strict=True):
            if track_id in present:  # of an object that vanished, flow sees what covers it
                state.motion = region.median(state.instance) or state.motion
        clock.stop("flow")
        cues = [
            Cue(state.instance, state.box, region, state.motion)
            for (_, state), region in zip(items, regions, strict=True)
        ]
        patches = network_inputs(last, cues, model)
        set_priors(patches, [s.prior for _, s in items], model)
        h, c = (np.stack([getattr(s, name) for _, s in items]) for name in ("h", "c"))
        clock.stop("crop")
        out = self.backend.step(patches, h, c)
        values = output_values(out, self.records)
        clock.stop("network")
        for row, (track_id, state) in enumerate(items):
            state.h, state.c = out.h[row], out.c[row]
            if track_id in present:
                state.guess = moving(values[row], out.residual[row], patches[row], cues[row], model)
            else:
                state.guess = moving_whole(values[row], state.box, state.motion)
        clock.stop("warp")

    def complete(self, item: Instance, seen: Seen, chosen: bool, clock: StageClock) -> AmodalObject:
        """The object of one visible mask; chosen ones are observed for the next step."""
        state = self.tracks.get(item.id)
        if state is not None and jumped(state, item):
            self.tracks.forget(item.id)
            self.report.skipped["id jumped"] = self.report.skipped.get("id jumped", 0) + 1
            state = None
        guess, warped = (state.guess if state else None), None
        box = self.crop_box(item, state)
        if state is None or guess is None:
            done = copy_visible(item)
        else:
            if not chosen:  # a speck tells nothing of the extent: the guess keeps its own box
                box = guess.moved_on()
            warped = guess.warped(box)
            clock.stop("warp")
            chance = calibrated(warped[..., 0], self.backend.weights.temperature)
            done = compose(item, chance, box, seen.count, guess.mean_motion, self.compose_config)
        if chosen:
            if self.record is not None:
                self.record.tracks[item.id] = observed(item, box, warped, done, state)
            self.tracks.observe(item, box, done, warped)
        elif state is not None:
            state.hold()
        clock.stop("compose")
        return done

    def crop_box(self, item: Instance, state: TrackState | None) -> Box:
        """The visible box enlarged; while part of a track is hidden, also round its last extent."""
        box = enlarge(item.box, self.config.tracks.enlarge)
        if state is None or state.extent is None or state.guess is None:
            return box
        limit = enlarge(item.box, max(MEMORY_LIMIT, self.config.tracks.enlarge))
        moved = move(state.extent, *(float(round(v)) for v in state.guess.mean_motion))
        moved = enlarge(moved, EXTENT_MARGIN)
        remembered = intersect(moved, limit)
        return box if remembered is None else union(box, remembered)

    def coast(
        self, track_id: str, state: TrackState, seen: Seen, clock: StageClock
    ) -> AmodalObject | None:
        """Move a track without a mask on by its held motion."""
        guess = state.guess
        if guess is None or state.missing >= self.config.tracks.coast_frames:
            return None
        if left_image(state.instance.box, guess.mean_motion, seen.grey.shape):
            return None
        box = guess.moved_on()
        warped = guess.warped(box)
        state.hold()
        clock.stop("warp")
        done = compose_coasted(
            state.instance,
            calibrated(warped[..., 0], self.backend.weights.temperature),
            box,
            seen.grey.shape,
            guess.mean_motion,
            state.missing + 1,
            self.compose_config,
        )
        clock.stop("compose")
        return done


class StageClock:
    """Adds the time since the last stop to a stage."""

    def __init__(self, timings_ms: dict[str, float]) -> None:
        self.timings_ms, self.last = timings_ms, time.perf_counter()

    def stop(self, stage: str) -> None:
        """Book the time since the last stop."""
        now = time.perf_counter()
        self.timings_ms[stage] += (now - self.last) * 1e3
        self.last = now


def to_grey(frame: Frame) -> np.ndarray:
    """Grey uint8 [H, W] of the image."""
    if frame.image.ndim == 2:
        return frame.image
    code = cv2.COLOR_BGR2GRAY if frame.order == "bgr" else cv2.COLOR_RGB2GRAY
    return cv2.cvtColor(frame.image, code)


def observed(
    item: Instance,
    box: Box,
    warped: np.ndarray | None,
    done: AmodalObject,
    state: TrackState | None,
) -> Observed:
    """The record of a track that is about to be observed; `warped` are Guess.values in `box`."""
    if warped is not None and warped.shape[-1] == 1:
        warped = None  # held since before records were kept: it has no alpha
    if state is None:
        return Observed(item, box, warped, done, linked=False, age=0)
    return Observed(item, box, warped, done, state.missing == 0, state.age + 1)


def left_image(box: Box, motion: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether an object was last seen at the image border (rows, columns), moving out of it."""
    rows, cols = size
    across = (box.x0 <= 0 and motion[0] < 0) or (box.x1 >= cols and motion[0] > 0)
    return across or (box.y0 <= 0 and motion[1] < 0) or (box.y1 >= rows and motion[1] > 0)
