"""Scores the published masks of FISHBOWL clips under other settings: what each option changes."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from savos_model.config import ComposeConfig, StreamConfig, TracksConfig
from savos_model.types import AmodalObject, Frame, Source
from training.boxed import BoxedMask, box_around, by_id, look_at
from training.data.fishbowl_released import open_fishbowl
from training.evaluate.fishbowl import clips_to_score
from training.evaluate.jobs import Tick, run_jobs
from training.evaluate.metrics import PAPER, ObjectScore, iou, mean, score_frame, summarise
from training.evaluate.summary import paired_gain
from training.evaluate.tables import options_table
from training.online import Online, Setup
from training.results import keep_results

BARE_OCCLUSION = 0.01  # an object with less hidden should stay as it is seen
# Row -> settings that differ from the defaults, by group.
OPTIONS: dict[str, dict[str, dict]] = {
    "defaults": {},
    "threshold 0.5": {"compose": {"threshold": 0.5}},
    "no occluder rim": {"compose": {"occluder_margin_px": 0}},
    "rim of 6 px": {"compose": {"occluder_margin_px": 6}},
    "into anything": {"compose": {"complete_into": "anything"}},
    "no coasting": {"tracks": {"coast_frames": 0}},
    "coast 20 frames": {"tracks": {"coast_frames": 20}},
}


@dataclass(frozen=True)
class OptionJob:
    """One clip to score with one row of OPTIONS."""

    path: Path
    ours: Setup
    option: str


class OptionScores(NamedTuple):
    """Of one clip.

    Attributes:
        clip: its name.
        scores: of all objects that are seen, their masks as published.
        hidden: IoU of each wholly hidden object-frame by frames since it was last seen; 0.0 where
            nothing was published.
        strays: masks published for objects that are not in the picture.
        model: what ran.
    """

    clip: str
    scores: list[ObjectScore]
    hidden: list[tuple[int, float]]
    strays: int
    model: dict


def with_option(stream: StreamConfig, option: str) -> StreamConfig:
    """The settings of a row of OPTIONS."""
    changes = OPTIONS[option]
    groups: dict[str, ComposeConfig | TracksConfig] = {
        name: dataclasses.replace(getattr(stream, name), **values)
        for name, values in changes.items()
    }
    return dataclasses.replace(stream, **groups)


def score_option(job: OptionJob, tick: Tick) -> OptionScores:
    """Score one clip, forward, as published; tick(1) after each frame."""
    clip = open_fishbowl(job.path)
    ours = Online(dataclasses.replace(job.ours, stream=with_option(job.ours.stream, job.option)))
    given = [clip.instances(i) + clip.untracked(i) for i in range(clip.num_frames)]
    frames = (
        Frame(clip.stamp_ns(i), image, given[i]) for i, image in enumerate(clip.frames())
    )  # fmt: skip
    seen_last: dict[str, int] = {}
    scores, hidden, strays = [], [], 0
    for index, objects in enumerate(ours.run(frames)):
        visible, full = by_id(given[index]), by_id(clip.truth(index))
        seen_last |= dict.fromkeys(visible, index)
        shape = (clip.height, clip.width)
        scores += score_frame(
            objects, full, visible, shape, substitute=False, clip=clip.name, frame=index
        )
        coasted = {o.id: o for o in objects if o.source == Source.COASTED}
        hidden += [
            (index - seen_last[name], overlap(coasted.get(name), truth))
            for name, truth in full.items()
            if name not in visible and name in seen_last and truth.mask.sum() > PAPER.min_full_px
        ]
        strays += len(coasted.keys() - full.keys())
        tick(1)
    return OptionScores(clip.name, scores, hidden, strays, ours.model)


def overlap(found: AmodalObject | None, truth: BoxedMask) -> float:
    """IoU of a published mask, 0.0 of none."""
    if found is None:
        return 0.0
    view = box_around([found.box, truth.box])
    return iou(look_at((found.box, found.mask >= 128), view), look_at(truth, view))


def report_option(results: Sequence[OptionScores], base: Sequence[OptionScores], seed: int) -> dict:
    """Figures of one row, its gains over the first.

    Returns:
        full, occluded, false_completion: of objects 10 to 70 % hidden, masks as published, by the
        paper's selection; gain of `full`; bare: full IoU of objects with less than 1 % hidden;
        hidden: of wholly hidden object-frames n, the share answered and the mean IoU, unanswered
        ones as 0, by frames since last seen; strays.
    """
    scores = [score for result in results for score in result.scores]
    kept, before = (
        [s for r in part for s in r.scores if PAPER.keeps(s)] for part in (results, base)
    )
    totals = summarise(kept)
    bare = [s.full for s in scores if s.occlusion < BARE_OCCLUSION]
    return {
        **{name: totals[name] for name in ("n", "full", "occluded", "false_completion")},
        "gain": paired_gain(before, kept, "full", seed),
        "bare": mean(bare),
        "hidden": hidden_report([item for result in results for item in result.hidden]),
        "strays": sum(result.strays for result in results),
    }


def hidden_report(hidden: Iterable[tuple[int, float]]) -> Mapping[str, dict]:
    """Wholly hidden object-frames by frames since they were last seen."""
    groups: dict[str, list[float]] = defaultdict(list)
    for gap, value in hidden:
        groups["1-5" if gap <= 5 else "6-20" if gap <= 20 else "21+"].append(value)
    return {
        name: {
            "n": len(values),
            "answered": float(np.mean([value > 0 for value in values])),
            "iou": float(np.mean(values)),
        }
        for name, values in sorted(groups.items())
    }


def evaluate_options(
    data: Path,
    ours: Setup,
    out: Path | None,
    *,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score all clips of a folder with every row of OPTIONS; arguments as evaluate_lag."""
    console = console or Console()
    paths = clips_to_score(data)
    jobs = [OptionJob(path, ours, option) for option in OPTIONS for path in paths]
    steps = sum(open_fishbowl(path).num_frames for path in paths) * len(OPTIONS)
    results = run_jobs(score_option, jobs, processes, steps, "scoring", console)
    parts = [results[i : i + len(paths)] for i in range(0, len(results), len(paths))]
    metrics = {
        "data": {"set": "fishbowl", "clips": [path.name for path in paths]},
        "model": results[0].model,
        "options": {
            name: {"settings": OPTIONS[name], **report_option(part, parts[0], seed)}
            for name, part in zip(OPTIONS, parts, strict=True)
        },
    }
    options_table(metrics["options"], console)
    keep_results(out, metrics, seed, console)
    return metrics
