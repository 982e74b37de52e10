"""Scores weights on FISHBOWL clips before and after adaptation to each of them alone."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console

from savos_model.network import SavosNet
from savos_model.weights import Weights, load_weights, save_weights
from training.adapt import AdaptConfig, AdaptResult, Watch, adapt, visible_clip
from training.data.fishbowl_released import open_fishbowl
from training.evaluate import Tick, run_jobs
from training.evaluate_fishbowl import ClipJob, clips_to_score, evaluate_clip, protocol
from training.evaluate_video import VideoResult
from training.online import Setup
from training.prepare import fishbowl_frames
from training.results import write_results
from training.summary import method_report, paired_gain
from training.tables import adapt_table, fishbowl_tables

FIELDS = ("full", "occluded")


@dataclass(frozen=True)
class AdaptJob:
    """One clip to score with the given weights, to adapt to, and to score again.

    Attributes:
        clip: how it is scored; its setup names the weights. What is scored from a later frame on
            is adapted to the frames before it.
        config: the adaptation.
        out: folder of the adapted weights; None keeps none.
    """

    clip: ClipJob
    config: AdaptConfig
    out: Path | None = None


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

    def watch(iteration: int, _: SavosNet) -> None:
        nonlocal done
        tick(iteration - done)
        done = iteration

    return watch


def adapt_clip(job: AdaptJob, tick: Tick) -> Adapted:
    """Score, adapt, score; ticks after each scored frame and each iteration."""
    torch.set_num_threads(1)
    before = evaluate_clip(job.clip, tick)
    weights = load_weights(job.clip.ours.backend.weights)
    frames = islice(fishbowl_frames(job.clip.path), job.clip.first or None)
    clip = visible_clip(before.name, frames, weights.model)
    result = adapt(weights, clip, job.config, watch=ticking(tick))
    tick(job.config.max_iterations - result.iterations)
    with saved(result.weights, job.out, before.name) as path:
        after = evaluate_clip(
            dataclasses.replace(job.clip, ours=with_weights(job.clip.ours, path)), tick
        )
    return Adapted(before, after, result)


def adapt_fishbowl(
    data: Path,
    ours: Setup,
    config: AdaptConfig,
    out: Path | None,
    weights_out: Path | None,
    *,
    types: Sequence[str] = (),
    subset: str = "",
    half: bool = False,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Adapt to every clip of a folder by itself, print the tables and write the results file.

    Args:
        data: folder of clips, or of the released test data; truth is read for scoring alone.
        ours: how our method runs; names the weights to start from.
        config: the adaptation.
        out: results file; None writes none.
        weights_out: folder of the adapted weights, one file per clip; None keeps none.
        types: species scored; empty for all. All visible masks adapt.
        subset: of the released test; "" for all that fits the rules.
        half: adapt to the first half of each clip, score the second.
        processes: worker processes.
        seed: of the bootstrap.
        console: where tables and progress go; standard output when None.

    Returns:
        The metrics: protocol, data, model, adapt, methods (base, adapted), gain (full, occluded:
        adapted minus base with its 95 % interval over clips), videos.

    Raises:
        ValueError: no clips, or bad arguments.
    """
    console = console or Console()
    paths = clips_to_score(data, subset)
    counts = [open_fishbowl(path).num_frames for path in paths]
    clips = [
        ClipJob(path, ("ours",), ours, subset, tuple(types), count // 2 if half else 0)
        for path, count in zip(paths, counts, strict=True)
    ]
    steps = 2 * sum(counts) + len(paths) * config.max_iterations
    jobs = [AdaptJob(clip, config, weights_out) for clip in clips]
    done = run_jobs(adapt_clip, jobs, processes, steps, "adapting", console)
    metrics = {
        "protocol": protocol(ours.mode, subset, types),
        "adapt": dataclasses.asdict(config),
        "half": half,
        **summary(done, seed),
    }
    fishbowl_tables(metrics, console)
    adapt_table(metrics, console)
    if out is not None:
        write_results(out, metrics, seed=seed)
        console.print(f"written: {out}")
    return metrics


def summary(done: Sequence[Adapted], seed: int) -> dict:
    """What adapt_fishbowl returns of its clips: data, model, methods, gain, videos."""
    base, adapted = (
        [score for item in done for score in getattr(item, name).scores["ours"]]
        for name in ("before", "after")
    )
    frames = sum(item.before.frames for item in done)
    return {
        "data": {"set": "fishbowl", "clips": [i.before.name for i in done], "frames": frames},
        "model": done[0].before.model,
        "methods": {"base": method_report(base, seed), "adapted": method_report(adapted, seed)},
        "gain": {field: paired_gain(base, adapted, field, seed) for field in FIELDS},
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
