"""The `savos report` commands: tables, plots and pictures out of results files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from savos_model.commands import command, user_errors
from training.evaluate.settings import RunOptions
from training.report import settings

app = typer.Typer(help="Rebuild the paper's tables and figures out of results files.")


@app.callback(invoke_without_command=True)
def report(
    context: typer.Context,
    results: Annotated[Path, typer.Option(help="Folder of the results files.")] = settings.RESULTS,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = settings.REPORT,
) -> None:
    """Without a command: write the report. Nothing is measured again.

    Example: savos report --results docs/results --out docs/report
    """
    if context.invoked_subcommand is not None:
        return
    with user_errors():
        from training.report.build import build_report

        written([build_report(results, out)])


def written(paths: Iterable[Path]) -> None:
    """Print the paths of files."""
    for path in paths:
        typer.echo(f"written: {path}")


@command(app, "collect", settings.CollectOptions)
def collect(options: settings.CollectOptions) -> None:
    """Run over clips and record the weights of both directions, and h of each object.

    Example: savos report collect --data fishbowl/val
    """
    from training.report.collect import collect

    ours = RunOptions(weights=options.weights, mode="bidirectional").ours
    written(collect(options.data, ours, options.out, options.processes, options.seed))


@command(app, "strips", settings.StripOptions)
def strips(options: settings.StripOptions) -> None:
    """Draw objects as each method completes them: rows are frames, columns are methods.

    Example: savos report strips --data fishbowl/val --clips fishbowl_0022 --gum 0
    """
    from training.report.strips import scenes, write_strips

    found = scenes(options.data, options.clips, options.gum, options.street)
    ours = RunOptions(weights=options.weights, mode="forward").ours
    written(write_strips(found, ours, options.out, options.results))


@command(app, "method", settings.MethodOptions)
def method(options: settings.MethodOptions) -> None:
    """Draw an object's way through the method, as docs/method.md shows it.

    Example: savos report method --out docs/images/method
    """
    from training.report.method import write_pictures

    ours = RunOptions(weights=options.weights, mode="forward").ours
    written(write_pictures(options.street, ours, options.out))


@command(app, "runs", settings.RunsOptions)
def runs(options: settings.RunsOptions) -> None:
    """Compare training runs by their held-out losses, size and cost.

    Example: savos report runs runs/full runs/no_image --json docs/results/runs_parts.json
    """
    from rich.console import Console

    from savos_model.results import keep_results
    from training.report.runs import runs_metrics, runs_table

    metrics = runs_metrics(options.runs)
    runs_table(metrics).show(Console())
    keep_results(options.json, metrics, 0, Console())
