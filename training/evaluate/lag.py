"""What waiting buys: forward, fixed lags and the whole video on the same object-frames, by age."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from savos_model.types import Instance
from training.data.fishbowl_released import open_fishbowl
from training.evaluate.fishbowl import ClipJob, clips_to_score, evaluate_clip, protocol
from training.evaluate.jobs import Tick, run_jobs
from training.evaluate.metrics import PAPER, ObjectScore, mean, summarise
from training.evaluate.summary import bootstrap, paired_gain, proven
from training.evaluate.tables import lag_table
from training.online import Setup
from training.results import keep_results

AGES = ((1, 4), (5, 9), (10, 19), (20, 39), (40, 79), (80, 1 << 20))  # frames since birth
PARTS = ("full", "occluded")


class LagResult(NamedTuple):
    """Scores of one clip in one mode, the frame of each track's birth, and what ran."""

    clip: str
    scores: list[ObjectScore]
    births: dict[str, int]
    model: dict


def score_mode(job: ClipJob, tick: Tick) -> LagResult:
    """Score one clip in the mode of the job."""
    result, clip = evaluate_clip(job, tick), open_fishbowl(job.path)
    found = births(clip.instances(index) for index in range(clip.num_frames))
    return LagResult(result.name, result.scores["ours"]["paper"], found, result.model)


def births(frames: Iterable[Sequence[Instance]]) -> dict[str, int]:
    """First frame of every id."""
    first: dict[str, int] = {}
    for index, instances in enumerate(frames):
        for item in instances:
            first.setdefault(item.id, index)
    return first


def age_name(low: int, high: int) -> str:
    """Name of an age group, in frames."""
    return f"{low}-{high}" if high < AGES[-1][1] else f"{low}+"


def compare_modes(results: Sequence[LagResult], modes: Sequence[str], seed: int) -> dict:
    """Means of every mode and its gain over the first one; `results` holds the modes in turn.

    Returns:
        By mode: n, full, occluded, ci95, gain and share_of_gain (of the last mode's, None unless
        that is proven) of `occluded`, and by_age: n, occluded and gain by age of the track.
    """
    size = len(results) // len(modes)
    by_mode = {m: results[i * size : (i + 1) * size] for i, m in enumerate(modes)}
    kept = {m: [s for r in part for s in r.scores if PAPER.keeps(s)] for m, part in by_mode.items()}
    born = {(r.clip, name): frame for r in results for name, frame in r.births.items()}

    def aged(mode: str, low: int, high: int) -> list[ObjectScore]:
        return [s for s in kept[mode] if low <= s.frame - born[s.clip, s.id] <= high]

    first, last = modes[0], modes[-1]
    whole = paired_gain(kept[first], kept[last], "occluded", seed)
    report = {}
    for mode in modes:
        totals = summarise(kept[mode])
        gains = {part: paired_gain(kept[first], kept[mode], part, seed) for part in PARTS}
        report[mode] = {
            **{name: totals[name] for name in ("n", *PARTS)},
            "ci95": {part: bootstrap(kept[mode], part, seed) for part in PARTS},
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
    return report


def evaluate_lag(
    data: Path,
    ours: Setup,
    out: Path | None,
    *,
    modes: Sequence[str],
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score all clips of a folder in every mode, print a table and write the results file.

    Args:
        data: folder of clips, or of the released test data.
        ours: how our method runs; its mode is not used.
        out: results file; None writes none.
        modes: of training.online; gains are over the first.
        processes: worker processes.
        seed: of the bootstrap.
        console: where table and progress go; standard output when None.

    Returns:
        The metrics: protocol, data, model, modes.

    Raises:
        ValueError: no clips, or no such mode.
    """
    console = console or Console()
    paths = clips_to_score(data)
    setups = [dataclasses.replace(ours, mode=mode) for mode in modes]
    jobs = [ClipJob(path, ("ours",), setup) for setup in setups for path in paths]
    steps = sum(open_fishbowl(path).num_frames for path in paths) * len(modes)
    results = run_jobs(score_mode, jobs, processes, steps, "scoring", console)
    metrics = {
        "protocol": protocol("each", "", ()),
        "data": {"set": "fishbowl", "clips": [path.name for path in paths]},
        "model": results[0].model,
        "modes": compare_modes(results, modes, seed),
    }
    lag_table(metrics["modes"], console)
    keep_results(out, metrics, seed, console)
    return metrics
