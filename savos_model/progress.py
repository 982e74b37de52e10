"""Progress bars of the commands, on the error stream so that output can be piped."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def progress_bar(console: Console | None = None, transient: bool = False) -> Progress:
    """Return a bar with text, count and time left; without a console, on the error stream."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
        transient=transient,
    )


def progress(items: Iterable[Item], text: str, total: int | None) -> Iterator[Item]:
    """Hand on the items and show how many of `total` are done (None: not known)."""
    with progress_bar() as bar:
        task = bar.add_task(text, total=total)
        for item in items:
            yield item
            bar.advance(task)
