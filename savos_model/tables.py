"""Format tables of results for terminals and Markdown."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as RichTable

DASH = "–"


class Table(NamedTuple):
    """Rows of text under heads; an empty row starts a section, `names` columns hold names."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    names: int = 1

    def show(self, console: Console) -> None:
        """Print the table."""
        console.print(columned(self.title, *self.heads, names=self.names, rows=self.rows))
        if self.note:
            console.print(self.note)

    def markdown(self) -> list[str]:
        """Return its lines: the title as a paragraph, the table, the note."""
        above, below = ([text, ""] if text else [] for text in (self.title, self.note))
        return [*above, *markdown_table(self.heads, filter(None, self.rows)), "", *below]


def number(value: float | None, digits: int = 4, sign: str = "") -> str:
    """Format a number, with its sign if `sign` is "+"; a dash if there is none."""
    return DASH if value is None else f"{value:{sign}.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Format a share in per cent, without the sign."""
    return number(None if value is None else 100 * value, digits)


def interval(bounds: Sequence[float] | None, digits: int = 2, sign: str = "") -> str:
    """Format an interval, with signs if `sign` is "+"; a dash if there is none."""
    joint = " to " if sign else "-"
    return joint.join(number(value, digits, sign) for value in bounds) if bounds else DASH


def columned(
    title: str, *columns: str, names: int = 1, rows: Iterable[Sequence[str]] = ()
) -> RichTable:
    """Return a table: the first `names` columns left-aligned, numbers right-aligned."""
    table = RichTable(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < names else "right", no_wrap=True)
    for row in rows:
        if row:
            table.add_row(*row)
        else:
            table.add_section()
    return table


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
