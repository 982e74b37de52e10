"""Scores methods on FISHBOWL clips by the paper's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from savos_model.types import AmodalObject, Frame
from training.boxed import by_id
from training.data.fishbowl_released import clip_paths, is_released, open_fishbowl, read_subset
from training.evaluate.jobs import Tick, run_jobs
from training.evaluate.methods import describe_methods
from training.evaluate.metrics import PAPER, Masks, score_frame
from training.evaluate.open import births, open_ids, open_protocol, open_report, score_open
from training.evaluate.summary import describe, first_run, method_report
from training.evaluate.tables import fishbowl_tables, open_table
from training.evaluate.video import (
    Score,
    Scores,
    Video,
    VideoResult,
    check_methods,
    evaluate_video,
    metrics_of,
)
from training.online import Setup
from training.results import keep_results


@dataclass(frozen=True)
class ClipJob:
    """One clip to score.

    Attributes:
        path: of the clip, as clip_paths gives it.
        methods: names as check_methods accepts them.
        ours: how our method runs.
        subset: of the released test; "" scores every fish that fits the rules.
        types: species scored; empty for all.
        first: the first frame scored.
    """

    path: Path
    methods: tuple[str, ...]
    ours: Setup
    subset: str = ""
    types: tuple[str, ...] = ()
    first: int = 0


def scored_ids(visible: Sequence[Masks], full: Sequence[Masks]) -> list[set[str]]:
    """Objects that the paper's protocol scores in each frame.

    A track counts in the inner frames of its first contiguous run of frames in which the whole and
    the visible mask are large enough; of these, the frames whose occlusion rate lies inside the
    interval are scored.
    """
    ids = {name for masks in full for name in masks}
    chosen: list[set[str]] = [set() for _ in full]
    for name in ids:
        areas = np.array([[_area(masks, name) for masks in kind] for kind in (visible, full)])
        eligible = (areas[0] > PAPER.min_visible_px) & (areas[1] > PAPER.min_full_px)
        for frame in first_run(eligible.tolist()):
            rate = 1.0 - areas[0, frame] / areas[1, frame]
            if PAPER.min_occlusion < rate < PAPER.max_occlusion:
                chosen[frame].add(name)
    return chosen


def _area(masks: Masks, name: str) -> int:
    return int(np.count_nonzero(masks[name][1])) if name in masks else 0


def protocol(mode: str, subset: str, types: Sequence[str]) -> dict:
    """The rules of a run, for result files."""
    return {
        "rules": describe(),
        "mode": mode,
        "inner_frames_of_first_run": True,
        "subset": subset,
        "types": list(types),
        "open": open_protocol(),
    }


def clips_to_score(data: Path, subset: str = "") -> list[Path]:
    """Clips of a folder.

    Raises:
        ValueError: there are none, or the folder has no such subset.
        MissingPartError: a part of the released test data is missing.
    """
    paths = clip_paths(data)
    if not paths:
        raise ValueError(
            f"{data} holds no FISHBOWL clips (NAME.mp4 with NAME.json.gz): check the folder"
        )
    if subset and not is_released(data):
        raise ValueError(f"subset {subset} is of the released test data, {data} has other clips")
    if subset:
        read_subset(data, subset)
    return paths


def evaluate_clip(job: ClipJob, tick: Tick) -> VideoResult:
    """Score one clip with every method; tick(1) after each frame of each method."""
    clip = open_fishbowl(job.path)
    given = [clip.instances(i) + clip.untracked(i) for i in range(clip.num_frames)]
    visible = [by_id(instances) for instances in given]
    truth = [clip.truth(index) for index in range(clip.num_frames)]
    full = [by_id(instances) for instances in truth]
    wanted, opened = scored_ids(visible, full), open_ids(visible, full)
    for index in range(clip.num_frames):
        for names in (wanted[index], opened[index]):
            if job.subset:
                listed = read_subset(job.path.parents[1], job.subset)
                names &= listed.get((int(clip.name), index), frozenset())
            if job.types:
                names &= {item.id for item in truth[index] if item.class_id in job.types}
            if index < job.first:
                names.clear()
    shape = (clip.height, clip.width)

    def frames() -> Iterator[Frame]:
        for index, (image, instances) in enumerate(zip(clip.frames(), given, strict=True)):
            yield Frame(clip.stamp_ns(index), image, instances)

    score = scorer(clip.name, shape, visible, full, wanted, opened)
    union = [one | other for one, other in zip(wanted, opened, strict=True)]
    video = Video(clip.name, shape, range(clip.num_frames), frames, visible, union)
    return evaluate_video(video, job.methods, job.ours, score, tick)


def scorer(
    clip: str,
    shape: tuple[int, int],
    visible: Sequence[Masks],
    full: Sequence[Masks],
    paper: Sequence[set[str]],
    opened: Sequence[set[str]],
) -> Score:
    """Return what scores a frame of a clip by both protocols, "paper" and "open".

    Args:
        clip: its name.
        shape: image rows and columns.
        visible: all visible masks by id, frame by frame.
        full: whole objects.
        paper: ids that the paper's protocol scores.
        opened: ids that the open protocol scores.
    """
    born = births(visible)

    def score(index: int, masks: Masks | list[AmodalObject]) -> Scores:
        frame = (masks, full[index], visible[index], shape)
        where = {"clip": clip, "frame": index}
        return {
            "paper": score_frame(*frame, ids=paper[index], **where),
            "open": score_open(*frame, ids=opened[index], born=born, **where),
        }

    return score


def report(scores: Scores, seed: int = 0) -> dict:
    """Summarise one method by both protocols, as method_report and open_report do."""
    return {**method_report(scores["paper"], seed), **open_report(scores["open"], seed)}


def evaluate_fishbowl(
    data: Path,
    methods: Sequence[str],
    ours: Setup,
    out: Path | None,
    *,
    processes: int = 1,
    seed: int = 0,
    subset: str = "",
    types: Sequence[str] = (),
    console: Console | None = None,
) -> dict:
    """Score all clips of a folder, print the tables and write the results file.

    Args:
        data: folder of clips, or of the released test data.
        methods: names as check_methods accepts them.
        ours: how our method runs.
        out: results file; None writes none.
        processes: worker processes.
        seed: of the bootstrap.
        subset: of the released test: test, or test1 to test4; "" for all that fits the rules.
        types: species scored; empty for all.
        console: where tables and progress go; standard output when None.

    Returns:
        The metrics: protocol, data, model, files (of methods read from files), methods.

    Raises:
        ValueError: no clips, or bad arguments.
    """
    console = console or Console()
    names, files = check_methods(methods), describe_methods(methods)
    paths = clips_to_score(data, subset)
    jobs = [ClipJob(path, names, ours, subset, tuple(types)) for path in paths]
    steps = sum(open_fishbowl(path).num_frames for path in paths) * len(names)
    results = run_jobs(evaluate_clip, jobs, processes, steps, "scoring", console)
    rules = protocol(ours.mode, subset, types)
    metrics = metrics_of("fishbowl", rules, results, names, files, seed, report)
    fishbowl_tables(metrics, console)
    open_table(metrics["methods"], console)
    keep_results(out, metrics, seed, console)
    return metrics
