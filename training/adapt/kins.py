"""Scores weights on KINS-Video-Car before and after adaptation to each drive alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.adapt.adapt import AdaptConfig
from training.adapt.scored import KITTI_BOUND, AdaptJob, adapt_video, summary
from training.data.kins_drives import Drive
from training.evaluate.jobs import run_jobs
from training.evaluate.kins import (
    RULES,
    DriveJob,
    evaluate_drive,
    kins_tables,
    protocol,
    protocols,
)
from training.evaluate.summary import paired_gain
from training.evaluate.tables import adapt_table
from training.evaluate.video import Scores
from training.online import Setup
from training.results import keep_results


def adapt_kins(
    drives: Sequence[Drive],
    ours: Setup,
    config: AdaptConfig,
    out: Path | None,
    weights_out: Path | None,
    *,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Adapt to every drive by itself, print the tables and write the results file.

    The adapted weights fall under KITTI's licence. All rows of a drive are held in memory.

    Args:
        drives: with truth, as annotated_drives finds them; truth is read for scoring alone.
        ours: how our method runs; names the weights to start from.
        config: the adaptation.
        out: results file; None writes none.
        weights_out: folder of the adapted weights, one file per drive; None keeps none.
        processes: worker processes.
        seed: of the bootstrap.
        console: where tables and progress go; standard output when None.

    Returns:
        The metrics: as evaluate_kins's with the methods base and adapted, and adapt, videos, gain
        (full, occluded by the clean rule: adapted minus base with its 95 % interval over drives;
        by the released one the two leave out different objects).

    Raises:
        ValueError: bad arguments, or files that are missing or broken.
    """
    console = console or Console()
    jobs = [
        AdaptJob(job, evaluate_drive, job.drive.frames, config, weights_out, KITTI_BOUND)
        for job in (DriveJob(drive, ("ours",), ours) for drive in drives)
    ]
    frames = sum(len(drive.numbers) for drive in drives)
    steps = 2 * frames + len(jobs) * config.max_iterations
    done = run_jobs(adapt_video, jobs, processes, steps, "adapting", console)
    metrics = {
        "protocol": protocol(ours.mode),
        "adapt": dataclasses.asdict(config),
        **summary("kins_video_car", done, seed, protocols, clean_gains),
    }
    kins_tables(metrics, console)
    adapt_table(metrics, console)
    keep_results(out, metrics, seed, console)
    return metrics


def clean_gains(before: Scores, after: Scores, seed: int) -> dict:
    """Gain of full and occluded by the clean rule, with its interval."""
    kept = {"full": RULES["clean"].full, "occluded": RULES["clean"].occluded}
    pair = [scores["clean"] for scores in (before, after)]
    return {
        field: paired_gain(*(filter(keeps, scores) for scores in pair), field, seed)
        for field, keeps in kept.items()
    }
