"""Scores weights on FISHBOWL clips before and after adaptation to each of them alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from rich.console import Console

from training.adapt.adapt import AdaptConfig
from training.adapt.scored import AdaptJob, adapt_video, summary
from training.data.fishbowl_released import open_fishbowl
from training.data.store import ClipFrame
from training.evaluate.fishbowl import ClipJob, clips_to_score, evaluate_clip, protocol, report
from training.evaluate.jobs import run_jobs
from training.evaluate.summary import paired_gain
from training.evaluate.tables import adapt_table, fishbowl_tables
from training.evaluate.video import Scores
from training.online import Setup
from training.prepare import fishbowl_frames
from training.results import keep_results

FIELDS = ("full", "occluded")


def first_frames(path: Path, count: int) -> Iterator[ClipFrame]:
    """The first frames of a FISHBOWL clip; all of them for 0."""
    return islice(fishbowl_frames(path), count or None)


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
    counts = {path: open_fishbowl(path).num_frames for path in clips_to_score(data, subset)}
    clips = [
        ClipJob(path, ("ours",), ours, subset, tuple(types), count // 2 if half else 0)
        for path, count in counts.items()
    ]
    jobs = [
        # What is scored from a later frame on is adapted to the frames before it.
        AdaptJob(c, evaluate_clip, partial(first_frames, c.path, c.first), config, weights_out)
        for c in clips
    ]
    steps = 2 * sum(counts.values()) + len(jobs) * config.max_iterations
    done = run_jobs(adapt_video, jobs, processes, steps, "adapting", console)
    metrics = {
        "protocol": protocol(ours.mode, subset, types),
        "adapt": dataclasses.asdict(config),
        "half": half,
        **summary("fishbowl", done, seed, report, gains),
    }
    fishbowl_tables(metrics, console)
    adapt_table(metrics, console)
    keep_results(out, metrics, seed, console)
    return metrics


def gains(before: Scores, after: Scores, seed: int) -> dict:
    """Gain of each of FIELDS by the paper's protocol with its interval."""
    pair = [scores["paper"] for scores in (before, after)]
    return {field: paired_gain(*pair, field, seed) for field in FIELDS}
