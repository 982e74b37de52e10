"""Scores a video before and after the weights are adapted to it alone."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from savos_model.networks import Net
from savos_model.weights import Weights, load_weights, save_weights
from training.adapt.adapt import AdaptConfig, AdaptResult, Watch, adapt, visible_clip
from training.data.provenance import KITTI_LICENCE
from training.data.store import ClipFrame
from training.evaluate.jobs import Tick
from training.evaluate.video import Scores, VideoResult, about, merged
from training.online import Setup

if TYPE_CHECKING:
    from training.evaluate.fishbowl import ClipJob
    from training.evaluate.kins import DriveJob

KITTI_BOUND = f"adapted to KITTI frames: {KITTI_LICENCE}"


@dataclass(frozen=True)
class AdaptJob:
    """One video to score with the given weights, to adapt to, and to score again.

    Attributes:
        scored: how it is scored, with our method alone; its setup names the weights.
        evaluate: importable function that scores it.
        frames: picklable call that yields the frames to adapt to.
        config: the adaptation.
        out: folder of the adapted weights; None keeps none.
        licence: that the data bind adapted weights to; "" for none.
    """

    scored: ClipJob | DriveJob
    evaluate: Callable[[ClipJob | DriveJob, Tick], VideoResult]
    frames: Callable[[], Iterable[ClipFrame]]
    config: AdaptConfig
    out: Path | None = None
    licence: str = ""


@dataclass(frozen=True)
class Adapted:
    """Scores of a clip before and after, and how the adaptation went."""

    before: VideoResult
    after: VideoResult
    result: AdaptResult


@contextlib.contextmanager
def saved(weights: Weights, out: Path | None, name: str) -> Iterator[str]:
    """Path of weights as OUT/NAME.safetensors; without OUT they are gone at the end."""
    with tempfile.TemporaryDirectory() as aside:
        path = (out or Path(aside)) / f"{name}.safetensors"
        save_weights(path, weights, "float32")  # what is kept is what is scored
        yield str(path)


def with_weights(setup: Setup, path: str) -> Setup:
    """A setup that runs other weights."""
    return dataclasses.replace(setup, backend=dataclasses.replace(setup.backend, weights=path))


def ticking(tick: Tick) -> Watch:
    """A watch that ticks once per iteration."""
    done = 0

    def watch(iteration: int, _: Net) -> None:
        nonlocal done
        tick(iteration - done)
        done = iteration

    return watch


def adapt_video(job: AdaptJob, tick: Tick) -> Adapted:
    """Score, adapt, score; ticks after each scored frame and each iteration.

    A video in which nothing is scored is not adapted to: that would cost its time and show nothing.
    """
    torch.set_num_threads(1)
    ours = job.scored.ours
    before = job.evaluate(job.scored, tick)
    weights = load_weights(ours.backend.weights)
    if not any(before.scores["ours"].values()):
        tick(job.config.max_iterations + before.frames)
        return Adapted(before, before, AdaptResult(weights, [], "nothing of it is scored"))
    clip = visible_clip(before.name, job.frames(), weights.model)
    result = adapt(weights, clip, job.config, watch=ticking(tick))
    tick(job.config.max_iterations - result.iterations)
    with saved(bound(result.weights, job.licence), job.out, before.name) as path:
        again = dataclasses.replace(job.scored, ours=with_weights(ours, path))
        after = job.evaluate(again, tick)
    return Adapted(before, after, result)


def bound(weights: Weights, licence: str) -> Weights:
    """Weights that say under which licence the data put them, if any."""
    if not licence:
        return weights
    return dataclasses.replace(weights, info={**weights.info, "licence": licence})


def summary(
    name: str,
    done: Sequence[Adapted],
    seed: int,
    report: Callable[[Scores, int], dict],
    gains: Callable[[Scores, Scores, int], dict],
) -> dict:
    """What came of the videos of a set, for result files: data, model, methods, gain, videos."""
    base, adapted = (
        merged(getattr(item, part).scores["ours"] for item in done) for part in ("before", "after")
    )
    return {
        "data": about(name, [item.before for item in done]),
        "model": done[0].before.model,
        "methods": {"base": report(base, seed), "adapted": report(adapted, seed)},
        "gain": gains(base, adapted, seed),
        "videos": {item.before.name: course(item.result) for item in done},
    }


def course(result: AdaptResult) -> dict:
    """How an adaptation went, for result files."""
    return {
        "iterations": result.iterations,
        "stopped": result.stopped,
        "visible_iou": [entry["visible_iou"] for entry in result.history],
        "loss": [entry["loss"] for entry in result.history],
    }
