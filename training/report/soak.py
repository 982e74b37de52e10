"""Results of a soak of the node, as a plot and in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from training.report.plotting import BLUE, GREEN, GREY, ORANGE, RED, drawing

# Title and curves of each panel: what to plot, its name, its colour.
PANELS = {
    "memory [MB]": (("rss_mb", "node", BLUE), ("adapter_rss_mb", "adapter", ORANGE)),
    "threads, handles": (("threads", "threads", GREEN), ("handles", "handles", RED)),
    "time of a frame [ms]": (
        ("latency_p99_ms", "answer, p99", ORANGE),
        ("latency_p50_ms", "answer, p50", BLUE),
        ("cpu_ms", "processor time", GREY),
    ),
    "IoU, partly hidden": (("base.iou", "base weights", ORANGE), ("scores.iou", "node", BLUE)),
}
# Name and unit of what is compared.
NAMES = {
    "rss_mb": ("memory", " MB"), "adapter_rss_mb": ("memory of the adapter", " MB"),
    "cpu_ms": ("processor time", " ms"), "threads": ("threads", ""), "handles": ("handles", ""),
}  # fmt: skip


def soak_plot(metrics: dict, path: Path) -> None:
    """Draw memory, threads, handles, times and scores over the stamps of `savos soak`."""
    samples = metrics["samples"]
    with drawing(path, 12.0, 3.4, len(PANELS)) as (_, panels):
        for axes, (title, curves) in zip(panels, PANELS.items(), strict=True):
            for key, name, colour in curves:
                draw(axes, samples, key, name, colour)
            axes.set_title(title)
            axes.set_xlabel("hours at 10 Hz")
            axes.set_ylim(0, 1 if title.startswith("IoU") else 1.4 * axes.get_ylim()[1])
            axes.legend(frameon=False)


def draw(axes: Axes, samples: list[dict], key: str, name: str, colour: str) -> None:
    """Draw one curve; nothing where no sample has it."""
    group, _, leaf = key.rpartition(".")
    values = [(row[group] if group else row).get(leaf) for row in samples]
    known = np.array([np.nan if value is None else value for value in values])
    if np.isfinite(known).any():
        hours = [row["hours"] for row in samples]
        width = 3.0 if group == "base" else 1.5  # may lie under the node's
        axes.plot(hours, known, color=colour, linewidth=width, label=name)


def soak_details(metrics: dict) -> str:
    """Return how a soak ended, in numbers."""
    options, answered, judged = metrics["options"], metrics["answered"], metrics["verdict"]
    parts = [
        f"{metrics['hours']:.1f} h of frames at 10 Hz ({options['width']}x{options['height']}, up "
        f"to {options['tracks']} tracks) in {metrics['seconds'] / 60:.0f} min, {metrics['ended']}: "
        f"{metrics['sent']:,} sent, {answered['masks']:,} processed, {metrics['lost']['masks']} "
        f"lost, {metrics['unmatched']} unmatched, "
        f"{sum(metrics['node'].get('drops', {}).values())} dropped by the node."
    ]
    verdict = {True: ")", None: ", not judged)", False: ", NOT FLAT)"}
    changes = []
    for name, row in judged["compared"].items():
        if name in NAMES:
            what, unit = NAMES[name]
            ends = f"{row['early']:.4g} to {row['late']:.4g}{unit}"
            changes.append(f"{what} {ends} ({row['growth']:+.1%}{verdict[row['flat']]}")
    if changes:
        parts.append(f"From the tenth after the warm-up to the last: {'; '.join(changes)}.")
    if fresh := judged.get("against_fresh"):
        parts.append(
            f"The same frames alternately by it and by a new node: median latency "
            f"{fresh['old_ms']:.2f} and {fresh['fresh_ms']:.2f} ms, {fresh['growth']:+.1%} (95 % "
            f"{fresh['low']:+.1%} to {fresh['high']:+.1%}{'' if fresh['flat'] else ', NOT FLAT'})."
        )
    if against := judged["against_base"]:
        parts.append(
            f"Recall of the input masks {against['recall']:.4f}, of the base weights "
            f"{against['base']:.4f}."
        )
    if options["adapt"] and metrics["node"]:
        decisions = (f"{metrics['node']['adapt'][n]} {n}" for n in ("accepted", "rejected"))
        parts.append(f"Adaptations: {', '.join(decisions)}.")
    return " ".join(parts)
