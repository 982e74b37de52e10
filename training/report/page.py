"""One results file of an evaluation as a Markdown page with plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from savos_model.files import write_file
from savos_model.results import ResultsError, read_results
from training.evaluate.summary import figure_of
from training.evaluate.tables import TABLES, short, tables_of
from training.report.cells import lookup, setting
from training.report.figures import bars, colour_of

PARTS = ("full", "occluded")
Bars = tuple[str, str, list[str], dict[str, list[float | None]]]


def results_page(file: Path, out: Path) -> list[Path]:
    """Write NAME.md and its plots to a folder for the results file NAME.json; return their paths.

    Raises:
        ResultsError: not a file that `savos evaluate` or `savos adapt` wrote for a data set.
    """
    document = read_results(file)
    metrics = document["metrics"]
    try:
        tables = tables_of(metrics)
    except (KeyError, TypeError):
        raise ResultsError(
            f"{file} must hold the scores of methods on one of {', '.join(TABLES)}, got set "
            f"{lookup(metrics, 'data.set')!r}: give a file that `savos evaluate` wrote for a data "
            "set"
        ) from None
    plots = []
    for name, title, groups, series in bars_of(metrics):
        plots.append(out / f"{file.stem}_{name}.png")
        colours = {method: colour_of(method, index) for index, method in enumerate(series)}
        bars(plots[-1], title, groups, series, colours)
    made = f"seed {document['seed']}; commit {document['commit']}; {document['date']}"
    lines = [f"# {file.stem}", "", f"{setting(metrics)}; {made}", "", f"    {document['command']}"]
    for table in tables:
        lines += ["", *table.markdown()]
    lines += [f"![{path.stem}]({path.name})\n" for path in plots]
    page = out / f"{file.stem}.md"
    write_file(page, "\n".join(lines))
    return [page, *plots]


def bars_of(metrics: Mapping) -> Iterator[Bars]:
    """Yield name, title, groups and the values of each method by group of every bar chart."""
    if "levels" in metrics:
        levels = {name: part["methods"] for name, part in metrics["levels"].items()}
        levels = {name: methods for name, methods in levels.items() if methods}
        names = dict.fromkeys(name for methods in levels.values() for name in methods)
        series = {
            name: [lookup(methods, f"{name}.iou_mean") for methods in levels.values()]
            for name in names
        }
        yield "levels", "box IoU by occlusion level", list(levels), series
        return
    methods = metrics["methods"]
    for inner in ("lower_object", "clean"):  # of the groups that a set is scored in, the main one
        methods = {name: report.get(inner, report) for name, report in methods.items()}
    for key, what in (("by_occlusion", "occlusion rate [%]"), ("clips", "clip")):
        groups = sorted({group for report in methods.values() for group in report.get(key, ())})
        for part in PARTS if groups else ():
            series = {
                name: [figure_of(lookup(report[key], f"{group}.{part}")) for group in groups]
                for name, report in methods.items()
            }
            title = f"{part} mean IoU by {what}"
            yield f"{key}_{part}", title, [short(group) for group in groups], series
