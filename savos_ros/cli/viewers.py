"""The commands `savos view` and `savos bridge`."""

import asyncio

import typer

from savos_model.commands import command, stop_on_signals
from savos_model.settings import is_loopback
from savos_ros.bridge.settings import BridgeOptions
from savos_ros.view.settings import ServeOptions, ViewOptions

app = typer.Typer()  # its commands become those of `savos` itself


@command(app, "view", ViewOptions, ServeOptions, status=1, extra="view")
def view(shown: ViewOptions, options: ServeOptions) -> None:
    """Show a running node, or a bag, in a browser: picture, tracks, latency, drops.

    Frames are drawn only while a page is open and visible. Ctrl-C ends the command.

    Example: savos view --node /front/savos
    """
    with stop_on_signals() as stop:
        from savos_ros.view.server import serve

        asyncio.run(serve(shown.source(options.control), options, stop, _say))


def _say(line: str) -> None:
    """Print a line immediately, also into a pipe; warnings to stderr."""
    typer.echo(line, err=line.startswith("warning"))


@command(app, "bridge", BridgeOptions, status=1)
def bridge(options: BridgeOptions) -> None:
    """Show the topics in Foxglove and Lichtblick, without foxglove_bridge; Ctrl-C ends it.

    Viewers can only look. A topic is subscribed to while one of them shows it.

    Example: savos bridge --topics '/savos/.*|/diagnostics'
    """
    with stop_on_signals() as stop:
        from savos_ros.bridge.bridge import run_bridge
        from savos_ros.paths import share_dir

        def ready(port: int) -> None:
            host = options.host if options.host != "0.0.0.0" else "ADDRESS_OF_THIS_MACHINE"
            typer.echo(f"connect Foxglove or Lichtblick to ws://{host}:{port}")
            typer.echo(f"layout: {share_dir() / 'config' / 'foxglove_layout.json'}")

        if not is_loopback(options.host):
            typer.echo(
                f"warning: everybody who can reach {options.host}:{options.port} sees the topics, "
                "without a password and unencrypted: use it in a private network, or take "
                "--host 127.0.0.1 and a tunnel (ssh -L 8765:localhost:8765 ROBOT)",
                err=True,
            )
        run_bridge(options, stop, ready)
