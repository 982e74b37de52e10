"""One object followed through a step of the stream, as the figures of docs/method.md show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from savos_model.masks import BoxedMask, by_id
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
from savos_model.stream.stream import AmodalStream, to_grey
from savos_model.stream.video import WHOLE, Online
from savos_model.types import Box, Frame
from training.data.store import ClipFrame
from training.evaluate.metrics import score_frame
from training.report.strips import PERIOD_NS

HIDDEN = (0.25, 0.6)  # share of the object that is hidden where it is shown
MIN_AGE = 10  # frames before, in all of which it was observed
AROUND = 3  # frames from one row of the last figure to the next; likewise


@dataclass(frozen=True)
class Step:
    """The step into frame `number` from the one before, of object `name`.

    Attributes:
        before, after: both frames.
        cue: mask, crop box, flow and base motion in the first of them.
        patch: float32 [7, h, w], what the network gets.
        guess: what it says, and the motion that is made of it.
        answer: crop box, warped prediction and published object in the second frame.
        chance: float32 [h, w], the warped prediction after calibration.
        truth: whole mask in the second frame.
    """

    name: str
    number: int
    before: Seen
    after: Seen
    cue: Cue
    patch: np.ndarray
    guess: Guess
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
    """The object-frame with most hidden pixels, of those in HIDDEN and tracked all along.

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
    """Run the stream over a video; keeps the step into the chosen frame, and three merged frames.

    Raises:
        ValueError: no object is hidden enough, or the network estimates its own frame.
    """
    if online.engine.model.same_frame:
        raise ValueError(
            "weights must be of preset paper or official, whose step the figures follow, got "
            "online: give other --weights"
        )
    given = [Frame(i * PERIOD_NS, f.image, f.instances) for i, f in enumerate(frames)]
    records = list(recorded(given, online))
    name, number = choose(frames, records)
    stream = AmodalStream(online.engine, online.stream)
    for frame in given[:number]:
        stream.step(frame)
    inside = look(stream, name, given[number])
    before, after = records[number - 1 : number + 1]
    truth = BoxedMask(*(frames[number].full or {})[name])
    answer = after.tracks[name]
    chance = calibrated(answer.forward[..., 0], online.engine.weights.temperature)
    step = Step(name, number, before.seen, after.seen, *inside, answer, chance, truth)
    return step, directions(frames, records, name, number, online)


def recorded(frames: Sequence[Frame], online: Online) -> Iterator[Record]:
    """The records of a video."""
    stream = AmodalStream(online.engine, online.stream, records=True)
    for frame in frames:
        stream.step(frame)
        yield stream.record


def look(stream: AmodalStream, name: str, frame: Frame) -> tuple[Cue, np.ndarray, Guess]:
    """What the stream is about to give its network for one track, and gets from it."""
    state, last = stream.tracks.states[name], stream.previous
    (region,) = stream.flow.regions(last.grey, to_grey(frame), [state.box], [state.motion])
    cue = Cue(state.instance, state.box, region, region.median(state.instance) or state.motion)
    model = stream.backend.model
    patches = network_inputs(last, [cue], model)
    set_priors(patches, [state.prior], model)
    out = stream.backend.step(patches, state.h[None], state.c[None])
    values = output_values(out, with_alpha=True)
    return cue, patches[0], moving(values[0], out.residual[0], patches[0], cue, model)


def directions(
    frames: Sequence[ClipFrame], records: Sequence[Record], name: str, number: int, online: Online
) -> list[Merge]:
    """Both directions of an object in frames AROUND apart, over the whole video as window."""
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
