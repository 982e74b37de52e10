"""One results file of an evaluation as a Markdown page with plots."""

from __future__ import annotations

from pathlib import Path

from savos_model.files import write_file
from savos_model.results import ResultsError, read_results
from savos_model.tables import markdown_table
from training.evaluate.summary import figure_of, interval_of
from training.report.cells import lookup, setting
from training.report.figures import bars
from training.report.markdown import DASH
from training.report.plotting import colour_of

PARTS = ("full", "occluded")
OPEN = ("open_full", "open_hidden", "false_area")
OBJECTS = ("full_object", "occluded_object", "false_completion", "boundary_f")
SHOWN = ("n", "frames", *PARTS, *OBJECTS, *OPEN)


def results_page(file: Path, out: Path) -> list[Path]:
    """Write NAME.md and its plots for the results file NAME.json.

    Args:
        file: of savos evaluate fishbowl, chewing-gum or kitti-boxes.
        out: folder.

    Returns:
        The written files.

    Raises:
        ResultsError: no such results file.
    """
    document = read_results(file)
    metrics = document["metrics"]
    kind = lookup(metrics, "data.set")
    if kind not in PAGES:
        raise ResultsError(
            f"{file}: data.set must be one of {', '.join(PAGES)}, got {kind!r}: give a file that "
            "`savos evaluate` wrote"
        )
    out.mkdir(parents=True, exist_ok=True)
    lines, plots = PAGES[kind](metrics, out / file.stem)
    head = [
        f"# {file.stem}",
        "",
        f"{setting(metrics)}; seed {document['seed']}; commit {document['commit']}; "
        f"{document['date']}",
        "",
        f"    {document['command']}",
        "",
    ]
    pictures = [f"![{path.stem}]({path.name})" for path in plots]
    text = "\n".join([*head, *lines, *(f"{picture}\n" for picture in pictures)])
    page = out / f"{file.stem}.md"
    write_file(page, text)
    return [page, *plots]


def number(value: float | int | None) -> str:
    """A count as it is, a share with four digits, a dash for None."""
    if value is None:
        return DASH
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def shown(row: dict, part: str) -> str:
    """A number with its 95 % interval where it has one."""
    bounds = interval_of(row, part)
    text = number(figure_of(row.get(part)))
    return f"{text} ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else text


def overview(reports: dict[str, dict]) -> list[str]:
    """Table of methods and their numbers."""
    heads = [name for name in SHOWN if any(name in report for report in reports.values())]
    rows = [
        [method, *(shown(report, name) for name in heads)] for method, report in reports.items()
    ]
    return [*markdown_table(["method", *heads], rows), ""]


def broken_down(reports: dict[str, dict], key: str, head: str, stem: Path) -> tuple[list, list]:
    """Tables of full and occluded by a group of the reports, and their plots."""
    groups = sorted({group for report in reports.values() for group in report[key]})
    colours = {name: colour_of(name, index) for index, name in enumerate(reports)}
    lines, plots = [], []
    for part in PARTS:
        series = {
            method: [lookup(report[key], f"{group}.{part}") for group in groups]
            for method, report in reports.items()
        }
        rows = [
            [group, *(number(values[index]) for values in series.values())]
            for index, group in enumerate(groups)
        ]
        lines += [f"Mean IoU, {part}, by {head}:", "", *markdown_table([head, *series], rows), ""]
        path = stem.with_name(f"{stem.name}_{key}_{part}.png")
        short = [group.removeprefix("fishbowl_") for group in groups]
        bars(path, f"{part} mean IoU by {head}", short, series, colours)
        plots.append(path)
    return lines, plots


def fishbowl_page(metrics: dict, stem: Path) -> tuple[list[str], list[Path]]:
    """Methods, then occlusion rates, then clips."""
    reports = metrics["methods"]
    rates, rate_plots = broken_down(reports, "by_occlusion", "occlusion rate [%]", stem)
    clips, clip_plots = broken_down(reports, "clips", "clip", stem)
    return [*overview(reports), *rates, *clips], [*rate_plots, *clip_plots]


def gum_page(metrics: dict, stem: Path) -> tuple[list[str], list[Path]]:
    """The lower object, which the paper scores, then all objects."""
    lines, plots = [], []
    for group in ("lower_object", "all_objects"):
        reports = {name: groups[group] for name, groups in metrics["methods"].items()}
        lines += [f"## {group.replace('_', ' ')}", "", *overview(reports)]
        if group == "lower_object":
            more, plots = broken_down(reports, "by_occlusion", "occlusion rate [%]", stem)
            lines += more
    return lines, plots


def kitti_page(metrics: dict, stem: Path) -> tuple[list[str], list[Path]]:
    """Box IoU by occlusion level."""
    levels = {name: level for name, level in metrics["levels"].items() if level["methods"]}
    methods = list(dict.fromkeys(name for level in levels.values() for name in level["methods"]))
    heads = ("iou_mean", "iou_median", "coverage_mean")
    rows = []
    for level, report in levels.items():
        for method, row in report["methods"].items():
            gain = row.get("gain_over_visible", {})
            change = shown({"mean": gain.get("mean"), "ci95": {"mean": gain.get("ci95")}}, "mean")
            numbers = [number(row[name]) for name in heads]
            rows.append([level, method, str(report["n"]), *numbers, change])
    series = {
        method: [lookup(level, f"methods.{method}.iou_mean") for level in levels.values()]
        for method in methods
    }
    path = stem.with_name(f"{stem.name}_levels.png")
    colours = {name: colour_of(name, index) for index, name in enumerate(methods)}
    bars(path, "box IoU by occlusion level", list(levels), series, colours)
    return [
        "Box IoU with KITTI's amodal label boxes:",
        "",
        *markdown_table(["level", "method", "n", *heads, "gain over visible"], rows),
        "",
    ], [path]


PAGES = {
    **dict.fromkeys(("fishbowl", "street", "rendered"), fishbowl_page),
    "chewing_gum": gum_page,
    "kitti_mots": kitti_page,
}
