"""Tables of measured numbers, for the terminal and for Markdown pages."""

from collections.abc import Iterable, Mapping

from savos_model.tables import DASH, Table, interval, number, percent
from training.evaluate.metrics import BIN_NAMES, figure_of, interval_of

OPEN_FIGURES = {"open_full": "full", "open_hidden": "hidden", "false_area": "false area [%]"}
OPEN_GROUPS = {"by_age": "age {}", "by_occluder": "behind {}", "by_size": "{} objects"}
KITTI_FIGURES = ("iou_mean", "iou_median", "coverage_median", "growth_mean")
ANSWERED = (
    "frames with masks {frames_with_masks}, all their objects answered {frames_answered}; objects "
    "{objects}, answered {objects_answered}"
)


OVERALL = {
    "objects": lambda report: str(report["n"]),
    "full": lambda report: number(figure_of(report["full"])),
    "  95 %": lambda report: interval(interval_of(report, "full")),
    "occluded": lambda report: number(figure_of(report["occluded"])),
    "  95 % ": lambda report: interval(interval_of(report, "occluded")),
    "behind": lambda report: number(report["behind_objects"]["occluded"]),
    "wrong": lambda report: number(report["false_completion"], 3),
    "boundary F": lambda report: number(report["boundary_f"], 3),
}


def tables_of(metrics: Mapping) -> list[Table]:
    """Return the tables of what `savos evaluate` or `savos adapt` measured on a data set."""
    return TABLES[metrics["data"]["set"]](metrics)


def mask_tables(metrics: Mapping) -> list[Table]:
    """Return the tables of both protocols, those of the open one by kind of clip too."""
    kinds = metrics.get("kinds", {})
    tables = [open_table(part["methods"], kind) for kind, part in kinds.items()]
    tables += paper_tables(metrics["methods"])
    if all("open" in row for row in metrics["methods"].values()):
        tables.append(open_table(metrics["methods"]))
    return tables


def paper_tables(methods: Mapping[str, Mapping]) -> list[Table]:
    """Return the means by clip (full / occluded), then over all clips.

    Methods are columns, so that the tables fit a terminal of 80 columns.
    """
    rows = []
    for clip in sorted({clip for report in methods.values() for clip in report["clips"]}):
        found = [report["clips"].get(clip) for report in methods.values()]
        cells = [f"{percent(r['full'])}/{percent(r['occluded'])}" if r else DASH for r in found]
        rows.append([short(clip), str(next(row["n"] for row in found if row)), *cells])
    by_clip = Table("Mean IoU by clip [%], full / occluded", ["clip", "n", *methods], rows)
    rows = [[name, *map(cell, methods.values())] for name, cell in OVERALL.items()]
    for part in BIN_NAMES:
        cells = [number(r["by_occlusion"][part]["occluded"], 3) for r in methods.values()]
        rows.append([f"occ. {part} %", *cells])
    note = (
        "behind: occluded IoU of objects partly behind another object (scenery alone hides the "
        "others); wrong: share of the hidden pixels claimed that are wrong"
    )
    return [by_clip, Table("All clips, mean IoU", ["", *methods], rows, note)]


def short(clip: str) -> str:
    """Return a clip's name without what all of its set have; drives as 09_26 0009."""
    drive = clip.removeprefix("2011_").removesuffix("_sync").replace("_drive_", " ")
    return drive.removeprefix("fishbowl_").removeprefix("rendered_")


def open_table(methods: Mapping[str, Mapping], title: str = "all clips") -> Table:
    """Return the figures of the open protocol: overall, then by age, occluder and size."""
    rows: list[list[str]] = []
    for key, name in OPEN_FIGURES.items():
        figures = [report[key] for report in methods.values()]
        scale, digits = (100, 1) if key == "false_area" else (1, 4)
        means = [number(f["mean"] and scale * f["mean"], digits) for f in figures]
        rows.append([f"{name}, n {figures[0]['n']}", *means])
        bounds = (f["ci95"] and [scale * value for value in f["ci95"]] for f in figures)
        rows.append(["  95 %", *(interval(pair, digits) for pair in bounds)])
    for key, text in OPEN_GROUPS.items():
        rows.append([])
        for group in next(iter(methods.values()))["open"][key]:
            found = [report["open"][key][group] for report in methods.values()]
            parts = [n for n in ("full", "hidden", "false_area") if n in found[0]]
            cells = ("/".join(percent(row[name]) for name in parts) for row in found)
            rows.append([f"{text.format(group)}, n {found[0]['n']}", *cells])
    note = (
        "full, hidden: IoU of objects 10-90 % hidden by anything; false area: pixels published "
        "outside the object over its area, objects with less than 2 % hidden; below: all three "
        "in per cent, by frames since the first mask, by what hides most, by size"
    )
    return Table(f"Open protocol, {title}: masks as published", ["", *methods], rows, note)


def kins_tables(metrics: Mapping) -> list[Table]:
    """Return the tables of each rule, which the protocol describes."""
    tables = []
    for rule in ("released", "clean"):
        reports = {method: report[rule] for method, report in metrics["methods"].items()}
        by_clip, means = paper_tables(reports)
        tables += [by_clip._replace(note=metrics["protocol"][rule]), means]
    return tables


def gum_tables(metrics: Mapping) -> list[Table]:
    """Return the means of the lower object, then of all objects."""
    rows = [
        [
            *(name, group.split("_")[0], str(row["n"])),
            *(number(row["full"]), interval(row["ci95"]["full"])),
            *(number(row["occluded"]), interval(row["ci95"]["occluded"])),
        ]
        for name, groups in metrics["methods"].items()
        for group, row in groups.items()
    ]
    heads = ("method", "of", "n", "full", "95 %", "occluded", "95 %")
    return [Table(f"Mean IoU, {metrics['data']['videos']} videos", heads, rows, names=2)]


def kitti_tables(metrics: Mapping) -> list[Table]:
    """Return box IoU by occlusion level."""
    rows: list[list[str]] = []
    for level, report in metrics["levels"].items():
        for name, row in report["methods"].items():
            gain = row.get("gain_over_visible", {"mean": None, "ci95": None})
            figures = (number(row.get(key), 3) for key in KITTI_FIGURES)
            gains = number(gain["mean"], 3, "+"), interval(gain["ci95"], 2, "+")
            rows.append([level, name, str(report["n"]), *figures, *gains])
        rows.append([])
    note = (
        "cover: share of the label box covered (median); growth: pixels published outside the "
        "visible mask and its holes over its area: wrong where nothing is hidden (level 0)"
    )
    if metrics["model"]:
        note += f"\n{ANSWERED.format(**metrics['answered'])}"
    heads = ("level", "method", "n", "mean", "median", "cover", "growth", "gain", "95 %")
    return [Table("Box IoU with the amodal label boxes", heads, rows, note, names=2)]


TABLES = {
    **dict.fromkeys(("fishbowl", "street", "rendered"), mask_tables),
    "kins_video_car": kins_tables,
    "chewing_gum": gum_tables,
    "kitti_mots": kitti_tables,
}


def adapt_tables(gains: Mapping, videos: Mapping) -> list[Table]:
    """Return the gains by adaptation, and the adaptation of each video."""
    rows = [
        [field, number(row["mean"], 4, "+"), interval(row["ci95"], 4, "+")]
        for field, row in gains.items()
    ]
    adapted = Table("Adapted - base", ("mean IoU", "gain", "95 %"), rows)
    rows = []
    for name, row in videos.items():
        values = row["visible_iou"] or [None]  # nothing was measured without any window
        ends = f"{number(values[0], 3)} to {number(values[-1], 3)}"
        rows.append([short(name), str(row["iterations"]), ends])
    return [adapted, Table("Adaptation", ("clip", "iterations", "visible IoU"), rows)]


def lag_tables(modes: Mapping[str, Mapping]) -> list[Table]:
    """Return what lag.compare_modes reports: means, gain, and gain by age of the track."""
    rows = []
    for mode, row in modes.items():
        gain = row["gain"]["occluded"]
        gains = number(gain["mean"], 3, "+"), interval(gain["ci95"], 3, "+")
        rows.append([mode, number(row["full"]), number(row["occluded"]), *gains])
    means = Table("Mean IoU", ("mode", "full", "occluded", "gain", "95 %"), rows)
    ages = next(iter(modes.values()))["by_age"]
    rows = [
        [mode, *(number(group["gain"]["mean"], 3, "+") for group in row["by_age"].values())]
        for mode, row in modes.items()
    ]
    title = "Gain in occluded IoU by frames since the track's birth"
    return [means, Table(title, ("mode", *ages), rows)]


def options_table(options: Mapping[str, Mapping], digits: int, intervals: bool) -> Table:
    """Return what options.report_option says of each row; intervals are too wide for a terminal."""
    rows = []
    for name, row in options.items():
        gain = number(row["gain"]["mean"], digits, "+")
        gain += f" ({interval(row['gain']['ci95'], 3, '+')})" if intervals else ""
        gaps: Iterable = (row["hidden"].get(gap, {}).get("iou") for gap in ("1-5", "6-20"))
        figures = (row["occluded"], row["false_completion"], row["bare"], *gaps)
        cells = (number(figure, digits) for figure in figures)
        rows.append([name, number(row["full"], digits), gain, *cells, str(row["strays"])])
    heads = ("", "full", "gain", "occluded", "wrong", "bare", "gone 1-5", "6-20", "strays")
    note = (
        "full, occluded, wrong (share of the hidden pixels claimed): objects 10-70 % hidden, "
        "nothing substituted; bare: full IoU of objects with less than 1 % hidden; gone: IoU of "
        "wholly hidden objects by frames since last seen, 0 where nothing is published; strays: "
        "masks of objects that had left"
    )
    return Table("Masks as published", heads, rows, note)
