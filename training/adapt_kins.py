"""Scores weights on KINS-Video-Car before and after adaptation to each drive alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.adapt import AdaptConfig
from training.adapt_video import KITTI_BOUND, Adapted, AdaptJob, adapt_video, course
from training.data.kins_drives import Drive
from training.evaluate import run_jobs
from training.evaluate_kins import (
    RULES,
    DriveJob,
    about,
    evaluate_drive,
    kins_tables,
    protocol,
    protocols,
)
from training.online import Setup
from training.results import keep_results
from training.summary import paired_gain
from training.tables import adapt_table


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
        AdaptJob(
            DriveJob(drive, ("ours",), ours),
            evaluate_drive,
            drive.frames,
            config,
            weights_out,
            KITTI_BOUND,
        )
        for drive in drives
    ]
    frames = sum(len(drive.numbers) for drive in drives)
    steps = 2 * frames + len(jobs) * config.max_iterations
    done = run_jobs(adapt_video, jobs, processes, steps, "adapting", console)
    metrics = {
        "protocol": protocol(ours.mode),
        "adapt": dataclasses.asdict(config),
        **summary(done, seed),
    }
    kins_tables(metrics, console)
    adapt_table(metrics, console)
    keep_results(out, metrics, seed, console)
    return metrics


def summary(done: Sequence[Adapted], seed: int) -> dict:
    """What adapt_kins returns of its drives: data, model, methods, gain, videos."""
    base = [score for item in done for score in item.before.scores["ours"]]
    adapted = [score for item in done for score in item.after.scores["ours"]]
    kept = {"full": RULES["clean"].full, "occluded": RULES["clean"].occluded}
    return {
        "data": about([item.before for item in done]),
        "model": done[0].before.model,
        "methods": {"base": protocols(base, seed), "adapted": protocols(adapted, seed)},
        "gain": {
            field: paired_gain(
                filter(keeps, (score.clean for score in base)),
                filter(keeps, (score.clean for score in adapted)),
                field,
                seed,
            )
            for field, keeps in kept.items()
        },
        "videos": {item.before.name: course(item.result) for item in done},
    }
