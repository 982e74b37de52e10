"""Tables of measured numbers, for terminals and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table


def number(value: float | None, digits: int = 4) -> str:
    """Format a mean; a dash where nothing was measured."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Format a share in per cent, without the sign."""
    return number(None if value is None else 100 * value, digits)


def columned(
    title: str, *columns: str, names: int = 1, rows: Iterable[Sequence[str]] = ()
) -> Table:
    """Return a table: the first `names` columns to the left, figures to the right."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < names else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
