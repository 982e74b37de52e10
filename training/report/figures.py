"""Draws plots out of results files, all in one style."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from training.report.paper import TYPES

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from savos_model.files import write_file

# Okabe and Ito's colours, distinguishable with any kind of colour blindness.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#7F7F7F",
)  # fmt: skip
OTHERS = (BLUE, ORANGE, GREEN, RED, SKY, PURPLE)
MAX_BYTES = 200_000
STYLE = {
    "font.size": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 11, "axes.titlelocation": "left", "figure.dpi": 100, "savefig.dpi": 100,
}  # fmt: skip


@contextmanager
def drawing(
    path: Path, width: float, height: float, columns: int = 1, *, rows: int = 1, **style: object
) -> Iterator[tuple[Figure, Any]]:
    """Yield axes to draw on; the picture is written when the block ends, whole or not at all.

    The image has `width` and `height` [inch of 100 px]; with several panels it is an array of
    axes. `style` are settings of matplotlib.
    """
    with plt.rc_context(STYLE | style):
        figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained")
        try:
            yield figure, axes
            save(figure, path)
        finally:
            plt.close(figure)


@contextmanager
def panels(path: Path, rows: int, columns: int, width: float, height: float) -> Iterator:
    """Yield an array [rows, columns] of axes for images, without ticks; otherwise as `drawing`."""
    small = {"font.size": 9, "axes.titlesize": 9}
    with drawing(path, width, height, columns, rows=rows, **small) as (figure, axes):
        axes = np.array(axes, object).reshape(rows, columns)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        for panel in axes.flat:
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        yield axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; in 256 colours where it would be larger than MAX_BYTES.

    The file depends on the figure alone: no date, no version is written into it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    if buffer.tell() > MAX_BYTES:
        buffer.seek(0)
        reduced = (
            Image.open(buffer)
            .convert("RGB")
            .quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        buffer = io.BytesIO()
        reduced.save(buffer, format="png", optimize=True)
    write_file(path, buffer.getvalue())


def alpha_plot(metrics: dict, path: Path) -> None:
    """Draw the mean weight of each direction over the frames (collect.alpha_metrics)."""
    curves = {name: np.array(metrics[name], float) for name in ("forward", "backward")}
    with drawing(path, 6.4, 3.4) as (_, axes):
        # Named where they differ most, so that the names stand apart.
        place = int(np.nanargmax(np.abs(curves["forward"] - 0.5)))
        for (name, values), colour in zip(curves.items(), (BLUE, ORANGE), strict=True):
            axes.plot(values, color=colour, linewidth=1.8)
            above = values[place] >= 0.5
            axes.annotate(
                name, (place, values[place]), xytext=(0, 6 if above else -6), color=colour,
                textcoords="offset points", ha="center", va="bottom" if above else "top",
            )  # fmt: skip
        half = max(0.1, 1.25 * float(np.nanmax(np.abs(curves["forward"] - 0.5))))
        axes.set_ylim(0.5 - half, 0.5 + half)
        axes.set_xlabel("frame of the clip")
        axes.set_ylabel("mean weight (softmax of alpha)")
        axes.margins(x=0.02)


def label_end(axes: Axes, at: Sequence[int], values: np.ndarray, text: str, colour: str) -> None:
    """Write the name of a curve behind its last point."""
    known = np.flatnonzero(np.isfinite(values))
    if len(known):
        end = (at[known[-1]], values[known[-1]])
        axes.annotate(
            text, end, xytext=(5, 0), textcoords="offset points", color=colour, va="center"
        )


def tsne_plot(metrics: dict, path: Path) -> None:
    """Draw the embeddings h in two dimensions, coloured by type (collect.tsne_metrics)."""
    points = metrics["points"]
    names = sorted({p["type"] for p in points}, key=lambda n: (n not in TYPES, n))
    with drawing(path, 6.4, 4.8) as (_, axes):
        for index, name in enumerate(names):
            places = np.array([(p["x"], p["y"]) for p in points if p["type"] == name])
            colour = OTHERS[index % len(OTHERS)]
            axes.scatter(*places.T, s=22, marker="osD^vP"[index % 6], color=colour, label=name)
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, handletextpad=0.1
        )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])


def adapt_plot(metrics: dict, path: Path) -> None:
    """Draw loss and IoU over the iterations of one adaptation (training.adapt.scored)."""
    steps = metrics["iterations"]
    curves = {
        "visible": ("visible_iou", GREY),
        "full": ("full", BLUE),
        "occluded": ("occluded", RED),
    }
    with drawing(path, 6.4, 3.8) as (_, axes):
        for text, (name, colour) in curves.items():
            values = np.array(metrics[name], float)
            axes.plot(steps, values, color=colour, linewidth=1.8)
            label_end(axes, steps, values, text, colour)
        axes.set_xlabel("iteration")
        axes.set_ylabel("mean IoU")
        loss = axes.twinx()
        loss.plot(steps, metrics["loss"], color=GREEN, linewidth=1.2, linestyle="--")
        loss.set_ylabel("self-supervised loss (dashed)", color=GREEN, labelpad=48)
        loss.set_yticks([])
        if metrics["stop"] is not None:
            axes.axvline(metrics["stop"], color="black", linewidth=0.8, linestyle=":")
            axes.annotate(
                " early stop", (metrics["stop"], 0.02), xycoords=("data", "axes fraction")
            )  # fmt: skip


def reliability_plot(metrics: dict, path: Path) -> None:
    """Draw the share of true pixels over their probability (training.adapt.calibrate)."""
    with drawing(path, 4.4, 4.0) as (_, axes):
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
        for name, colour, key in (("before", GREY, "ece_before"), ("after", BLUE, "ece")):
            bins = metrics["bins"][name]
            points = np.array([(part["chance"], part["true"]) for part in bins])
            label = f"{name}: ECE {metrics[key]:.3f}"
            axes.plot(*points.T, "o-", color=colour, markersize=4, label=label)
        axes.set_xlabel("probability given to a hidden pixel")
        axes.set_ylabel("share that belongs to the object")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.legend(loc="upper left", frameon=False)


def lag_plot(metrics: dict, path: Path) -> None:
    """Draw the gain of every mode over forward, by age (evaluate.compare.compare_modes)."""
    modes = dict(list(metrics["modes"].items())[1:])
    ages = list(next(iter(modes.values()))["by_age"])
    with drawing(path, 6.4, 3.8) as (_, axes):
        for (mode, row), colour in zip(modes.items(), OTHERS, strict=False):
            gains = [row["by_age"][age]["gain"]["mean"] for age in ages]
            values = np.array([np.nan if gain is None else gain for gain in gains])
            overall = row["gain"]["occluded"]["mean"]
            axes.plot(values, "o-", color=colour, linewidth=1.8, label=f"{mode} ({overall:+.3f})")
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(ages)), ages)
        axes.set_xlabel("frames since the track's birth")
        axes.set_ylabel("gain in occluded IoU")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def runs_plot(metrics: dict, path: Path) -> None:
    """Draw the held-out loss of training runs over their object-frames (runs.runs_metrics)."""
    with drawing(path, 6.4, 3.8) as (_, axes):
        for (name, run), colour in zip(metrics["runs"].items(), cycle(OTHERS)):
            seen = [row["object_frames"] / 1000 for row in run["curve"]]
            losses = [row["val"] for row in run["curve"]]
            axes.plot(seen, losses, "o-", color=colour, markersize=4, label=name)
        axes.set_xlabel("object-frames [1000]")
        axes.set_ylabel("held-out loss")
        axes.legend(frameon=False)


def stream_plot(metrics: dict, path: Path) -> None:
    """Draw the time of a frame over its tracks, and by stage over image size (bench_stream)."""
    rows = [row for row in metrics["rows"] if not row["messages"]]
    usual, least = rows[0]["image"], rows[0]["network"]
    with drawing(path, 10.0, 3.8, 2) as (_, (left, right)):
        for network, colour in zip(dict.fromkeys(r["network"] for r in rows), OTHERS, strict=False):
            found = [r for r in rows if r["network"] == network and r["image"] == usual]
            tracks = [r["tracks"] for r in found]
            total, inside = (
                np.array([r["ms"][k]["p50"] for r in found]) for k in ("total", "network")
            )
            left.plot(tracks, total, "o-", color=colour, markersize=4, label=network)
            left.plot(tracks, total - inside, "o--", color=colour, markersize=3)
        left.set(xscale="log", yscale="log", xlabel="tracks", ylabel="frame [ms]")
        left.set_title(f"{usual}; dashed: all but the network")
        left.legend(frameon=False)
        sizes = [r for r in rows if r["network"] == least and r["tracks"] == 10]
        sizes.sort(key=lambda r: np.prod([int(side) for side in r["image"].split("x")]))
        base = np.zeros(len(sizes))
        stages = [name for name in sizes[0]["ms"] if name not in ("total", "cpu")]
        for stage, colour in zip(stages, OTHERS, strict=False):
            part = np.array([r["ms"][stage]["p50"] for r in sizes])
            right.bar(range(len(sizes)), part, 0.7, bottom=base, color=colour, label=stage)
            base += part
        right.set_xticks(range(len(sizes)), [r["image"].replace("x", "x\n") for r in sizes])
        right.set_ylabel("stages, each its median [ms]")
        right.set_title(f"10 tracks, {least}")
        right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


# Title and curves of each panel: what to plot, its name, its colour.
SOAK_PANELS = {
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
SOAK_NAMES = {
    "rss_mb": ("memory", " MB"), "adapter_rss_mb": ("memory of the adapter", " MB"),
    "cpu_ms": ("processor time", " ms"), "threads": ("threads", ""), "handles": ("handles", ""),
}  # fmt: skip


def soak_plot(metrics: dict, path: Path) -> None:
    """Draw memory, threads, handles, times and scores over the stamps of `savos soak`."""
    samples = metrics["samples"]
    with drawing(path, 12.0, 3.4, len(SOAK_PANELS)) as (_, panels):
        for axes, (title, curves) in zip(panels, SOAK_PANELS.items(), strict=True):
            for key, name, colour in curves:
                draw_samples(axes, samples, key, name, colour)
            axes.set_title(title)
            axes.set_xlabel("hours at 10 Hz")
            axes.set_ylim(0, 1 if title.startswith("IoU") else 1.4 * axes.get_ylim()[1])
            axes.legend(frameon=False)


def draw_samples(axes: Axes, samples: list[dict], key: str, name: str, colour: str) -> None:
    """Draw one curve; nothing where no sample has it."""
    group, _, leaf = key.rpartition(".")
    values = [(row[group] if group else row).get(leaf) for row in samples]
    known = np.array([np.nan if value is None else value for value in values])
    if np.isfinite(known).any():
        hours = [row["hours"] for row in samples]
        width = 3.0 if group == "base" else 1.5  # may lie under the node's
        axes.plot(hours, known, color=colour, linewidth=width, label=name)


def soak_changes(compared: dict[str, dict]) -> list[str]:
    """Return how each quantity changed over a soak, and whether that is flat."""
    verdict = {True: ")", None: ", not judged)", False: ", NOT FLAT)"}
    changes = []
    for name, row in compared.items():
        if name in SOAK_NAMES:
            what, unit = SOAK_NAMES[name]
            ends = f"{row['early']:.4g} to {row['late']:.4g}{unit}"
            changes.append(f"{what} {ends} ({row['growth']:+.1%}{verdict[row['flat']]}")
    return changes
