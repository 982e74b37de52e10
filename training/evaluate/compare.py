"""Compare setups of ours on the same clips: later frames, and settings of the stream."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat

import numpy as np

from savos_model.config import StreamConfig
from savos_model.masks import BoxedMask, box_around, iou, look_at
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Source
from training.evaluate.benchmark import data_of, report, run_all
from training.evaluate.mask_sets import FIELDS, Fishbowl
from training.evaluate.metrics import (
    PAPER,
    Masks,
    ObjectScore,
    bootstrap,
    mean,
    paired_gain,
    proven,
    score_frame,
    summarise,
)
from training.evaluate.settings import DEFAULT_OUTPUT, Output
from training.evaluate.tables import lag_tables, options_table
from training.evaluate.video import Score, Scores, VideoResult, merged

STARTS = (1, 5, 10, 20, 40, 80)  # frames since birth with which groups of ages begin
AGES = {f"{a}-{b - 1}": range(a, b) for a, b in pairwise(STARTS)} | {"80+": range(80, 1 << 20)}
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


def compare_modes(results: Mapping[str, Sequence[VideoResult]], seed: int) -> dict:
    """Return the means of every mode, by its name, and its gain over the first one.

    Returns:
        By mode: n, full, occluded, ci95, gain and share_of_gain (of the last mode's, None unless
        that is proven) of `occluded`, and by_age: n, occluded and gain by age of the track.
    """
    kept = {
        mode: [s for r in part for s in r.scores["ours"].get("paper", []) if PAPER.keeps(s)]
        for mode, part in results.items()
    }
    born = {
        (result.name, name): frame
        for part in results.values()
        for result in part
        for name, frame in result.births.items()
    }

    def aged(mode: str, ages: range) -> list[ObjectScore]:
        return [s for s in kept[mode] if s.frame - born[s.clip, s.id] in ages]

    first, *_, last = results
    whole = paired_gain(kept[first], kept[last], "occluded", seed)
    rows = {}
    for mode in results:
        totals = summarise(kept[mode])
        gains = {part: paired_gain(kept[first], kept[mode], part, seed) for part in FIELDS}
        rows[mode] = {
            **{name: totals[name] for name in ("n", *FIELDS)},
            "ci95": {part: bootstrap(kept[mode], part, seed) for part in FIELDS},
            "gain": gains,
            # Of a gain that may be none a share is noise over noise.
            "share_of_gain": gains["occluded"]["mean"] / whole["mean"] if proven(whole) else None,
            "by_age": {
                name: {
                    "n": len(aged(mode, ages)),
                    "occluded": mean(s.occluded for s in aged(mode, ages)),
                    "gain": paired_gain(aged(first, ages), aged(mode, ages), "occluded", seed),
                }
                for name, ages in AGES.items()
            },
        }
    return rows


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


def evaluate_lag(
    benchmark: Fishbowl,
    ours: Setup,
    modes: Sequence[str],
    output: Output = DEFAULT_OUTPUT,
) -> dict:
    """Score clips in every mode; arguments and results as benchmark.evaluate.

    `modes`, of savos_model.stream.video, replace that of `ours`; gains are over the first. Raises
    ValueError: no clips, or no such mode.
    """
    setups = {mode: dataclasses.replace(ours, mode=mode) for mode in modes}
    results, metrics = _scored(benchmark, setups, output)
    rows = compare_modes(results, output.seed)
    metrics |= {"protocol": benchmark.rules("each"), "modes": rows}
    return report(metrics, lag_tables(rows), output)


def evaluate_options(
    benchmark: Published,
    ours: Setup,
    output: Output = DEFAULT_OUTPUT,
) -> dict:
    """Score clips with every row of OPTIONS; arguments and results as benchmark.evaluate."""
    setups = {
        option: dataclasses.replace(ours, stream=with_option(ours.stream, option))
        for option in OPTIONS
    }
    results, metrics = _scored(benchmark, setups, output)
    base = results["defaults"]
    rows = {
        name: {"settings": OPTIONS[name], **report_option(part, base, output.seed)}
        for name, part in results.items()
    }
    metrics["options"] = rows
    return report(metrics, [options_table(rows, 3, False)], output)


def _scored(
    benchmark: Fishbowl, setups: Mapping[str, Setup], output: Output
) -> tuple[dict[str, list[VideoResult]], dict]:
    """Score ours in every setup; return the results by name, data and model."""
    found = run_all(benchmark, ("ours",), list(setups.values()), output)
    data = data_of(benchmark.name, found[0])
    metrics = {"data": data, "model": found[0][0].model}
    return dict(zip(setups, found, strict=True)), metrics
