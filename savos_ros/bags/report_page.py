"""Writes the HTML page about a run: text, pictures and charts in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

import numpy as np

from savos_ros.bags.charts import chart, course, histogram
from savos_ros.bags.report_style import STYLE

TRACKS = 12
STAGES = ("flow", "crop", "network", "warp", "compose")
KINDS = {
    "refused": "frame or message refused",
    "masks_skipped": "mask not usable",
    "not_completed": "mask passed on, not completed",
    "resets": "all tracks begun anew",
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
    """The page as text; all names from outside are escaped.

    Args:
        summary: what run_bag returned.
        strips: frames to show.
        times_ms: time of every frame by stage.
        courses: of all tracks.
        seconds: length of the recording.
    """
    bag = escape(summary["bag"])
    parts = [
        _head(summary, seconds),
        _section("Frames", "where most is hidden", "".join(map(_figure, strips))),
        _scores(summary["miou"]),
        _tracks(courses, summary["frames_out"], seconds),
        _latency(times_ms),
        _losses(summary),
    ]
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>savos run: {bag}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _section(title: str, note: str, content: str) -> str:
    said = f"<p class=note>{note}</p>" if note else ""
    return f"<section><h2>{title}</h2>{said}{content}</section>" if content else ""


def _head(summary: dict, seconds: float) -> str:
    step = summary["time_ms"].get("step", {"p50": 0.0, "p99": 0.0})
    sources = summary["objects_out"]
    lost = sum(sum(summary[kind].values()) for kind in ("refused", "masks_skipped"))
    tiles = [
        ("frames answered", f"{summary['frames_out']}", f"of {summary['frames_in']}"),
        ("recording", f"{seconds:.1f} s", f"{summary['masks_in']} masks in"),
        ("masks out", f"{sum(sources.values())}", f"{sources.get('forward', 0)} completed"),
        ("time per frame", f"{step['p50']:.1f} ms", f"99 % within {step['p99']:.1f} ms"),
        ("refused", f"{lost}", "frames, messages, masks"),
    ]
    shown = "".join(
        f"<div class=tile><p>{name}</p><strong>{value}</strong> <small>{unit}</small></div>"
        for name, value, unit in tiles
    )
    topics = ", ".join(escape(topic) for topic in summary["topics"].values())
    engine = f"{escape(summary['model'])} on {escape(summary['backend'])}"
    return (
        f"<header><p class=note>savos run</p><h1>{escape(summary['bag'])}</h1>"
        f"<p class=note>{engine} · {topics}</p></header><div class=tiles>{shown}</div>"
    )


def _figure(strip: Strip) -> str:
    shown = "".join(
        f'<figure><img src="{address}" alt="{title} at {strip.seconds:.1f} s" loading="lazy">'
        f"<figcaption>{title}</figcaption></figure>"
        for title, address in strip.pictures
    )
    return (
        f"<div class=strip><p class=note>{strip.seconds:.1f} s · {strip.hidden_px} hidden pixels "
        f"drawn</p><div class=pictures>{shown}</div></div>"
    )


def _scores(miou: dict | None) -> str:
    if not miou:
        return ""
    rows = []
    for method in sorted(miou, key=list(METHODS).index):
        cells = "".join(_bar(miou[method][name]) for name in ("full", "occluded"))
        rows.append(f"<tr><th scope=row>{METHODS[method]}</th>{cells}</tr>")
    any_method = next(iter(miou.values()))
    note = f"mean IoU with the truth over {any_method['n']} occluded objects"
    head = "<tr><th></th><th>whole object</th><th>hidden part</th></tr>"
    return _section("Scores", note, f"<table>{head}{''.join(rows)}</table>")


def _bar(value: float | None) -> str:
    if value is None:
        return "<td>-</td>"
    return f'<td><span class=meter style="--share:{100 * value:.1f}%">{value:.3f}</span></td>'


def _tracks(courses: Sequence[Course], frames: int, seconds: float) -> str:
    hidden = sorted((c for c in courses if max(c.occlusion) > 0), key=lambda c: -sum(c.occlusion))
    shown = "".join(_track(item, frames, seconds) for item in hidden[:TRACKS])
    left = len(courses) - min(len(hidden), TRACKS)
    note = (
        "<span class='key area'></span>hidden share <span class='key line'></span>confidence of "
        "the hidden pixels, both from 0 to 1. All hidden: no mask in the frame, moved on. "
        f"{left} tracks with less or nothing hidden are not drawn."
    )
    return _section("Tracks over time", note, shown and f"<div class=grid>{shown}</div>")


def _track(item: Course, frames: int, seconds: float) -> str:
    # Confidence speaks of hidden pixels: where there are none it says nothing.
    told = [i for i, share in enumerate(item.occlusion) if share > 0]
    content = course(item.places, item.occlusion, frames, "area") + course(
        [item.places[i] for i in told], [item.confidence[i] for i in told], frames, "line"
    )
    kind = f" · class {escape(item.class_id)}" if item.class_id else ""
    title = f"<h3>{escape(item.id)}{kind}<small>most {max(item.occlusion):.0%}</small></h3>"
    axis = f"<div class=axis><span>0 s</span><span>{seconds:.1f} s</span></div>"
    return f"<div class=cell>{title}{chart(content, frames)}{axis}</div>"


def _latency(times_ms: Mapping[str, Sequence[float]]) -> str:
    if not times_ms:
        return ""
    means = {stage: float(np.mean(times_ms[stage])) for stage in STAGES}
    whole = max(float(np.mean(times_ms["step"])), 1e-9)
    means["rest"] = max(whole - sum(means.values()), 0.0)
    shares = "".join(
        f'<span class="s{index}" style="flex-grow:{value:.4f}" title="{name} {value:.2f} ms">'
        "</span>"
        for index, (name, value) in enumerate(means.items())
    )
    legend = "".join(
        f'<span><i class="s{index}"></i>{name} {value / whole:.0%}</span>'
        for index, (name, value) in enumerate(means.items())
    )
    cells = "".join(_stage(name, times_ms[name]) for name in ("step", *STAGES))
    content = f"<div class=shares>{shares}</div><div class=legend>{legend}</div>"
    note = f"a frame takes {whole:.1f} ms on average; frames by time, for each stage"
    return _section("Latency", note, f"{content}<div class=grid>{cells}</div>")


def _stage(name: str, values: Sequence[float]) -> str:
    picture, top = histogram(values)
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    title = "whole frame" if name == "step" else name
    return (
        f"<div class=cell><h3>{title}<small>p50 {p50:.1f} · p95 {p95:.1f} · p99 {p99:.1f} ms"
        f"</small></h3>{picture}<div class=axis><span>0</span><span>{top:.1f} ms</span></div></div>"
    )


def _losses(summary: dict) -> str:
    rows = [
        f"<tr><th scope=row>{KINDS[kind]}</th><td>{escape(reason)}"
        f"<small>{escape(summary['examples'].get(reason, ''))}</small></td><td>{count}</td></tr>"
        for kind in KINDS
        for reason, count in summary[kind].items()
    ]
    if summary["damage"]:
        rows.append(
            f"<tr><th scope=row>damage</th><td>{escape(summary['damage'])}</td><td></td></tr>"
        )
    if not rows:
        return _section("Drops", "", "<p>Nothing was refused, skipped or lost.</p>")
    head = "<tr><th>what</th><th>why</th><th>times</th></tr>"
    return _section(
        "Drops",
        "what was not used or not completed, and why",
        f"<table>{head}{''.join(rows)}</table>",
    )
