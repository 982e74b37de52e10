"""Scores the published masks of FISHBOWL clips under other settings: what each option changes."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from rich.console import Console

from savos_model.config import StreamConfig
from savos_model.masks import BoxedMask, box_around, iou, look_at
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Source
from training.evaluate.benchmark import report, run_all
from training.evaluate.mask_sets import Fishbowl
from training.evaluate.metrics import PAPER, Masks, mean, score_frame, summarise
from training.evaluate.summary import paired_gain
from training.evaluate.tables import options_table
from training.evaluate.video import Score, Scores, VideoResult, merged

BARE_OCCLUSION = 0.01  # an object with less hidden should stay as it is seen
# Row -> settings that differ from the defaults, by group.
OPTIONS: dict[str, dict[str, dict]] = {
    "defaults": {},
    "threshold 0.5": {"compose": {"threshold": 0.5}},
    "no occluder rim": {"compose": {"occluder_margin_px": 0}},
    "rim of 6 px": {"compose": {"occluder_margin_px": 6}},
    "into others only": {"compose": {"complete_into": "others"}},
    "no order of pairs": {"compose": {"order_strength": 0.0}},
    "no coasting": {"tracks": {"coast_frames": 0}},
    "coast 20 frames": {"tracks": {"coast_frames": 20}},
}


def with_option(stream: StreamConfig, option: str) -> StreamConfig:
    """Return the settings of a row of OPTIONS."""
    groups = {
        name: dataclasses.replace(getattr(stream, name), **values)
        for name, values in OPTIONS[option].items()
    }
    return dataclasses.replace(stream, **groups)


@dataclass(frozen=True)
class Published(Fishbowl):
    """Clips of a folder, all objects scored as published.

    Scores: "published" of all objects that are seen; "hidden" of each wholly hidden object-frame:
    frames since it was last seen, and its IoU, 0.0 where nothing was published; "strays", one for
    each mask published for an object that is not in the image.
    """

    def score(
        self,
        clip: str,
        shape: tuple[int, int],
        visible: Sequence[Masks],
        full: Sequence[Masks],
        *_: Sequence,
    ) -> Score:
        """Return what scores the frames of a clip, asked in their order."""
        seen_last: dict[str, int] = {}

        def score(index: int, objects: list[AmodalObject]) -> Scores:
            seen, whole = visible[index], full[index]
            seen_last.update(zip(seen, repeat(index)))
            where = {"clip": clip, "frame": index}
            coasted = {item.id: item for item in objects if item.source == Source.COASTED}
            hidden = [
                (index - seen_last[name], overlap(coasted.get(name), truth))
                for name, truth in whole.items()
                if name not in seen and name in seen_last and truth.mask.sum() > PAPER.min_full_px
            ]
            return {
                "published": score_frame(objects, whole, seen, shape, substitute=False, **where),
                "hidden": hidden,
                "strays": list(coasted.keys() - whole.keys()),
            }

        return score


def overlap(found: AmodalObject | None, truth: BoxedMask) -> float:
    """Return the IoU of a published mask, 0.0 of none."""
    if found is None:
        return 0.0
    view = box_around([found.box, truth.box])
    return iou(look_at((found.box, found.mask >= 128), view), look_at(truth, view))


def report_option(results: Sequence[VideoResult], base: Sequence[VideoResult], seed: int) -> dict:
    """Return the figures of one row, its gains over the first.

    Returns:
        full, occluded, false_completion: of objects 10 to 70 % hidden, masks as published, by the
        paper's selection; gain of `full`; bare: full IoU of objects with less than 1 % hidden;
        hidden: of wholly hidden object-frames n, the share answered and the mean IoU, unanswered
        ones as 0, by frames since last seen; strays.
    """
    scores, first = (merged(item.scores["ours"] for item in part) for part in (results, base))
    kept, before = (list(filter(PAPER.keeps, part["published"])) for part in (scores, first))
    totals = summarise(kept)
    return {
        **{name: totals[name] for name in ("n", "full", "occluded", "false_completion")},
        "gain": paired_gain(before, kept, "full", seed),
        "bare": mean(s.full for s in scores["published"] if s.occlusion < BARE_OCCLUSION),
        "hidden": hidden_report(scores["hidden"]),
        "strays": len(scores["strays"]),
    }


def hidden_report(hidden: Iterable[tuple[int, float]]) -> Mapping[str, dict]:
    """Summarise wholly hidden object-frames by frames since they were last seen."""
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
    out: Path | None = None,
    *,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score clips with every row of OPTIONS; arguments and results as benchmark.evaluate."""
    console = console or Console()
    setups = [
        dataclasses.replace(ours, stream=with_option(ours.stream, option)) for option in OPTIONS
    ]
    results = run_all(Published(data), ("ours",), setups, processes, console)
    metrics = {
        "data": {"set": Published.name, "clips": [result.name for result in results[0]]},
        "model": results[0][0].model,
        "options": {
            name: {"settings": OPTIONS[name], **report_option(part, results[0], seed)}
            for name, part in zip(OPTIONS, results, strict=True)
        },
    }
    return report(metrics, [options_table(metrics["options"], 3, False)], out, seed, console)
