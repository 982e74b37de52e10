"""Scores weights on videos before and after they are adapted to each, or as they adapt to one."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from savos_model.network.presets import Net
from savos_model.network.weights import Weights, load_weights, save_weights
from savos_model.stream.video import Setup, described
from training.adapt.adapt import AdaptResult, Watch, adapt, finished, taken, visible_clip
from training.adapt.settings import AdaptConfig
from training.data.jobs import Tick, run_jobs
from training.evaluate.benchmark import Benchmark, report
from training.evaluate.mask_sets import FIELDS, Fishbowl
from training.evaluate.metrics import summarise
from training.evaluate.settings import DEFAULT_OUTPUT, Output
from training.evaluate.tables import adapt_tables, tables_of
from training.evaluate.video import VideoResult, merged, score_videos


@dataclass(frozen=True)
class AdaptJob:
    """One video (`key`) to score, adapt to and score again; `out`: folder of adapted weights."""

    benchmark: Benchmark
    key: Any
    ours: Setup
    config: AdaptConfig
    out: Path | None = None


@dataclass(frozen=True)
class Adapted:
    """Scores of a video before and after, and the adaptation."""

    before: VideoResult
    after: VideoResult
    result: AdaptResult


@contextlib.contextmanager
def saved(weights: Weights, out: Path | None, name: str) -> Iterator[str]:
    """Yield the path of weights as OUT/NAME.safetensors; without OUT they are gone at the end."""
    with tempfile.TemporaryDirectory() as temporary:
        path = (out or Path(temporary)) / f"{name}.safetensors"
        save_weights(path, weights, "float32")  # what is kept is what is scored
        yield str(path)


def with_weights(setup: Setup, path: str) -> Setup:
    """Return a setup that runs other weights."""
    return dataclasses.replace(setup, backend=dataclasses.replace(setup.backend, weights=path))


def ticking(tick: Tick) -> Watch:
    """Return a watch that ticks once per iteration."""
    done = 0

    def watch(iteration: int, _: Net) -> None:
        nonlocal done
        tick(iteration - done)
        done = iteration

    return watch


def adapt_video(job: AdaptJob, tick: Tick) -> Adapted:
    """Score, adapt, score; ticks after each scored frame of a method and each iteration.

    What is scored from a later frame on is adapted to the frames before it. A video in which
    nothing is scored is not adapted to: that would cost its time and show nothing.
    """
    torch.set_num_threads(1)
    (video,) = job.benchmark.open(job.key)
    (before,) = score_videos([video], tuple(job.benchmark.compared), job.ours, tick)
    weights = load_weights(job.ours.backend.weights)
    if not any(before.scores["ours"].values()):
        tick(job.config.max_iterations + before.frames)
        return Adapted(before, before, AdaptResult(weights, [], "nothing of it is scored"))
    rows = islice(video.rows(), video.first or None)
    clip = visible_clip(video.name, rows, weights.model)
    result = adapt(weights, clip, job.config, watch=ticking(tick))
    tick(job.config.max_iterations - result.iterations)
    licence = {"licence": job.benchmark.licence} if job.benchmark.licence else {}
    adapted = dataclasses.replace(result.weights, info=result.weights.info | licence)
    with saved(adapted, job.out, video.name) as path:
        (after,) = score_videos([video], ("ours",), with_weights(job.ours, path), tick)
    return Adapted(before, after, result)


def adapt_benchmark(
    benchmark: Benchmark,
    ours: Setup,
    config: AdaptConfig,
    output: Output = DEFAULT_OUTPUT,
    weights_out: Path | None = None,
) -> dict:
    """Adapt to every video of a data set alone; score it before and after.

    Ground truth is read for scoring alone. With the benchmark's `half`, the first half of each
    video is adapted to and the second one scored. `ours` names the weights to start from; the
    adapted ones are written to the folder `weights_out`, a file per video, unless it is None. The
    other arguments are those of benchmark.evaluate.

    Returns:
        The metrics: as evaluate's with "adapted" next to our method, and adapt, half, gain (adapted
        minus given weights, as the benchmark's `gain` has it) and the adaptation of each video.

    Raises:
        ValueError: bad arguments, or files that are missing or broken.
    """
    entries = benchmark.entries()
    jobs = [AdaptJob(benchmark, key, ours, config, weights_out) for key, _ in entries]
    frames = sum(count for _, count in entries) * (1 + len(benchmark.compared))
    steps = frames + len(jobs) * config.max_iterations
    # Not more processes by default: PyTorch's sums depend on its threads.
    done = run_jobs(adapt_video, jobs, output.processes or 1, steps, "adapting")
    befores = [item.before for item in done]
    scores = {
        name: merged(result.scores[method] for result in befores)
        for method, name in benchmark.compared.items()
    }
    scores["adapted"] = merged(item.after.scores["ours"] for item in done)
    before = scores[benchmark.compared["ours"]]
    metrics = {
        **benchmark.about(ours, befores),
        "adapt": dataclasses.asdict(config),
        "half": benchmark.half,
        "model": befores[0].model,
        **benchmark.summarise(scores, output.seed),
        "gain": benchmark.gain(before, scores["adapted"], output.seed),
        "videos": {item.before.name: course(item.result) for item in done},
    }
    tables = [*tables_of(metrics), *adapt_tables(metrics["gain"], metrics["videos"])]
    return report(metrics, tables, output)


def course(result: AdaptResult) -> dict:
    """Describe an adaptation, for result files."""
    return {
        "iterations": result.iterations,
        "stopped": result.stopped,
        "visible_iou": [entry["visible_iou"] for entry in result.history],
        "loss": [entry["loss"] for entry in result.history],
    }


def adapt_curve(
    clip: Path,
    ours: Setup,
    config: AdaptConfig,
    output: Output = DEFAULT_OUTPUT,
    types: Collection[str] = (),
) -> dict:
    """Draw the learning curve on one clip, without early stopping, as figure 5 a of the paper.

    Scores are taken every `measure_every` iterations, of the species `types` (empty for all); the
    other arguments are those of scored.adapt_benchmark.

    Returns:
        The metrics: clip, model, adapt, iterations, loss, visible_iou, full, occluded (lists of one
        length) and stop: the iteration at which the rule of section 4.3 ends, None when never.

    Raises:
        ValueError: no window to adapt to, or nothing to score in the clip.
    """
    torch.set_num_threads(1)
    weights = load_weights(ours.backend.weights)
    (video,) = Fishbowl(clip.parent, types=types).open(clip)
    name = video.name
    endless = dataclasses.replace(config, stop_gain=-1.0)  # IoU never falls by more
    scores: list[dict] = []

    def watch(iteration: int, net: Net) -> None:
        now = taken(weights, name, net, config, [{"iteration": iteration}])
        with saved(now, None, name) as path:
            setup = with_weights(ours, path)
            (result,) = score_videos([video], ("ours",), setup, lambda _: None)
        scores.append(summarise(result.scores["ours"]["paper"]))
        shown = ", ".join(f"{field} {scores[-1][field] or 0:.4f}" for field in FIELDS)
        print(f"iteration {iteration}: {shown}")

    rows = visible_clip(name, video.rows(), weights.model)
    result = adapt(weights, rows, endless, watch=watch)
    if not result.history or not scores[0]["n"]:
        raise ValueError(f"{name} has nothing to score or adapt to: choose another clip")
    metrics = {
        "clip": name,
        "types": list(types),
        "mode": ours.mode,
        "model": described(weights),
        "adapt": dataclasses.asdict(config),
        "stop": stop(result.history, config),
        "iterations": [int(entry["iteration"]) for entry in result.history],
        **{name: [entry[name] for entry in result.history] for name in ("loss", "visible_iou")},
        **{field: [score[field] for score in scores] for field in FIELDS},
    }
    return report(metrics, [], output)


def stop(history: Sequence[dict[str, float]], config: AdaptConfig) -> int | None:
    """Return the iteration at which the rule of section 4.3 ends an adaptation, None for never."""
    parts = (history[:n] for n in range(1, len(history) + 1))
    return next((int(part[-1]["iteration"]) for part in parts if finished(part, config)), None)
