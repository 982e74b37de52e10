"""The page of `savos bench gpu`, in Markdown: the values of gpu.json in tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from savos_model.tables import markdown_table

ENGINES = ("torch", "onnx", "tensorrt")
PARTS = {  # of an engine's result, each with its title
    "error": "Engines that failed",
    "parity": "Difference from torch on the CPU",
    "start_s": "Start [s], the second time from the cache",
    "steps": "Speed of steps of the network, by number of tracks",
    "frames": "Speed of whole frames, by number of tracks",
    "swap": "Other weights while it runs",
}


def page(report: dict) -> str:
    """Return the page of what bench_gpu returns, also after some of the steps."""
    settings, steps = report["settings"], report["steps"]
    kind = "Dry run on the CPU" if settings["dry_run"] else "GPU"
    states = {
        name: {key: step[key] for key in ("state", "seconds", "error")}
        for name, step in steps.items()
    }
    results = {name: step["result"] for name, step in steps.items() if step["result"]}
    engines = {
        f"{name} {precision}": part
        for name in ENGINES
        for precision, part in results.get(name, {}).items()
    }
    lines = [f"# {kind}: {settings['weights']}", "", *section("Steps", states)]
    lines += section("Machine", figures(results.get("machine", {})))
    for key, title in PARTS.items():
        rows = {name: part[key] for name, part in engines.items() if key in part}
        if key in ("steps", "frames"):
            rows = {f"{name}, {n}": row for name in rows for n, row in rows[name].items()}
        lines += section(title, rows)
    lines += section("Adaptation next to an engine", figures(results.get("adaptation", {})))
    lines += section("Training", results.get("training", {}))
    return "\n".join([*lines, *section("Tests marked gpu", figures(results.get("tests", {})))])


def section(title: str, rows: Mapping[str, Any]) -> list[str]:
    """Return a heading and a table with a column for each figure of the rows; nothing of none."""
    flat = {name: dict(leaves(row)) for name, row in rows.items()}
    heads = list(dict.fromkeys(key for row in flat.values() for key in row))
    cells = [[name, *(text(row.get(key, "")) for key in heads)] for name, row in flat.items()]
    return [f"## {title}", "", *markdown_table(["", *heads], cells), ""] if rows else []


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as rows of one figure each."""
    return {key: {"value": value} for key, value in leaves(result)}


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the figures inside a result, each with the keys that lead to it."""
    if not isinstance(value, Mapping):
        yield at or "value", value
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{at} {key}".strip())


def text(value: Any) -> str:
    """Return what a cell shows: three digits of a number, text on one line."""
    if value is None:
        return "not finite"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return " ".join(str(value).split()).replace("|", "\\|")
