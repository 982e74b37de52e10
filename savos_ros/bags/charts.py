"""Computes the shapes of small charts, which the page about a run draws as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HEIGHT = 100  # units of a chart that is stretched to the width of its place
MOST_POINTS = 400


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: its place, its height (0..HEIGHT), values it covers, their count."""

    index: int
    height: float
    low: float
    high: float
    count: int


def histogram(values: Sequence[float], bins: int = 40) -> tuple[list[Bar], float]:
    """Return bars over values from 0 on; those beyond the 99.5th percentile are in the last one.

    Returns:
        The bars that are not empty, and the value at the right edge.
    """
    top = max(float(np.percentile(values, 99.5)), 1e-3)
    counts, _ = np.histogram(np.minimum(values, top), bins=bins, range=(0, top))
    step, most = top / bins, counts.max()
    bars = [
        Bar(index, HEIGHT * float(count / most), index * step, (index + 1) * step, int(count))
        for index, count in enumerate(counts)
        if count
    ]
    return bars, top


def columns(total: int) -> int:
    """Return the width of a course over `total` frames."""
    return min(total, MOST_POINTS)


def course(
    places: Sequence[int], values: Sequence[float], total: int, filled: bool = False
) -> list[str]:
    """Return SVG paths of values 0..1 over the frames of a run.

    Args:
        places: frame of each value, ascending; a gap begins another path.
        values: 0..1.
        total: frames of the run.
        filled: whether the paths include the area down to 0.
    """
    width = columns(total)
    column = np.asarray(places, np.int64) * width // total
    sums = np.bincount(column, values, width)
    counts = np.bincount(column, minlength=width)
    known = np.flatnonzero(counts)
    means = sums[known] / counts[known]
    paths = []
    for part in np.split(np.arange(len(known)), np.flatnonzero(np.diff(known) > 1) + 1):
        points = [(known[i], HEIGHT * (1 - means[i])) for i in part]
        if not points:
            continue
        points.append((points[-1][0] + 1, points[-1][1]))  # a frame is as wide as its column
        if filled:
            points = [(points[0][0], HEIGHT), *points, (points[-1][0], HEIGHT)]
        paths.append("M" + " ".join(f"{x} {y:.1f}" for x, y in points))
    return paths
