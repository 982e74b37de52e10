"""Prints measured numbers as tables."""

from __future__ import annotations

from rich.console import Console

from savos_model.tables import columned, number, percent
from training.evaluate.summary import BIN_NAMES, figure_of, interval_of


def fishbowl_tables(metrics: dict, console: Console) -> None:
    """Print the result of evaluate_fishbowl: by clip (full / occluded), then over all clips.

    Reports by one rule of evaluate_kins fit as well. Methods are columns, so that the tables fit a
    terminal of 80 columns.
    """
    methods = metrics["methods"]
    table = columned("Mean IoU by clip [%], full / occluded", "clip", "n", *methods)
    for clip in sorted({clip for report in methods.values() for clip in report["clips"]}):
        rows = [report["clips"].get(clip) for report in methods.values()]
        cells = [f"{percent(r['full'])}/{percent(r['occluded'])}" if r else "-" for r in rows]
        count = str(next(row["n"] for row in rows if row))
        table.add_row(_short(clip), count, *cells)
    console.print(table)
    table = columned("All clips, mean IoU", "", *methods)
    for name, cell in OVERALL.items():
        table.add_row(name, *(cell(report) for report in methods.values()))
    for part in BIN_NAMES:
        cells = (number(r["by_occlusion"][part]["occluded"], 3) for r in methods.values())
        table.add_row(f"occ. {part} %", *cells)
    console.print(table)
    console.print(
        "behind: occluded IoU of objects partly behind another object (scenery alone hides the "
        "others); wrong: share of the hidden pixels claimed that are wrong"
    )


def _short(clip: str) -> str:
    """Return a clip's name without what all of its set have; drives as 09_26 0009."""
    drive = clip.removeprefix("2011_").removesuffix("_sync").replace("_drive_", " ")
    return drive.removeprefix("fishbowl_").removeprefix("rendered_")


def _interval(bounds: list[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.2f}-{bounds[1]:.2f}"


OVERALL = {
    "objects": lambda report: str(report["n"]),
    "full": lambda report: number(figure_of(report["full"])),
    "  95 %": lambda report: _interval(interval_of(report, "full")),
    "occluded": lambda report: number(figure_of(report["occluded"])),
    "  95 % ": lambda report: _interval(interval_of(report, "occluded")),
    "behind": lambda report: number(report["behind_objects"]["occluded"]),
    "wrong": lambda report: number(report["false_completion"], 3),
    "boundary F": lambda report: number(report["boundary_f"], 3),
}


OPEN_FIGURES = {"open_full": "full", "open_hidden": "hidden", "false_area": "false area [%]"}
OPEN_GROUPS = {"by_age": "age {}", "by_occluder": "behind {}", "by_size": "{} objects"}


def open_table(methods: dict[str, dict], console: Console, title: str = "") -> None:
    """Print the figures of the open protocol: overall, then by age, occluder and size."""
    table = columned(f"Open protocol, {title or 'all clips'}: masks as published", "", *methods)
    for key, name in OPEN_FIGURES.items():
        figures = [report[key] for report in methods.values()]
        form = percent if key == "false_area" else number
        table.add_row(f"{name}, n {figures[0]['n']}", *(form(f["mean"]) for f in figures))
        bounds = [f["ci95"] and [form(value) for value in f["ci95"]] for f in figures]
        table.add_row("  95 %", *("-".join(pair) if pair else "-" for pair in bounds))
    for key, text in OPEN_GROUPS.items():
        table.add_section()
        for group in next(iter(methods.values()))["open"][key]:
            rows = [report["open"][key][group] for report in methods.values()]
            cells = (
                "/".join(
                    percent(row[name]) for name in ("full", "hidden", "false_area") if name in row
                )
                for row in rows
            )
            table.add_row(f"{text.format(group)}, n {rows[0]['n']}", *cells)
    console.print(table)
    console.print(
        "full, hidden: IoU of objects 10-90 % hidden by anything; false area: pixels published "
        "outside the object over its area, objects with less than 2 % hidden; below: all three "
        "in per cent, by frames since the first mask, by what hides most, by size"
    )


def chewing_gum_table(metrics: dict, console: Console) -> None:
    """Print the result of evaluate_chewing_gum: the lower object, then all objects."""
    table = columned(
        f"Mean IoU, {metrics['data']['videos']} videos",
        "method", "of", "n", "full", "95 %", "occluded", "95 %",
    )  # fmt: skip
    for name, groups in metrics["methods"].items():
        for group, row in groups.items():
            table.add_row(
                name, group.split("_")[0], str(row["n"]), number(row["full"]),
                _interval(row["ci95"]["full"]), number(row["occluded"]),
                _interval(row["ci95"]["occluded"]),
            )  # fmt: skip
    console.print(table)


def adapt_table(gains: dict, videos: dict, console: Console) -> None:
    """Print the gains by adaptation, and the adaptation of each video."""
    table = columned("Adapted - base", "mean IoU", "gain", "95 %")
    for field, row in gains.items():
        interval = "-" if row["ci95"] is None else "{:+.4f} to {:+.4f}".format(*row["ci95"])
        table.add_row(field, "-" if row["mean"] is None else f"{row['mean']:+.4f}", interval)
    console.print(table)
    table = columned("Adaptation", "clip", "iterations", "visible IoU")
    for name, row in videos.items():
        values = row["visible_iou"] or [None]  # nothing was measured without any window
        ends = f"{number(values[0], 3)} to {number(values[-1], 3)}"
        table.add_row(_short(name), str(row["iterations"]), ends)
    console.print(table)


KITTI_FIGURES = ("iou_mean", "iou_median", "coverage_median", "growth_mean")


def kitti_table(metrics: dict, console: Console) -> None:
    """Print the result of evaluate_kitti: box IoU by occlusion level."""
    table = columned(
        "Box IoU with the amodal label boxes",
        "level", "method", "n", "mean", "median", "cover", "growth", "gain", "95 %",
    )  # fmt: skip
    for level, report in metrics["levels"].items():
        for name, row in report["methods"].items():
            gain = row.get("gain_over_visible", {"mean": None, "ci95": None})
            table.add_row(
                level, name, str(report["n"]),
                *(number(row[key], 3) for key in KITTI_FIGURES), number(gain["mean"], 3),
                _interval(gain["ci95"]),
            )  # fmt: skip
        table.add_section()
    console.print(table)
    console.print(
        "cover: share of the label box covered (median); growth: pixels published outside the "
        "visible mask and its holes over its area: wrong where nothing is hidden (level 0)"
    )
    counts = metrics["answered"]
    if metrics["model"]:
        console.print(
            f"frames with masks {counts.get('frames_with_masks', 0)}, all their objects answered "
            f"{counts.get('frames_answered', 0)}; objects {counts.get('objects', 0)}, "
            f"answered {counts.get('objects_answered', 0)}"
        )


def lag_table(modes: dict, console: Console) -> None:
    """Print what evaluate_lag.compare_modes reports: means, gain, and gain by age of the track."""
    table = columned("Mean IoU", "mode", "full", "occluded", "gain", "95 %")
    for mode, row in modes.items():
        gain = row["gain"]["occluded"]
        interval = "-" if gain["ci95"] is None else "{:+.3f} to {:+.3f}".format(*gain["ci95"])
        figures = (number(row["full"]), number(row["occluded"]), _signed(gain["mean"]))
        table.add_row(mode, *figures, interval)
    console.print(table)
    ages = next(iter(modes.values()))["by_age"]
    table = columned("Gain in occluded IoU by frames since the track's birth", "mode", *ages)
    for mode, row in modes.items():
        table.add_row(mode, *(_signed(group["gain"]["mean"]) for group in row["by_age"].values()))
    console.print(table)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def options_table(options: dict, console: Console) -> None:
    """Print what evaluate_options reports: masks as published, wholly hidden objects apart."""
    heads = ("full", "occluded", "wrong", "bare", "gone 1-5", "6-20", "strays")
    table = columned("Masks as published", "", *heads)
    for name, row in options.items():
        gaps = (row["hidden"].get(gap, {}).get("iou") for gap in ("1-5", "6-20"))
        figures = (row["full"], row["occluded"], row["false_completion"], row["bare"], *gaps)
        table.add_row(name, *(number(figure, 3) for figure in figures), str(row["strays"]))
    console.print(table)
    console.print(
        "full, occluded, wrong: objects 10-70 % hidden; bare: full IoU of objects with less than "
        "1 % hidden; gone: IoU of wholly hidden objects by frames since last seen (0 where nothing "
        "is published); strays: masks of objects that had left"
    )
