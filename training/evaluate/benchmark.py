"""The one way of scoring methods on a data set; each data set is a Benchmark."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

from rich.console import Console

from savos_model.results import keep_results
from savos_model.stream.video import Setup
from training.data.jobs import Tick, run_jobs, threads_each, worker_count
from training.evaluate.settings import DEFAULT_OUTPUT, Output
from training.evaluate.tables import Table, tables_of
from training.evaluate.video import (
    Scores,
    Video,
    VideoResult,
    check_methods,
    describe_methods,
    label,
    merged,
    score_videos,
    with_missing,
)


class Benchmark:
    """A data set that methods are scored on: a frozen, picklable dataclass of its options.

    Attributes:
        name: of the data set in result files.
        flow: whether methods that follow optical flow can be scored.
        half: whether the second half of each video alone is scored; see training.adapt.scored.
        compared: methods scored when weights are adapted, and their names next to "adapted".
        licence: that adapted weights fall under; "" for that of the weights themselves.
    """

    name: ClassVar[str]
    flow: ClassVar[bool] = True
    half: bool = False
    compared: ClassVar[Mapping[str, str]] = {"ours": "base"}
    licence: ClassVar[str] = ""

    def check(self, ours: Setup) -> None:
        """Refuse a setup that does not fit the data by a ValueError."""

    def entries(self) -> Sequence[tuple[Any, int]]:
        """List what is scored: picklable keys for `open`, and frames of each.

        Raises ValueError: nothing is there, or it is damaged.
        """
        raise NotImplementedError

    def open(self, key: Any) -> Iterable[Video]:
        """Open the videos of a key."""
        raise NotImplementedError

    def about(self, ours: Setup, results: Sequence[VideoResult]) -> dict:
        """Return protocol and data, for result files."""
        return {"data": data_of(self.name, results)}

    def report(self, scores: Scores, seed: int) -> dict:
        """Return what is reported of the scores of one method on all videos."""
        raise NotImplementedError

    def summarise(self, scores: Mapping[str, Scores], seed: int) -> dict:
        """Return what is reported of the scores of all videos by method."""
        return {"methods": {name: self.report(found, seed) for name, found in scores.items()}}

    def gain(self, before: Scores, after: Scores, seed: int) -> dict:
        """Return gains by name, each mean and ci95, of scores of the same frames."""
        raise NotImplementedError


@dataclass(frozen=True)
class Job:
    """Some videos to score, by which methods, and how ours runs."""

    benchmark: Benchmark
    key: Any
    methods: tuple[str, ...]
    ours: Setup


def run(job: Job, tick: Tick) -> list[VideoResult]:
    """Score the videos of a job; tick(1) after each frame of each method."""
    return score_videos(job.benchmark.open(job.key), job.methods, job.ours, tick)


def run_all(
    benchmark: Benchmark,
    methods: Sequence[str],
    setups: Sequence[Setup],
    output: Output,
    work: Callable[[Job, Tick], list] = run,
) -> list[list]:
    """Score all videos with each setup; return the results of `work` in the order of `setups`."""
    entries = benchmark.entries()
    steps = sum(frames for _, frames in entries) * len(methods) * len(setups)
    processes = worker_count(output.processes, len(entries) * len(setups), steps)
    jobs = [
        Job(benchmark, key, tuple(methods), with_threads(ours, processes))
        for ours in setups
        for key, _ in entries
    ]
    done = run_jobs(work, jobs, processes, steps, "scoring")
    parts = (done[i : i + len(entries)] for i in range(0, len(done), len(entries)))
    return [list(chain.from_iterable(part)) for part in parts]


def with_threads(ours: Setup, processes: int) -> Setup:
    """Return a setup whose network leaves cores to the other processes; its masks are the same."""
    threads = threads_each(ours.backend.threads, processes)
    return replace(ours, backend=replace(ours.backend, threads=threads))


def evaluate(
    benchmark: Benchmark,
    methods: Sequence[str],
    ours: Setup,
    output: Output = DEFAULT_OUTPUT,
) -> dict:
    """Score methods on a data set, print the tables and write the results file of `output`.

    `methods` are names as check_methods accepts them, `ours` says how ours runs.

    Returns:
        The metrics: protocol and data of the benchmark, model, files (of methods read from files),
        and the summaries of the scores.

    Raises:
        ValueError: bad arguments, or files that are missing or broken.
    """
    names, files = check_methods(methods, benchmark.flow), describe_methods(methods)
    benchmark.check(ours)
    (results,) = run_all(benchmark, names, [ours], output)
    scores = {label(name): merged(result.scores[name] for result in results) for name in names}
    metrics = {
        **benchmark.about(ours, results),
        "model": results[0].model,
        "files": with_missing(files, names, [result.missing for result in results]),
        **benchmark.summarise(scores, output.seed),
    }
    return report(metrics, tables_of(metrics), output)


def report(metrics: dict, tables: Iterable[Table], output: Output) -> dict:
    """Print the tables of metrics, write the results file and return the metrics."""
    console = Console()
    for table in tables:
        table.show(console)
    keep_results(output.json, metrics, output.seed, console)
    return metrics


def data_of(name: str, results: Sequence[VideoResult]) -> dict:
    """Return what was scored of a set, for result files."""
    frames = sum(result.frames for result in results)
    return {"set": name, "clips": [result.name for result in results], "frames": frames}
