"""Measure the gain from later frames: forward, fixed lags and the whole video, by age."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from savos_model.stream.video import Setup
from training.evaluate.benchmark import report, run_all
from training.evaluate.mask_sets import FIELDS, Fishbowl
from training.evaluate.metrics import PAPER, ObjectScore, mean, summarise
from training.evaluate.summary import bootstrap, paired_gain, proven
from training.evaluate.tables import lag_tables
from training.evaluate.video import VideoResult

AGES = ((1, 4), (5, 9), (10, 19), (20, 39), (40, 79), (80, 1 << 20))  # frames since birth


def age_name(low: int, high: int) -> str:
    """Return the name of an age group, in frames."""
    return f"{low}-{high}" if high < AGES[-1][1] else f"{low}+"


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

    def aged(mode: str, low: int, high: int) -> list[ObjectScore]:
        return [s for s in kept[mode] if low <= s.frame - born[s.clip, s.id] <= high]

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
                age_name(*ages): {
                    "n": len(aged(mode, *ages)),
                    "occluded": mean(s.occluded for s in aged(mode, *ages)),
                    "gain": paired_gain(aged(first, *ages), aged(mode, *ages), "occluded", seed),
                }
                for ages in AGES
            },
        }
    return rows


def evaluate_lag(
    benchmark: Fishbowl,
    ours: Setup,
    out: Path | None = None,
    *,
    modes: Sequence[str],
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score clips in every mode; arguments and results as benchmark.evaluate.

    `modes`, of savos_model.stream.video, replace that of `ours`; gains are over the first.

    Raises:
        ValueError: no clips, or no such mode.
    """
    console = console or Console()
    setups = [dataclasses.replace(ours, mode=mode) for mode in modes]
    results = run_all(benchmark, ("ours",), setups, processes, console)
    metrics = {
        "protocol": benchmark.rules("each"),
        "data": {"set": benchmark.name, "clips": [result.name for result in results[0]]},
        "model": results[0][0].model,
        "modes": compare_modes(dict(zip(modes, results, strict=True)), seed),
    }
    return report(metrics, lag_tables(metrics["modes"]), out, seed, console)
