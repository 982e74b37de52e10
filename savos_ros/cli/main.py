"""The `savos` command: parses arguments, then hands over to the module that does the work."""

import io
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from savos_model.commands import Value, command, option
from savos_model.settings import setting
from savos_ros.cli import bags, bench, engines, viewers
from savos_ros.tools.settings import DemoOptions, SoakOptions
from training.cli.main import mount

app = typer.Typer(
    name="savos",
    help="Amodal instance masks from camera images and tracked instance masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (bags, viewers, engines):
    app.registered_commands += module.app.registered_commands
app.add_typer(bench.app, name="bench")
app.add_typer(engines.weights_app, name="weights")
mount(app, bench.app, engines.weights_app)


def print_version(wanted: bool) -> None:
    """Print the version of the package and end."""
    if wanted:
        from savos_ros.paths import version

        typer.echo(f"savos_ros {version()}")
        raise typer.Exit


@app.callback()
def savos(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Amodal instance masks from camera images and tracked instance masks."""


@command(app, "doctor", Value("json", bool, setting(False, "print JSON instead of a table")))
def doctor(json: bool) -> int:
    """Check the installation and report the consequence of each missing part."""
    from savos_ros.tools.doctor import run_doctor

    return run_doctor(as_json=json)


DEMO = Value("out", Path, option("folder of the results", Path("demo")))


@command(app, "demo", DEMO, DemoOptions, status=1, extra="bags")
def demo(out: Path, options: DemoOptions) -> None:
    """Play a generated street to the node over DDS; write images, a bag and metrics."""
    from savos_ros.tools.demo import run_demo

    run_demo(out, options)


@command(app, "soak", SoakOptions, bench.RESULTS, status=1)
def soak(options: SoakOptions, results: Path | None) -> bool:
    """Stress test: stream hours of frames to the node at full speed; find leaks and drift.

    Ctrl-C ends it early and keeps the measurements. Exit status 1 means that the run is incomplete,
    or that memory, threads, handles, latency or recall have drifted.

    Example: savos soak --hours 24 --json docs/results/soak.json
    """
    from savos_ros.tools import soak as soaking

    # Whoever ends it, and however it was started: a run of hours must not lose what it has.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    report = soaking.soak(options, results, typer.echo)
    typer.echo(soaking.summary(report))
    return report["ended"] != "complete" or report["verdict"]["flat"] is False


WRITE = setting(False, "rewrite every generated file of the source tree")


@command(app, "params", Value("write", bool, WRITE))
def params(write: bool) -> None:
    """Print every parameter of the node with default, range and meaning, as a parameter file."""
    from savos_ros.cli.docs import parameters
    from savos_ros.paths import share_dir

    if write:
        for path in parameters.update(share_dir(), app):
            typer.echo(f"rewritten: {path}")
    else:
        typer.echo(parameters.yaml_text(), nl=False)


def main() -> None:
    """Run the console script."""
    for stream in (sys.stdout, sys.stderr):  # file names may hold bytes that are no UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
