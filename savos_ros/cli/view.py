"""The command `savos view`: options in, a page for browsers out."""

from __future__ import annotations

import typer

from savos_model.commands import command
from savos_ros.bags.stopping import stop_on_signals
from savos_ros.cli.bags import FAILURES
from savos_ros.view.settings import ServeOptions, ViewOptions

app = typer.Typer()  # its command becomes one of `savos` itself


@command(app, "view", ViewOptions, ServeOptions, failures=FAILURES, extra="view")
def view(shown: ViewOptions, options: ServeOptions) -> None:
    """Show a running node, or a bag, in a browser: picture, tracks, latency, drops.

    Frames are drawn only while a page is open and visible. Ctrl-C ends the command.

    Example: savos view --node /front/savos
    """
    with stop_on_signals() as stop:
        from savos_ros.view.server import serve

        serve(shown.source(options.control), options, stop, _say)


def _say(line: str) -> None:
    """Print a line immediately, also into a pipe; warnings to stderr."""
    typer.echo(line, err=line.startswith("warning"))
