"""One object followed through a step of the stream, as the figures of docs/method.md show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from savos_model.masks import BoxedMask, by_id
from savos_model.stream.estimate import Work, backward_flow, backward_motion, opposite, prior_of
from savos_model.stream.prediction import (
    Cue,
    Guess,
    Seen,
    calibrated,
    moving,
    network_inputs,
    output_values,
    set_priors,
)
from savos_model.stream.record import Observed, Record
from savos_model.stream.refine import WindowRefiner, forward_share, merge
from savos_model.stream.stream import AmodalStream
from savos_model.stream.video import WHOLE, Online
from savos_model.types import Box, Frame
from training.data.store import ClipFrame
from training.evaluate.metrics import score_frame
from training.report.strips import PERIOD_NS

HIDDEN = (0.25, 0.6)  # share of the object that is hidden where it is shown
MIN_AGE = 10  # frames before, in all of which it was observed
AROUND = 3  # frames from one row of the last figure to the next, in which it was observed too


class Look(NamedTuple):
    """Input and output of the network for one track, computed outside the stream.

    Attributes:
        cue: mask, crop box, flow and base motion in the frame that the network sees.
        patch: float32 [7, h, w], its input.
        last: mask of the frame before, in `last.box`.
        motion: float32 [2, h, w] in `cue.box`, motion into the other of the two frames [px].
        moved: float32 [h, w], the mask of the frame before moved into the crop box of this one.
        values: float32 [h, w, 2], probability and alpha estimated for this frame in the same box.
    """

    cue: Cue
    patch: np.ndarray
    last: Guess
    motion: np.ndarray
    moved: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Step:
    """The step into frame `number` from the one before, of object `name`.

    Attributes:
        before, after: both frames.
        same_frame: whether the network sees the second of them (preset online) or the first.
        look: what the network gets and makes of it.
        answer: crop box, estimate and published object in the second frame.
        chance: float32 [h, w], the estimate after calibration.
        truth: whole mask in the second frame.
    """

    name: str
    number: int
    before: Seen
    after: Seen
    same_frame: bool
    look: Look
    answer: Observed
    chance: np.ndarray
    truth: BoxedMask


@dataclass(frozen=True)
class Merge:
    """One frame of an object with both directions: patches float32 [h, w] in `box`."""

    number: int
    image: np.ndarray
    box: Box
    forward: np.ndarray
    backward: np.ndarray
    share: np.ndarray
    merged: np.ndarray
    truth: BoxedMask


def choose(frames: Sequence[ClipFrame], records: Sequence[Record]) -> tuple[str, int]:
    """Return the object-frame with most hidden pixels, of those in HIDDEN and tracked all along.

    Raises:
        ValueError: there is none inside the image.
    """
    observed = [set(record.tracks) for record in records]
    found: list[tuple[int, str, int]] = []
    for number in range(MIN_AGE, len(frames) - AROUND - 1):
        frame, seen = frames[number], by_id(frames[number].instances)
        rows, cols = frame.image.shape[:2]
        steady = set.intersection(*observed[number - MIN_AGE : number + AROUND + 1])
        for score in score_frame(seen, frame.full or {}, seen, (rows, cols), ids=sorted(steady)):
            inside = score.border_px > 0 and HIDDEN[0] < score.occlusion < HIDDEN[1]
            if inside:
                found.append((score.hidden_px, score.id, number))
    if not found:
        raise ValueError(f"no object is {HIDDEN[0]:.0%} to {HIDDEN[1]:.0%} hidden: another scene")
    _, name, number = max(found)
    return name, number


def follow(frames: Sequence[ClipFrame], online: Online) -> tuple[Step, list[Merge]]:
    """Run the stream over a video; return the step into the chosen frame, and three merged frames.

    Raises:
        ValueError: no object is hidden enough.
    """
    given = [Frame(i * PERIOD_NS, f.image, f.instances) for i, f in enumerate(frames)]
    records = list(recorded(given, online))
    name, number = choose(frames, records)
    stream = AmodalStream(online.engine, online.stream)
    for frame in given[:number]:
        stream.step(frame)
    before, after = records[number - 1 : number + 1]
    truth = BoxedMask(*(frames[number].full or {})[name])
    answer, same = after.tracks[name], online.engine.model.same_frame
    inside = (look_here if same else look_ahead)(stream, name, after.seen, answer.box)
    chance = calibrated(answer.forward[..., 0], online.engine.weights.temperature)
    step = Step(name, number, before.seen, after.seen, same, inside, answer, chance, truth)
    return step, directions(frames, records, name, number, online)


def recorded(frames: Sequence[Frame], online: Online) -> Iterator[Record]:
    """Yield the records of a video."""
    stream = AmodalStream(online.engine, online.stream, records=True)
    for frame in frames:
        stream.step(frame)
        yield stream.record


def look_here(stream: AmodalStream, name: str, seen: Seen, box: Box) -> Look:
    """Return what the stream is about to give its network for a track of `seen`, preset online."""
    state, model = stream.tracks.states[name], stream.backend.model
    item = next(item for item in seen.frame.instances if item.id == name)
    shift = opposite(state.motion)
    (region,) = backward_flow(stream.flow, seen, stream.previous, [box], [shift])
    cue = Cue(item, box, region, region.median(item) or shift)
    patches = network_inputs(seen, [cue], model)
    motion = backward_motion(patches[0], cue, model)
    prior = prior_of(Work(item, box, state), motion)
    set_priors(patches, [prior], model)
    out = stream.backend.step(patches, state.h[None], state.c[None])
    values = output_values(out, with_alpha=True)[0]
    return Look(cue, patches[0], state.guess, motion, prior[..., 0], values)


def look_ahead(stream: AmodalStream, name: str, seen: Seen, box: Box) -> Look:
    """Return the same for a network that sees the frame before `seen`, such as preset paper."""
    state, last = stream.tracks.states[name], stream.previous
    (region,) = stream.flow.regions(last.grey, seen.grey, [state.box], [state.motion])
    cue = Cue(state.instance, state.box, region, region.median(state.instance) or state.motion)
    model = stream.backend.model
    patches = network_inputs(last, [cue], model)
    set_priors(patches, [state.prior], model)
    out = stream.backend.step(patches, state.h[None], state.c[None])
    values = output_values(out, with_alpha=True)
    guess = moving(values[0], out.residual[0], patches[0], cue, model)
    moved = guess.warped(box)
    return Look(cue, patches[0], guess, guess.motion, moved[..., 0], moved)


def directions(
    frames: Sequence[ClipFrame], records: Sequence[Record], name: str, number: int, online: Online
) -> list[Merge]:
    """Return both directions of an object in frames AROUND apart, over the video as window."""
    refiner = WindowRefiner(online.engine, online.stream, WHOLE)
    for record in records:
        refiner.push(record)
    backward = refiner.backward.run(refiner.records, refiner.inputs, [name])
    rows = []
    for index in (number - AROUND, number, number + AROUND):
        item, back = records[index].tracks[name], backward[index][name]
        merged = calibrated(merge(item.forward, back), online.engine.weights.temperature)
        rows.append(
            Merge(
                index,
                frames[index].image,
                item.box,
                item.forward[..., 0],
                back[..., 0],
                forward_share(item.forward, back),
                merged,
                BoxedMask(*(frames[index].full or {})[name]),
            )  # fmt: skip
        )
    return rows
