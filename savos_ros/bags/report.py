"""One HTML page about a run: text, images and charts in one file."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from savos_model.types import AmodalObject, Source
from savos_ros.bags.reader import BagFrame
from savos_ros.bags.review import Row, hidden_px, keep_best, pictures
from savos_ros.bags.run import MASKS_TOPIC
from savos_ros.messages.overlay import jpeg

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
    """Return bars over values from 0 on, but the empty ones, and the value at the right edge.

    Values beyond the 99.5th percentile are in the last bar.
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


def course(
    places: Sequence[int], values: Sequence[float], total: int, filled: bool = False
) -> list[str]:
    """Return SVG paths of values 0..1 over frames; a gap in `places` begins another one."""
    width = min(total, MOST_POINTS)
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


TEMPLATE = "report.html.j2"
TRACKS = 12
STAGES = ("flow", "crop", "network", "warp", "compose")
KINDS = {
    "refused": "frame or message refused",
    "masks_skipped": "mask not usable",
    "not_completed": "mask passed on, not completed",
    "resets": "all tracks started again",
}
METHODS = {
    "ours": "this run",
    "refined": "refined by later frames",
    "visible": "visible mask alone",
    "convex": "its convex hull",
}


class Strip(NamedTuple):
    """A frame: its time [s], hidden pixels, and titled pictures as data addresses."""

    seconds: float
    hidden_px: int
    pictures: list[tuple[str, str]]


@dataclass
class Course:
    """A track over a run: in which frames it was, occlusion and confidence there, 0..1."""

    id: str
    class_id: str
    places: list[int] = field(default_factory=list)
    occlusion: list[float] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)


def _track(item: Course, frames: int) -> dict[str, Any]:
    # Confidence is about hidden pixels: where there are none it means nothing.
    known = [i for i, share in enumerate(item.occlusion) if share > 0]
    places, confidence = [item.places[i] for i in known], [item.confidence[i] for i in known]
    return {
        "id": item.id,
        "class_id": item.class_id,
        "most": max(item.occlusion),
        "areas": course(item.places, item.occlusion, frames, filled=True),
        "lines": course(places, confidence, frames),
    }


def _latency(times_ms: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    means = {stage: float(np.mean(times_ms[stage])) for stage in STAGES}
    whole = max(float(np.mean(times_ms["step"])), 1e-9)
    means["rest"] = max(whole - sum(means.values()), 0.0)
    stages = []
    for name in ("step", *STAGES):
        bars, top = histogram(times_ms[name])
        title = "whole frame" if name == "step" else name
        stages.append((title, np.percentile(times_ms[name], (50, 95, 99)), bars, top))
    return {"whole": whole, "means": means, "stages": stages}


STRIPS, STRIP_PX, JPEG_QUALITY = 6, 720, 82


@dataclass
class RunReport:
    """The watch of a run (savos_ros.bags.run.Watch) and the page that comes of it."""

    stamps_ns: list[int] = field(default_factory=list)  # of the frames answered
    # By stage, of every frame
    times_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    courses: dict[str, Course] = field(default_factory=dict)  # of each track, in order of birth
    rows: list[Row] = field(default_factory=list)  # frames in which most is hidden

    def watch(
        self, topic: str, item: BagFrame, objects: list[AmodalObject], times: dict[str, float]
    ) -> None:
        """Take the answer to a frame; refined ones are scored, not drawn."""
        if topic != MASKS_TOPIC:
            return
        for stage, value in times.items():
            self.times_ms[stage].append(value)
        for found in objects:
            course = self.courses.setdefault(found.id, Course(found.id, found.class_id))
            course.places.append(len(self.stamps_ns))
            course.occlusion.append(float(found.occlusion))
            course.confidence.append(float(found.confidence))
        self.stamps_ns.append(item.frame.stamp_ns)
        # What coasts is wholly hidden: it must not outweigh what is completed.
        completed = [found for found in objects if found.source != Source.COASTED]
        keep_best(self.rows, Row(hidden_px(completed), item, objects), STRIPS)

    def page(self, summary: dict) -> str:
        """Return the page as text; the template escapes all that comes from outside.

        `summary` is what run_bag returned.
        """
        start, frames = next(iter(self.stamps_ns), 0), summary["frames_out"]
        courses = list(self.courses.values())
        hidden = sorted(
            (c for c in courses if max(c.occlusion) > 0), key=lambda c: -sum(c.occlusion)
        )
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template(TEMPLATE).render(
            summary=summary,
            seconds=(max(self.stamps_ns, default=start) - start) / 1e9,
            lost=sum(sum(summary[kind].values()) for kind in ("refused", "masks_skipped")),
            step=summary["time_ms"].get("step", {"p50": 0.0, "p99": 0.0}),
            strips=[
                _strip(row, (row.item.frame.stamp_ns - start) / 1e9)
                for row in sorted(self.rows, key=lambda row: row.item.frame.stamp_ns)
            ],
            methods=METHODS,
            tracks=[_track(item, frames) for item in hidden[:TRACKS]],
            tracks_left=len(courses) - min(len(hidden), TRACKS),
            columns=min(frames, MOST_POINTS),
            height=HEIGHT,
            latency=_latency(self.times_ms) if self.times_ms else None,
            kinds=KINDS,
        )


def _strip(row: Row, seconds: float) -> Strip:
    _, seen, result, truth = pictures(row)
    shown = [("visible masks in", seen), ("amodal masks out", result)]
    if row.item.truth is not None:
        shown.append(("ground truth", truth))
    return Strip(seconds, row.hidden_px, [(title, _uri(image)) for title, image in shown])


def _uri(image: np.ndarray) -> str:
    """Return an image as a data address."""
    data = base64.b64encode(jpeg(image, JPEG_QUALITY, STRIP_PX))
    return f"data:image/jpeg;base64,{data.decode('ascii')}"
