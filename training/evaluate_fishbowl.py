"""Scores methods on FISHBOWL clips by the paper's protocol."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from savos_model.types import Frame, Instance
from training.baselines.convex_hull import convex_hull
from training.baselines.flow_aggregation import ANY, HALF, DisPairFlow, aggregate
from training.boxed import BoxedMask
from training.data.fishbowl_released import (
    clip_paths,
    is_released,
    open_fishbowl,
    read_subset,
)
from training.evaluate import Tick, run_jobs
from training.methods import (
    HELP,
    Scene,
    describe_methods,
    from_files,
    label,
    masks_from_files,
    with_missing,
)
from training.metrics import PAPER, Masks, ObjectScore, score_frame
from training.online import Online, Setup
from training.results import write_results
from training.summary import describe, first_run, method_report
from training.tables import fishbowl_tables

METHODS = ("ours", "visible", "convex", "flow3", "flow5")
FLOW_METHOD = re.compile(r"flow([1-9]|1[0-9])(?:_(forward|backward))?(_any)?")


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


@dataclass(frozen=True)
class ClipResult:
    """Scores of one clip by method, and what our method ran on (empty without it).

    `missing` counts by method the scored objects without a result, which kept their visible mask.
    """

    name: str
    frames: int
    scores: dict[str, list[ObjectScore]]
    model: dict[str, str]
    missing: dict[str, int]


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Refuse unknown or repeated methods.

    Raises:
        ValueError: names the method and the possible ones.
    """
    for name in methods:
        known = name in ("ours", "visible", "convex") or from_files(name)
        if not known and not FLOW_METHOD.fullmatch(name):
            raise ValueError(
                f"methods must be of {', '.join(METHODS)}, or flowK with K from 1 to 19, then "
                f"_forward or _backward, then _any, as wished; or {HELP}; got {name!r}"
            )
    if len(set(methods)) != len(methods) or not methods:
        raise ValueError(f"methods must be named once each, got {','.join(methods) or 'none'}")
    return tuple(methods)


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


def evaluate_clip(job: ClipJob, tick: Tick) -> ClipResult:
    """Score one clip with every method; tick(1) after each frame of each method."""
    clip = open_fishbowl(job.path)
    given = [clip.instances(i) + clip.untracked(i) for i in range(clip.num_frames)]
    visible = [by_id(instances) for instances in given]
    truth = [clip.truth(index) for index in range(clip.num_frames)]
    full = [by_id(instances) for instances in truth]
    wanted = scored_ids(visible, full)
    for index, names in enumerate(wanted):
        if job.subset:
            listed = read_subset(job.path.parents[1], job.subset)
            names &= listed.get((int(clip.name), index), frozenset())
        if job.types:
            names &= {item.id for item in truth[index] if item.class_id in job.types}
        if index < job.first:
            names.clear()
    shape = (clip.height, clip.width)
    images = list(clip.frames()) if set(job.methods) - {"visible", "convex"} else []
    rules = Rules(images, visible, wanted, shape)
    missing: Counter[str] = Counter()
    scene = Scene(clip.name, lambda: zip(range(clip.num_frames), images, given, strict=True))
    steps = {
        name: masks_from_files(name, scene, missing, wanted)
        if from_files(name)
        else rules.masks(name)
        for name in job.methods
        if name != "ours"
    }
    model: dict[str, str] = {}
    if "ours" in job.methods:
        ours = Online(job.ours)
        model = ours.model
        steps["ours"] = ours.run(
            Frame(clip.stamp_ns(index), image, instances)
            for index, (image, instances) in enumerate(zip(images, given, strict=True))
        )
    scores: dict[str, list[ObjectScore]] = {name: [] for name in job.methods}
    # Frame by frame over all methods, so that they share the optical flow of the frames around.
    for index in range(clip.num_frames):
        for name in job.methods:
            masks = next(steps[name])
            scores[name] += score_frame(
                masks,
                full[index],
                visible[index],
                shape,
                ids=wanted[index],
                clip=clip.name,
                frame=index,
            )
            tick(1)
    return ClipResult(clip.name, clip.num_frames, scores, model, missing)


def by_id(instances: Sequence[Instance]) -> dict[str, BoxedMask]:
    """Masks by id."""
    return {item.id: BoxedMask(item.box, item.mask) for item in instances}


class Rules:
    """Masks by rules that need no learning, for the wanted objects of each frame."""

    def __init__(
        self,
        images: list[np.ndarray],
        visible: list[dict[str, BoxedMask]],
        wanted: list[set[str]],
        shape: tuple[int, int],
    ) -> None:
        self._visible, self._wanted, self._shape = visible, wanted, shape
        self._flow = DisPairFlow([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images])
        self._tracks = {
            name: {index: masks[name] for index, masks in enumerate(visible) if name in masks}
            for name in set().union(*wanted)
        }

    def masks(self, method: str) -> Iterator[dict[str, BoxedMask]]:
        """Masks by one method, a dictionary per frame."""
        for index, names in enumerate(self._wanted):
            yield {name: self._mask(method, name, index) for name in names}

    def _mask(self, method: str, name: str, index: int) -> BoxedMask:
        if method == "visible":
            return self._visible[index][name]
        if method == "convex":
            return convex_hull(self._visible[index][name])
        window, direction, touched = FLOW_METHOD.fullmatch(method).groups()
        return aggregate(
            self._tracks[name],
            self._flow,
            index,
            int(window),
            self._shape,
            direction or "both",
            ANY if touched else HALF,
        )


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
    frames = sum(result.frames for result in results)
    metrics = {
        "protocol": protocol(ours.mode, subset, types),
        "data": {"set": "fishbowl", "clips": [r.name for r in results], "frames": frames},
        "model": results[0].model,
        "files": with_missing(files, names, [result.missing for result in results]),
        "methods": {
            label(name): method_report((s for r in results for s in r.scores[name]), seed)
            for name in names
        },
    }
    fishbowl_tables(metrics, console)
    if out is not None:
        write_results(out, metrics, seed=seed)
        console.print(f"written: {out}")
    return metrics
