"""Scores methods on KINS-Video-Car: by the released rule and by a clean one."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from savos_model.types import AmodalObject, Frame, Instance
from training.boxed import by_id
from training.data.kins_drives import Drive
from training.data.kitti_time import regular_stamp
from training.data.store import ClipFrame
from training.evaluate.jobs import Tick, run_jobs
from training.evaluate.methods import describe_methods
from training.evaluate.metrics import Masks, ObjectScore, score_frame, summarise
from training.evaluate.summary import bootstrap, by_occlusion
from training.evaluate.tables import fishbowl_tables
from training.evaluate.video import (
    Scores,
    Video,
    VideoResult,
    check_methods,
    evaluate_video,
    metrics_of,
)
from training.online import Setup
from training.results import keep_results

HIDDEN_SHARE = 0.1  # of an object's true pixels; behind a lesser part no completion can be judged


class Rule(NamedTuple):
    """Which object-frames count in each of the two means, and how that is told."""

    text: str
    full: Callable[[ObjectScore], bool]
    occluded: Callable[[ObjectScore], bool]


# The released rule drops objects that a method completes perfectly along with the unoccluded ones,
# and an unoccluded one counts 0 in `occluded` as soon as one pixel is claimed.
RULES = {
    "released": Rule(
        "as released: hidden is what lies behind other tracked cars; each mean leaves out the "
        "objects whose IoU is exactly 1",
        lambda score: score.full != 1.0,
        lambda score: score.occluded != 1.0,
    ),
    "clean": Rule(
        "clean: hidden is what lies behind any mask; full of all objects, occluded of those with "
        f"more than {100 * HIDDEN_SHARE:.0f} % hidden",
        lambda score: True,
        lambda score: score.hidden_px > HIDDEN_SHARE * score.full_px,
    ),
}


@dataclass(frozen=True)
class DriveJob:
    """One drive to score: by which methods, and how ours runs."""

    drive: Drive
    methods: tuple[str, ...]
    ours: Setup


def evaluate_drive(job: DriveJob, tick: Tick) -> VideoResult:
    """Score the objects of one drive that a track shows (IoU at least 0.5) where KINS has truth.

    Returns:
        Scores by each of RULES; the frames of a score are numbered as in the drive.
    """
    drive = job.drive
    tracked, visible, full, shape = [], [], [], (0, 0)
    for frame in drive.frames():
        tracked.append({own_id(name): mask for name, mask in by_id(frame.instances).items()})
        visible.append(by_id(given(frame)))
        full.append({own_id(name): mask for name, mask in (frame.full or {}).items()})
        shape = frame.image.shape[:2]

    def score(index: int, masks: Masks | list[AmodalObject]) -> Scores:
        if not full[index]:
            return {}
        where = {"clip": drive.name, "frame": drive.numbers[index]}
        kinds = {"released": tracked[index], "clean": visible[index]}
        return {
            k: score_frame(masks, full[index], kind, shape, **where) for k, kind in kinds.items()
        }

    video = Video(
        drive.name,
        shape,
        drive.numbers,
        lambda: stream_frames(drive),
        visible,
        [set(masks) for masks in full],
    )
    return evaluate_video(video, job.methods, job.ours, score, tick)


def own_id(name: str) -> str:
    """The tracker's id without the run that stored clips put before it."""
    return name.rpartition("/")[2]


def given(frame: ClipFrame) -> list[Instance]:
    """All masks of a frame: tracked cars, then what else hides, under ids that no car has."""
    cars = [dataclasses.replace(item, id=own_id(item.id)) for item in frame.instances]
    others = [
        dataclasses.replace(item, id=f"untracked/{item.class_id}/{item.id}")
        for item in frame.untracked
    ]
    return cars + others


def stream_frames(drive: Drive) -> Iterator[Frame]:
    """Frames as the stream takes them, with the released flow where it is there."""
    ahead = None
    for number, frame in zip(drive.numbers, drive.frames(), strict=True):
        stamp = regular_stamp(number)
        yield Frame(stamp, frame.image, given(frame), flow=ahead, flow_back=frame.flow_back)
        ahead = frame.flow


def protocols(scores: Scores, seed: int = 0) -> dict[str, dict]:
    """The report of each of RULES, by its name."""
    return {name: rule_report(scores.get(name, []), rule, seed) for name, rule in RULES.items()}


def rule_report(scores: Sequence[ObjectScore], rule: Rule, seed: int = 0) -> dict:
    """Everything reported about one method by one rule.

    Returns:
        The fields of metrics.summarise, over the objects of `full`, except for occluded and
        occluded_object, whose objects n_occluded counts; ci95, by_occlusion, behind_objects (with
        some part hidden) and clips as summary.method_report has them.
    """
    clips: dict[str, list[ObjectScore]] = defaultdict(list)
    for score in scores:
        clips[score.clip].append(score)
    whole, hidden = list(filter(rule.full, scores)), list(filter(rule.occluded, scores))
    return {
        **means(scores, rule),
        "ci95": {
            "full": bootstrap(whole, "full", seed),
            "occluded": bootstrap(hidden, "occluded", seed),
        },
        "by_occlusion": by_occlusion(hidden),
        "behind_objects": summarise([score for score in hidden if score.hidden_px], None),
        "clips": {name: means(clips[name], rule) for name in sorted(clips)},
    }


def means(scores: Sequence[ObjectScore], rule: Rule) -> dict:
    """Means by a rule, as rule_report has them."""
    hidden = summarise(filter(rule.occluded, scores), None)
    return {
        **summarise(filter(rule.full, scores), None),
        "n_occluded": hidden["n"],
        **{field: hidden[field] for field in ("occluded", "occluded_object")},
    }


def evaluate_kins(
    drives: Sequence[Drive],
    methods: Sequence[str],
    ours: Setup,
    out: Path | None,
    *,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score all drives, print the tables and write the results file.

    Args:
        drives: with truth, as annotated_drives finds them.
        methods: names as check_methods accepts them.
        ours: how our method runs.
        out: results file; None writes none.
        processes: worker processes.
        seed: of the bootstrap.
        console: where tables and progress go; standard output when None.

    Returns:
        The metrics: protocol, data, model, files, methods {name: {released, clean}}.

    Raises:
        ValueError: bad arguments, or files that are missing or broken.
    """
    console = console or Console()
    names, files = check_methods(methods), describe_methods(methods)
    jobs = [DriveJob(drive, names, ours) for drive in drives]
    steps = sum(len(drive.numbers) for drive in drives) * len(names)
    results = run_jobs(evaluate_drive, jobs, processes, steps, "scoring", console)
    rules = protocol(ours.mode)
    metrics = metrics_of("kins_video_car", rules, results, names, files, seed, protocols)
    kins_tables(metrics, console)
    keep_results(out, metrics, seed, console)
    return metrics


def protocol(mode: str) -> dict[str, str]:
    """The rules of a run, for result files."""
    return {"mode": mode, **{name: rule.text for name, rule in RULES.items()}}


def kins_tables(metrics: dict, console: Console) -> None:
    """Print FISHBOWL's tables by each rule."""
    for name, rule in RULES.items():
        console.print(f"\n{rule.text}")
        reports = {method: report[name] for method, report in metrics["methods"].items()}
        fishbowl_tables({"methods": reports}, console)
