"""Small charts as SVG text that takes its colours from the page around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HEIGHT = 100  # units of a chart that is stretched to the width of its place
MOST_POINTS = 400


def histogram(values: Sequence[float], bins: int = 40) -> tuple[str, float]:
    """Bars over values from 0 on; those beyond the 99.5th percentile stand in the last one.

    Returns:
        The picture, and the value at its right edge.
    """
    top = max(float(np.percentile(values, 99.5)), 1e-3)
    counts, _ = np.histogram(np.minimum(values, top), bins=bins, range=(0, top))
    step = top / bins
    bars = [
        f'<rect x="{index + 0.1}" y="{HEIGHT * (1 - count / counts.max()):.2f}" width="0.8" '
        f'height="{HEIGHT * count / counts.max():.2f}"><title>{index * step:.2f} to '
        f"{(index + 1) * step:.2f} ms: {count} frames</title></rect>"
        for index, count in enumerate(counts)
        if count
    ]
    return _svg("bars", bins, bars), top


def course(places: Sequence[int], values: Sequence[float], total: int, kind: str) -> str:
    """Line (kind "line") or filled line ("area") of values 0..1 over the frames of a run.

    Args:
        places: frame of each value, ascending; a gap breaks the line.
        values: 0..1.
        total: frames of the run.
        kind: class of the path.
    """
    columns = min(total, MOST_POINTS)
    column = np.asarray(places) * columns // total
    sums = np.bincount(column, values, columns)
    counts = np.bincount(column, minlength=columns)
    known = np.flatnonzero(counts)
    means = sums[known] / counts[known]
    paths = []
    for part in np.split(np.arange(len(known)), np.flatnonzero(np.diff(known) > 1) + 1):
        points = [(known[i], HEIGHT * (1 - means[i])) for i in part]
        points.append((points[-1][0] + 1, points[-1][1]))  # a frame is as wide as its column
        text = " ".join(f"{x} {y:.1f}" for x, y in points)
        if kind == "area":
            text = f"{points[0][0]} {HEIGHT} {text} {points[-1][0]} {HEIGHT}"
        paths.append(f'<path class="{kind}" d="M{text}"/>')
    return "".join(paths)


def chart(content: str, total: int, grid: Sequence[float] = (0, 0.5, 1)) -> str:
    """A picture of courses over a run of `total` frames, with lines at the shares of `grid`."""
    columns = min(total, MOST_POINTS)
    lines = [
        f'<line class="grid" x1="0" x2="{columns}" y1="{HEIGHT * y:g}" y2="{HEIGHT * y:g}"/>'
        for y in grid
    ]
    return _svg("course", columns, [*lines, content])


def _svg(name: str, columns: int, parts: Sequence[str]) -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {columns} {HEIGHT}" preserveAspectRatio="none" '
        f'role="img">{"".join(parts)}</svg>'
    )
