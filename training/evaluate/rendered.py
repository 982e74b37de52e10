"""Scores methods on rendered clips: by the paper's and by the open protocol, kinds apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.data.fishbowl_released import open_fishbowl
from training.evaluate.fishbowl import ClipJob, clips_to_score, evaluate_clip, protocol, report
from training.evaluate.jobs import run_jobs
from training.evaluate.methods import describe_methods
from training.evaluate.tables import fishbowl_tables, open_table
from training.evaluate.video import VideoResult, check_methods, metrics_of
from training.online import Setup
from training.results import keep_results


def kind_of(clip: str) -> str:
    """Return the kind of a clip, the last part of its name: street or table."""
    return clip.rpartition("_")[2]


def evaluate_rendered(
    data: Path,
    methods: Sequence[str],
    ours: Setup,
    out: Path | None,
    *,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score all clips of a folder, print the tables and write the results file.

    Args:
        data: folder of clips in FISHBOWL's layout, named rendered_SEED_KIND.
        methods: names as check_methods accepts them.
        ours: how our method runs.
        out: results file; None writes none.
        processes: worker processes.
        seed: of the bootstrap.
        console: where tables and progress go; standard output when None.

    Returns:
        The metrics, as evaluate_fishbowl gives them, and kinds: by kind data and methods.

    Raises:
        ValueError: no clips, or bad arguments.
    """
    console = console or Console()
    names, files = check_methods(methods), describe_methods(methods)
    paths = clips_to_score(data)
    jobs = [ClipJob(path, names, ours) for path in paths]
    steps = sum(open_fishbowl(path).num_frames for path in paths) * len(names)
    results = run_jobs(evaluate_clip, jobs, processes, steps, "scoring", console)
    rules = protocol(ours.mode, "", ())

    def metrics_for(some: Sequence[VideoResult]) -> dict:
        return metrics_of("rendered", rules, some, names, files, seed, report)

    metrics = metrics_for(results)
    metrics["kinds"] = {}
    for kind in sorted({kind_of(result.name) for result in results}):
        part = metrics_for([result for result in results if kind_of(result.name) == kind])
        metrics["kinds"][kind] = {name: part[name] for name in ("data", "methods")}
        open_table(part["methods"], console, kind)
    fishbowl_tables(metrics, console)
    open_table(metrics["methods"], console)
    keep_results(out, metrics, seed, console)
    return metrics
