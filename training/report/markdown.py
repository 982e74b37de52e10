"""Writes tables with numbered notes as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from savos_model.tables import markdown_table
from training.report.cells import REDUCED, Cell, Figure, Results
from training.report.gains import COMPARISONS, PARTS, ablation_comparisons, gain
from training.report.paper import PAPER
from training.report.producers import ABLATIONS, MODES, ablation_file
from training.report.tables import cells_of, pair

DASH = "–"


class Notes:
    """Remarks of one table, each text numbered once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, text: str) -> str:
        """The mark of a remark, with r for a reduced setting; "" for none."""
        if not text:
            return ""
        number = self._numbers.setdefault(text, len(self._numbers) + 1)
        return f" <sup>{number}{'r' if REDUCED in text else ''}</sup>"

    def lines(self) -> list[str]:
        """All remarks in order."""
        return [f"{number}. {text}" for text, number in self._numbers.items()]


def number(figure: Figure, notes: Notes, signed: bool = False) -> str:
    """A figure with its interval and mark, a dash where there is none."""
    mark = notes.mark(figure.note)
    if figure.value is None:
        return f"{DASH}{mark}"
    sign = "+" if signed else ""
    text = f"**{figure.value:{sign}.4f}**"
    if figure.interval is not None:
        low, high = figure.interval
        text += f" ({low:{sign}.3f} to {high:{sign}.3f})"
    return text + mark


def paper_table(key: str, results: Results) -> str:
    """A table of the paper: ours, then the paper's figure, in each cell."""
    published, notes = PAPER[key], Notes()
    rows = []
    for name, figures in published.rows.items():
        cells = [name]
        for ours, theirs in zip(cells_of(key, name), figures, strict=True):
            paper = DASH if theirs is None else f"{theirs:.4f}"
            cells.append(f"{number(results.figure(ours), notes)}<br>paper {paper}")
        rows.append(cells)
    name = f"Supplement, table {key[1:]}" if key.startswith("S") else f"Table {key}"
    lines = [f"### {name}: {published.title}", "", *markdown_table(["", *published.columns], rows)]
    return "\n".join([*lines, "", *notes.lines(), ""])


def figures_table(
    title: str,
    remark: str,
    heads: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Cell]]],
    results: Results,
) -> str:
    """A table of our own, without figures of the paper; a remark stands above it."""
    notes = Notes()
    body = [[name, *(number(results.figure(c), notes) for c in cells)] for name, cells in rows]
    above = [f"### {title}", "", *([remark, ""] if remark else [])]
    return "\n".join([*above, *markdown_table(["", *heads], body), "", *notes.lines(), ""])


def gains_table(results: Results) -> str:
    """Differences with their intervals."""
    notes = Notes()
    rows = [
        [item.name, *(number(gain(results, item, part), notes, signed=True) for part in PARTS)]
        for item in COMPARISONS
    ]
    lines = ["### Gains over the same frames, 95 % interval over clips", ""]
    return "\n".join([*lines, *markdown_table(["", *PARTS], rows), "", *notes.lines(), ""])


def ablations_table(results: Results) -> str:
    """Every ablation in both modes, and what it changes."""
    notes, changes = Notes(), {}
    for mode in MODES:
        for item in ablation_comparisons(mode):
            changes[item.name, mode] = number(
                gain(results, item, "occluded")._replace(note=""), notes, signed=True
            )
    rows = []
    for name, text in ABLATIONS.items():
        cells = [text]
        for mode in MODES:
            figures = (results.figure(cell) for cell in pair(ablation_file(name, mode)))
            cells += [number(figure, notes) for figure in figures]
            cells.append(changes.get((text, mode), ""))
        rows.append(cells)
    heads = [f"{mode} {part}" for mode in MODES for part in (*PARTS, "change of occluded")]
    lines = ["### All ablations of ours, in both modes", "", *markdown_table(["", *heads], rows)]
    return "\n".join([*lines, "", *notes.lines(), ""])


def options_table(results: Results) -> str:
    """What the settings of the stream change in the masks as published."""
    file = "fishbowl_options.json"
    metrics = results.metrics(file)
    title = "### Settings of the stream, masks as published (FISHBOWL)\n"
    if metrics is None:
        return f"{title}\n{results.to_run(file)}\n"
    heads = ["", "full", "gain of full", "occluded", "wrong", "unhidden", "gone 1-5", "gone 6-20",
             "strays"]  # fmt: skip
    rows = []
    for name, row in metrics["options"].items():
        gain, interval = row["gain"]["mean"], row["gain"]["ci95"]
        bounds = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
        gone = (row["hidden"].get(gap, {}).get("iou") for gap in ("1-5", "6-20"))
        figures = (row["occluded"], row["false_completion"], row["bare"], *gone)
        told = (DASH if figure is None else f"{figure:.4f}" for figure in figures)
        rows.append([name, f"{row['full']:.4f}", f"{gain:+.4f}{bounds}", *told, str(row["strays"])])
    about = (
        "full, occluded, wrong (share of the hidden pixels claimed): objects 10-70 % hidden, "
        "nothing substituted; unhidden: full IoU of objects with less than 1 % hidden; gone: IoU "
        "of wholly hidden objects by frames since they were last seen, 0 where nothing is "
        "published; strays: masks of objects that had left the picture."
    )
    return "\n".join([title, *markdown_table(heads, rows), "", about, "", results.origin(file), ""])


def speed_table(results: Results) -> str:
    """Object-frames per second of training, and how many times better than the released design."""
    file = "train_bench.json"
    metrics = results.metrics(file)
    if metrics is None:
        return f"{results.to_run(file)}\n"
    variants = metrics["variants"]
    rows = [
        [row["text"], f"{row['object_frames_per_s']:.1f}",
         f"{row['object_frames_per_s_with_data']:.1f}", f"{row['peak_mib']:.0f}"]
        for row in variants.values()
    ]  # fmt: skip
    heads = ["", "object-frames per s", "with making the batch", "peak memory [MiB]"]
    keys = {
        "step": "step",
        "with_data": "with making the batch",
        "cpu": "CPU time",
        "memory": "memory",
    }
    better = [
        [f"{variants[ours]['text']} over {variants[peer]['text']}",
         *(f"{ratio[key]:.1f}" for key in keys)]
        for ours, peers in metrics["ratios"].items() for peer, ratio in peers.items()
    ]  # fmt: skip
    settings = ", ".join(f"{name} {value}" for name, value in metrics["settings"].items())
    return "\n".join(
        [*markdown_table(heads, rows), "",
         *markdown_table(["times better", *keys.values()], better), "",
         metrics["note"], "", f"{results.source(file)}; {settings}", ""]
    )  # fmt: skip
