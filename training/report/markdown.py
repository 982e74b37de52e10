"""Writes tables with numbered notes as Markdown."""

from collections.abc import Mapping, Sequence

from savos_model.tables import DASH, Table, number
from training.report.cells import (
    ABLATIONS,
    COMPARISONS,
    MODES,
    PARTS,
    REDUCED,
    Cell,
    Figure,
    Results,
    ablation_comparisons,
    ablation_file,
    gain,
)
from training.report.paper import PAPER
from training.report.tables import cells_of, pair

Rows = Sequence[Sequence[str]]


class Notes:
    """Remarks of one table, each text numbered once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, text: str) -> str:
        """Return the mark of a remark, with r for a reduced setting; "" for none."""
        if not text:
            return ""
        number = self._numbers.setdefault(text, len(self._numbers) + 1)
        return f" <sup>{number}{'r' if REDUCED in text else ''}</sup>"

    def lines(self) -> list[str]:
        """Return all remarks in order."""
        return [f"{number}. {text}" for text, number in self._numbers.items()]


def cell_text(figure: Figure, notes: Notes, sign: str = "") -> str:
    """Return a figure with its interval and mark, a dash where there is none."""
    mark = notes.mark(figure.note)
    if figure.value is None:
        return f"{DASH}{mark}"
    bounds = (number(value, 3, sign) for value in figure.interval or ())
    text = f" ({' to '.join(bounds)})" if figure.interval else ""
    return f"**{number(figure.value, 4, sign)}**{text}{mark}"


def section(title: str, heads: Sequence[str], rows: Rows, *below: str, remark: str = "") -> str:
    """Return a table under a headline, with a remark above it and lines below."""
    lines = Table(remark, heads, rows).markdown()
    return "\n".join([f"### {title}", "", *lines, *below, ""])


def paper_table(key: str, results: Results) -> str:
    """Return a table of the paper: ours, then the paper's figure, in each cell."""
    published, notes = PAPER[key], Notes()
    rows = []
    for name, figures in published.rows.items():
        cells = [name]
        for ours, theirs in zip(cells_of(key, name), figures, strict=True):
            cells.append(f"{cell_text(results.figure(ours), notes)}<br>paper {number(theirs)}")
        rows.append(cells)
    name = f"Supplement, table {key[1:]}" if key.startswith("S") else f"Table {key}"
    return section(f"{name}: {published.title}", ["", *published.columns], rows, *notes.lines())


def figures_table(
    title: str,
    remark: str,
    heads: Sequence[str],
    cells: Mapping[str, Sequence[Cell]],
    results: Results,
) -> str:
    """Return an additional table, without figures of the paper; `cells` by name of the row."""
    notes = Notes()
    rows = [
        [name, *(cell_text(results.figure(c), notes) for c in row)] for name, row in cells.items()
    ]
    return section(title, ["", *heads], rows, *notes.lines(), remark=remark)


def gains_table(results: Results) -> str:
    """Return the differences with their intervals."""
    notes = Notes()
    rows = [
        [item.name, *(cell_text(gain(results, item, part), notes, "+") for part in PARTS)]
        for item in COMPARISONS
    ]
    title = "Gains over the same frames, 95 % interval over clips"
    return section(title, ["", *PARTS], rows, *notes.lines())


def ablations_table(results: Results) -> str:
    """Return every ablation in both modes, and what it changes."""
    notes, changes = Notes(), {}
    for mode in MODES:
        for item in ablation_comparisons(mode):
            change = gain(results, item, "occluded")._replace(note="")
            changes[item.name, mode] = cell_text(change, notes, "+")
    rows = []
    for name, text in ABLATIONS.items():
        row = [text]
        for mode in MODES:
            figures = (results.figure(cell) for cell in pair(ablation_file(name, mode)))
            row += [
                *(cell_text(figure, notes) for figure in figures),
                changes.get((text, mode), ""),
            ]
        rows.append(row)
    heads = [f"{mode} {part}" for mode in MODES for part in (*PARTS, "change of occluded")]
    return section("All ablations of ours, in both modes", ["", *heads], rows, *notes.lines())
