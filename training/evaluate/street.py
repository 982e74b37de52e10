"""Scores methods on generated street scenes by the rules of the FISHBOWL protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from savos_model.settings import check_settings, setting
from savos_model.types import Frame, Instance
from training.boxed import by_id
from training.data.street import generate
from training.data.street_config import StreetConfig
from training.evaluate.fishbowl import protocol, report, scored_ids, scorer
from training.evaluate.jobs import Tick, run_jobs
from training.evaluate.methods import describe_methods
from training.evaluate.open import open_ids
from training.evaluate.tables import fishbowl_tables, open_table
from training.evaluate.video import Video, VideoResult, check_methods, evaluate_video, metrics_of
from training.online import Setup
from training.results import keep_results


@dataclass(frozen=True)
class StreetScenes:
    """Which scenes are scored; their masks are exact."""

    scenes: int = setting(12, "scenes, one after the other seed", minimum=1)
    frames: int = setting(60, "frames of each", minimum=5)
    first_seed: int = setting(1000, "seed of the first; far from those trained on", minimum=0)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class SceneJob:
    """One scene to score: seed and frames, methods, and how ours runs."""

    seed: int
    frames: int
    methods: tuple[str, ...]
    ours: Setup


def evaluate_scene(job: SceneJob, tick: Tick) -> VideoResult:
    """Score one scene with every method; tick(1) after each frame of each method."""
    frames, full = [], []
    for made in generate(StreetConfig(seed=job.seed, frames=job.frames)):
        seen = [item for item in made.objects if item.visible is not None]
        masks = [Instance(str(item.id), *item.visible) for item in seen]
        frames.append(Frame(made.stamp_ns, made.image, masks))
        full.append({str(item.id): item.full for item in seen})
    visible = [by_id(frame.instances) for frame in frames]
    wanted, opened = scored_ids(visible, full), open_ids(visible, full)
    name, shape = f"street_{job.seed:04d}", frames[0].image.shape[:2]
    score = scorer(name, shape, visible, full, wanted, opened)
    union = [one | other for one, other in zip(wanted, opened, strict=True)]

    def again() -> Iterator[Frame]:
        return iter(frames)

    video = Video(name, shape, range(len(frames)), again, visible, union)
    return evaluate_video(video, job.methods, job.ours, score, tick)


def evaluate_street(
    scenes: StreetScenes,
    methods: Sequence[str],
    ours: Setup,
    out: Path | None,
    *,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score generated scenes, print the tables and write the results file.

    Args:
        scenes: which.
        methods: names as check_methods accepts them.
        ours: how our method runs.
        out: results file; None writes none.
        processes: worker processes.
        seed: of the bootstrap.
        console: where tables and progress go; standard output when None.

    Returns:
        The metrics, as evaluate_fishbowl gives them.

    Raises:
        ValueError: bad arguments.
    """
    console = console or Console()
    names, files = check_methods(methods), describe_methods(methods)
    seeds = range(scenes.first_seed, scenes.first_seed + scenes.scenes)
    jobs = [SceneJob(number, scenes.frames, names, ours) for number in seeds]
    steps = scenes.scenes * scenes.frames * len(names)
    results = run_jobs(evaluate_scene, jobs, processes, steps, "scoring", console)
    metrics = metrics_of("street", protocol(ours.mode, "", ()), results, names, files, seed, report)
    fishbowl_tables(metrics, console)
    open_table(metrics["methods"], console)
    keep_results(out, metrics, seed, console)
    return metrics
