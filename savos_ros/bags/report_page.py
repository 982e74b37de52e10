"""Renders the HTML page about a run: text, pictures and charts in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from savos_ros.bags.charts import HEIGHT, columns, course, histogram

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


def page(
    summary: dict,
    strips: Sequence[Strip],
    times_ms: Mapping[str, Sequence[float]],
    courses: Sequence[Course],
    seconds: float,
) -> str:
    """Return the page as text; the template escapes all that comes from outside.

    Args:
        summary: what run_bag returned.
        strips: frames to show.
        times_ms: time of every frame by stage.
        courses: of all tracks.
        seconds: length of the recording.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    frames = summary["frames_out"]
    hidden = sorted((c for c in courses if max(c.occlusion) > 0), key=lambda c: -sum(c.occlusion))
    return environment.get_template(TEMPLATE).render(
        summary=summary,
        seconds=seconds,
        lost=sum(sum(summary[kind].values()) for kind in ("refused", "masks_skipped")),
        step=summary["time_ms"].get("step", {"p50": 0.0, "p99": 0.0}),
        strips=strips,
        methods=METHODS,
        tracks=[_track(item, frames) for item in hidden[:TRACKS]],
        tracks_left=len(courses) - min(len(hidden), TRACKS),
        columns=columns(frames),
        height=HEIGHT,
        latency=_latency(times_ms) if times_ms else None,
        kinds=KINDS,
    )


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
