"""Scores the extent of completed masks on real video against KITTI's amodal boxes."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from savos_model.types import AmodalObject, Box, Frame, Instance
from training.baselines.convex_hull import convex_hull
from training.boxed import EMPTY, BoxedMask, box_around, by_id, look_at, tighten
from training.data.kitti_mots import KittiClip, KittiError, KittiLabel, open_tracking
from training.evaluate.jobs import Tick, run_jobs
from training.evaluate.methods import (
    HELP,
    Scene,
    describe_methods,
    from_files,
    label,
    masks_from_files,
    with_missing,
)
from training.evaluate.metrics import mean, published_masks
from training.evaluate.summary import cluster_interval
from training.evaluate.tables import kitti_table
from training.matching import match
from training.online import Online, Setup
from training.results import keep_results

METHODS = ("ours", "visible", "convex")
LEVELS = (0, 1, 2)
MAX_SHRINK = 20
COUNTS = (
    "frames", "frames_with_masks", "frames_answered", "objects", "objects_answered",
    "objects_scored", "unmatched", "unlabelled",
)  # fmt: skip


@dataclass(frozen=True)
class SequenceJob:
    """One sequence to score: folder in the KITTI MOTS layout, name, truth or tracker masks.

    Frames before place `first` of the sequence are answered, not scored. All given masks are eroded
    by `shrink` [px] first.
    """

    data: Path
    sequence: str
    masks: str
    methods: tuple[str, ...]
    ours: Setup
    first: int = 0
    shrink: int = 0


@dataclass(frozen=True)
class BoxScore:
    """One object of one frame.

    Attributes:
        track, level: the track and its occlusion level, 0 to 2.
        iou: box IoU by method.
        coverage: share of the label box that the mask's box covers, by method.
        growth: pixels published outside the visible mask and its holes, over its area, by method;
            the visible mask as it was before `shrink`.
        in_holes: pixels published in holes of the visible mask, over its area, by method.
    """

    track: str
    level: int
    iou: dict[str, float]
    coverage: dict[str, float]
    growth: dict[str, float]
    in_holes: dict[str, float]


def count_frames(data: Path, sequences: Sequence[str]) -> list[int]:
    """Frames of each sequence.

    Raises:
        KittiError: a sequence has no label boxes, so nothing of it could be scored.
    """
    clips = [open_tracking(data, name, "none") for name in sequences]
    for clip in clips:
        if not clip.labels:
            raise KittiError(
                f"{data} has no labels of sequence {clip.name} to score by: put "
                f"training/label_02/{clip.name}.txt there, of KITTI tracking's training labels"
            )
    return [len(clip.frames) for clip in clips]


def label_box(label: KittiLabel) -> Box:
    """Half-open box of a label.

    Labels are in pixel indices (boxes cut at the image border end at width - 1), hence the + 1.
    """
    x0, y0, x1, y1 = label.box
    return Box(x0, y0, x1 + 1, y1 + 1)


def box_overlap(box: Box, truth: Box) -> tuple[float, float]:
    """IoU of two boxes and the share of `truth` that `box` covers, each 0..1."""
    width = min(box.x1, truth.x1) - max(box.x0, truth.x0)
    height = min(box.y1, truth.y1) - max(box.y0, truth.y0)
    common = max(width, 0.0) * max(height, 0.0)
    areas = [item.width * item.height for item in (box, truth)]
    return common / (sum(areas) - common), common / areas[1]


def grown(published: BoxedMask, given: BoxedMask) -> tuple[float, float]:
    """Measure what a published mask adds to a given one, over the given one's area.

    Returns:
        Share outside the given mask, and share inside holes of it: annotated masks have holes at
        windows of cars, and filling them is no growth.
    """
    view = box_around([published[0], given[0]])
    mask, own = look_at(published, view), look_at(given, view)
    outlines, _ = cv2.findContours(own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(own.shape, np.uint8), outlines, -1, 1, cv2.FILLED) > 0
    added, area = mask & ~own, max(1, int(own.sum()))
    return int((added & ~filled).sum()) / area, int((added & filled).sum()) / area


def shrunk(items: Sequence[Instance], pixels: int) -> list[Instance]:
    """Erode masks by some pixels on every side, at the image border too; empty ones are dropped."""
    if not pixels:
        return list(items)
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    kept = []
    for item in items:
        mask = cv2.erode(np.pad(item.mask, pixels), kernel)[pixels:-pixels, pixels:-pixels]
        box, mask = tighten((item.box, mask))
        if mask.size:
            kept.append(dataclasses.replace(item, box=box, mask=mask))
    return kept


def evaluate_sequence(
    job: SequenceJob, tick: Tick
) -> tuple[list[BoxScore], Counter, dict[str, str]]:
    """Score one sequence, frame by frame as a robot sees it.

    Returns:
        Scores; counts as named in COUNTS (unmatched: true objects without a given mask; unlabelled:
        matched, but without a label of level 0 to 2); what our method ran on.
    """
    truth_clip = open_tracking(job.data, job.sequence)
    clip = truth_clip if job.masks == "truth" else open_tracking(job.data, job.sequence, "tracker")
    ours = Online(job.ours) if "ours" in job.methods else None
    seen: deque[Frame] = deque()  # frames that our method has read but not answered yet

    def read() -> Iterator[tuple[int, np.ndarray, list[Instance]]]:
        for frame in clip.frames:
            image = clip.image(frame)
            yield frame, image, shrunk(clip.instances(frame, image.shape[:2]), job.shrink)

    def frames() -> Iterator[Frame]:
        for frame, image, given in read():
            seen.append(Frame(clip.stamp_ns(frame), image, given))
            yield seen[-1]

    scores: list[BoxScore] = []
    counts: Counter = Counter()
    scene = Scene(job.sequence, read)
    files = {m: masks_from_files(m, scene, counts) for m in job.methods if from_files(m)}
    answers = ours.run(frames()) if ours else (None for _ in frames())
    for frame, objects in zip(clip.frames, answers, strict=True):
        shown = seen.popleft()
        given = shown.instances
        _count(given, objects, counts)
        truth = truth_clip.instances(frame, shown.image.shape[:2])
        pairs = (
            match(given, truth) if job.masks == "tracker" else {item.id: item.id for item in given}
        )
        counts["unmatched"] += len(truth) - len(pairs)
        masks = _masks_by_method(given, objects, job.methods)
        masks |= {label(name): published_masks(next(answer)) for name, answer in files.items()}
        if frame >= clip.frames[job.first]:
            whole = by_id(clip.instances(frame, shown.image.shape[:2]))
            scores += _frame_scores(truth_clip, frame, pairs, masks, whole, counts)
        tick(1)
    return scores, counts, ours.model if ours else {}


def _count(given: list[Instance], objects: list[AmodalObject] | None, counts: Counter) -> None:
    counts["frames"] += 1
    counts["frames_with_masks"] += bool(given)
    counts["objects"] += len(given)
    if objects is not None:
        answered = {item.id for item in given} & {item.id for item in objects}
        counts["objects_answered"] += len(answered)
        counts["frames_answered"] += bool(given) and len(answered) == len(given)


def _masks_by_method(
    given: list[Instance], objects: list[AmodalObject] | None, methods: Sequence[str]
) -> dict[str, dict]:
    visible = by_id(given)
    masks = {
        "visible": visible,
        "convex": {name: convex_hull(mask) for name, mask in visible.items()},
        "ours": published_masks(objects or []),
    }
    return {name: masks[name] for name in methods if name in masks}


def _frame_scores(
    clip: KittiClip,
    frame: int,
    pairs: dict[str, str],
    masks: dict[str, dict],
    given: dict[str, BoxedMask],
    counts: Counter,
) -> list[BoxScore]:
    labels = {label.track_id: label for label in clip.labels.get(frame, []) if label.track_id >= 0}
    scores = []
    for truth_id, given_id in pairs.items():
        label = labels.get(int(truth_id) % 1000)
        if label is None or label.occluded not in LEVELS:
            counts["unlabelled"] += 1
            continue
        counts["objects_scored"] += 1
        found = {name: tighten(some.get(given_id, EMPTY)) for name, some in masks.items()}
        numbers = {
            name: (*box_overlap(mask.box, label_box(label)), *grown(mask, given[given_id]))
            for name, mask in found.items()
        }
        columns = ({name: row[i] for name, row in numbers.items()} for i in range(4))
        scores.append(BoxScore(f"{clip.name}/{truth_id}", label.occluded, *columns))
    return scores


def summarise_levels(
    scores: Sequence[BoxScore], methods: Sequence[str], seed: int = 0
) -> dict[str, dict]:
    """Means, medians and coverage by occlusion level and method.

    Returns:
        By level "0", "1", "2" and "1+2": n, tracks, and by method iou_mean, iou_median,
        coverage_mean, coverage_median, growth_mean and in_holes_mean; gain_over_visible: mean IoU
        difference with its 95 % interval over tracks.
    """
    report: dict[str, dict] = {}
    for name, levels in {**{str(level): (level,) for level in LEVELS}, "1+2": (1, 2)}.items():
        kept = [score for score in scores if score.level in levels]
        tracks = len({score.track for score in kept})
        report[name] = {"n": len(kept), "tracks": tracks, "methods": {}}
        for method in methods if kept else ():
            overlaps = np.array([score.iou[method] for score in kept])
            shares = np.array([score.coverage[method] for score in kept])
            numbers = {
                "iou_mean": float(overlaps.mean()),
                "iou_median": float(np.median(overlaps)),
                "coverage_mean": float(shares.mean()),
                "coverage_median": float(np.median(shares)),
                "growth_mean": mean(score.growth[method] for score in kept),
                "in_holes_mean": mean(score.in_holes[method] for score in kept),
            }
            if method != "visible" and "visible" in methods:
                numbers["gain_over_visible"] = gain(kept, method, "visible", seed)
            report[name]["methods"][method] = numbers
    return report


def gain(scores: Sequence[BoxScore], method: str, over: str, seed: int = 0) -> dict:
    """Mean difference of box IoU of two methods with its 95 % interval over tracks."""
    gains: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        gains[score.track].append(score.iou[method] - score.iou[over])
    values = [value for track in gains.values() for value in track]
    return {"mean": float(np.mean(values)), "ci95": cluster_interval(gains, seed)}


def evaluate_kitti(
    data: Path,
    sequences: Sequence[str],
    masks: str,
    ours: Setup,
    out: Path | None,
    *,
    methods: Sequence[str] = METHODS,
    shrink: int = 0,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score sequences, print the table and write the results file.

    Args:
        data: folder in the KITTI MOTS layout.
        sequences: four-digit names.
        masks: "truth" (MOTS annotation) or "tracker" (predicted masks).
        ours: how our method runs.
        out: results file; None writes none.
        methods: of METHODS or read from files.
        shrink: pixels by which all given masks are eroded, as predicted masks often are.
        processes: worker processes.
        seed: of the bootstrap.
        console: where table and progress go; standard output when None.

    Raises:
        ValueError: bad arguments, or files that are missing or broken.
    """
    console = console or Console()
    if masks not in ("truth", "tracker"):
        raise ValueError(f"masks must be truth or tracker, got {masks!r}")
    if not 0 <= shrink <= MAX_SHRINK:
        raise ValueError(f"shrink must be between 0 and {MAX_SHRINK} pixels, got {shrink}")
    unknown = sorted(m for m in methods if m not in METHODS and not from_files(m))
    if unknown or not methods or not sequences:
        raise ValueError(
            f"methods must be of {', '.join(METHODS)}, {HELP}, and sequences named, got {unknown}"
        )
    files = describe_methods(methods)
    jobs = [
        SequenceJob(data, name, masks, tuple(methods), ours, shrink=shrink) for name in sequences
    ]
    steps = sum(count_frames(data, sequences))
    results = run_jobs(evaluate_sequence, jobs, processes, steps, "scoring", console)
    scores = [score for found, _, _ in results for score in found]
    metrics = {
        "data": {
            "set": "kitti_mots",
            "sequences": list(sequences),
            "masks": masks,
            "shrink": shrink,
        },
        "mode": ours.mode,
        "answered": {name: sum(counts[name] for _, counts, _ in results) for name in COUNTS},
        "model": results[0][2],
        "files": with_missing(files, methods, [counts for _, counts, _ in results]),
        "levels": summarise_levels(scores, [label(name) for name in methods], seed),
    }
    kitti_table(metrics, console)
    keep_results(out, metrics, seed, console)
    return metrics
