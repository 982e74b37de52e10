"""Breaks the scores of one method down by clip and occlusion rate, with confidence intervals."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from training.evaluate.metrics import PAPER, ObjectScore, frame_means, mean, summarise

BINS = ((0.10, 0.25), (0.25, 0.50), (0.50, 0.70))
BIN_NAMES = tuple(f"{100 * low:.0f}-{100 * high:.0f}" for low, high in BINS)
BORDER_PX = 16.0
RESAMPLES = 2000


def method_report(scores: Iterable[ObjectScore], seed: int = 0) -> dict:
    """Summarise the scores of one method over all clips.

    Returns:
        The fields of metrics.summarise, full and occluded as mean and ci95; and by_occlusion,
        away_from_border (whole object at least 16 px from the image border), behind_objects (only
        objects with some part behind another object, so that nothing is scored 1 for being empty)
        and clips.
    """
    kept = [score for score in scores if PAPER.keeps(score)]
    inner = dataclasses.replace(PAPER, min_border_px=BORDER_PX)
    clips: dict[str, list[ObjectScore]] = defaultdict(list)
    for score in kept:
        clips[score.clip].append(score)
    means = summarise(kept)
    intervals = {field: bootstrap(kept, field, seed) for field in ("full", "occluded")}
    return {
        **means,
        **{field: {"mean": means[field], "ci95": ci95} for field, ci95 in intervals.items()},
        "by_occlusion": by_occlusion(kept),
        "away_from_border": summarise(kept, inner),
        "behind_objects": summarise([score for score in kept if score.hidden_px]),
        "clips": {name: summarise(clips[name]) for name in sorted(clips)},
    }


def by_occlusion(scores: Iterable[ObjectScore]) -> dict[str, dict]:
    """Return summaries by occlusion rate, keyed by BIN_NAMES (percent, upper bounds excluded)."""
    groups: dict[str, list[ObjectScore]] = {name: [] for name in BIN_NAMES}
    for score in scores:
        for name, (low, high) in zip(groups, BINS, strict=True):
            if low <= score.occlusion < high:
                groups[name].append(score)
    return {name: summarise(group, None) for name, group in groups.items()}


def bootstrap(
    scores: Iterable[ObjectScore], field: str, seed: int = 0, samples: int = RESAMPLES
) -> list[float] | None:
    """Return the 95 % interval of a frame-level mean of selected scores, clips drawn again.

    Frames of one clip are alike, so clips are the units that are resampled.

    Returns:
        [low, high], or None with fewer than two clips.
    """
    means: dict[str, list[float]] = defaultdict(list)
    for (clip, _), value in frame_means(scores, field).items():
        means[clip].append(value)
    return cluster_interval(means, seed, samples)


def paired_gain(
    before: Iterable[ObjectScore], after: Iterable[ObjectScore], field: str, seed: int = 0
) -> dict:
    """Return the gain of a frame-level mean on the same object-frames and its interval over clips.

    Returns:
        mean and ci95 ([low, high], None with fewer than two clips); mean None of nothing.

    Raises:
        ValueError: the two were scored on different frames.
    """
    first, second = frame_means(before, field), frame_means(after, field)
    if first.keys() != second.keys():
        raise ValueError("a gain needs both methods scored on the same frames")
    gains: dict[str, list[float]] = defaultdict(list)
    for (clip, frame), value in first.items():
        gains[clip].append(second[clip, frame] - value)
    return estimate(gains, seed)


def proven(gain: Mapping) -> bool:
    """Return whether the whole 95 % interval of a gain, as paired_gain gives it, lies above 0."""
    return gain["ci95"] is not None and gain["ci95"][0] > 0


def estimate(groups: Mapping[str, Sequence[float]], seed: int = 0) -> dict:
    """Return mean and ci95 of all values, whole groups drawn again for the interval."""
    values = [value for group in groups.values() for value in group]
    return {"mean": mean(values), "ci95": cluster_interval(groups, seed)}


def figure_of(stored: float | Mapping | None) -> float | None:
    """Return a figure of a results file, stored as a number or as mean and ci95."""
    return stored["mean"] if isinstance(stored, Mapping) else stored


def interval_of(report: Mapping, field: str) -> list[float] | None:
    """Return the interval of a figure of a report, stored with it or under ci95 of the report."""
    stored = report.get(field)
    return stored["ci95"] if isinstance(stored, Mapping) else report.get("ci95", {}).get(field)


def cluster_interval(
    groups: Mapping[str, Sequence[float]], seed: int = 0, samples: int = RESAMPLES
) -> list[float] | None:
    """Return the 95 % interval of the mean of all values when whole groups are drawn again.

    Returns:
        [low, high], or None with fewer than two groups.
    """
    if len(groups) < 2:
        return None
    sums = np.array([sum(groups[name]) for name in sorted(groups)])
    counts = np.array([len(groups[name]) for name in sorted(groups)])
    drawn = np.random.default_rng(seed).integers(0, len(sums), (samples, len(sums)))
    resampled = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(value) for value in np.percentile(resampled, [2.5, 97.5])]


def first_run(eligible: Iterable[bool]) -> range:
    """Return the indices of the first contiguous run of True without its two ends.

    The released evaluation warps frame t to t + 1 and back, so that a run of T frames has results
    for frames 1..T-2 only.
    """
    flags = [*eligible, False]
    start = flags.index(True) if True in flags else 0
    stop = flags.index(False, start)
    return range(start + 1, stop - 1)
