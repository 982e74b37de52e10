"""The `savos report` commands: tables, plots and pictures out of results files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from savos_model.commands import names_of, user_errors
from training.cli.arguments import ours_of
from training.cli.options import ProcessesOption, WeightsOption

app = typer.Typer(help="Rebuild the paper's tables and figures out of results files.")

ResultsOption = Annotated[Path, typer.Option(help="Folder of the results files.")]
ReportOption = Annotated[Path, typer.Option(help="Folder of the report.")]
RESULTS, REPORT = Path("docs/results"), Path("docs/report")


@app.callback(invoke_without_command=True)
def report(
    context: typer.Context, results: ResultsOption = RESULTS, out: ReportOption = REPORT
) -> None:
    """Without a command: write the report. Nothing is measured again.

    Example: savos report --results docs/results --out docs/report
    """
    if context.invoked_subcommand is not None:
        return
    with user_errors():
        from training.report.build import build_report

        typer.echo(f"written: {build_report(results, out)}")


@app.command("results")
def report_results(
    file: Annotated[Path, typer.Argument(help="Results file of savos evaluate or savos adapt.")],
    out: Annotated[Path, typer.Option(help="Folder of the page and its plots.")],
) -> None:
    """One results file as a Markdown page with plots.

    Example: savos report results docs/results/fishbowl_val.json --out fishbowl_val
    """
    with user_errors():
        from training.report.page import results_page

        for path in results_page(file, out):
            typer.echo(f"written: {path}")


@app.command("collect")
def report_collect(
    data: Annotated[Path, typer.Option(help="Folder of FISHBOWL clips.")],
    weights: WeightsOption = None,
    out: Annotated[Path, typer.Option(help="Folder of alpha.json and tsne.json.")] = RESULTS,
    processes: ProcessesOption = 1,
    seed: Annotated[int, typer.Option(help="Seed of t-SNE.")] = 0,
) -> None:
    """Run over clips and record the weights of both directions, and h of each object.

    Example: savos report collect --data fishbowl/val
    """
    with user_errors():
        from training.report.collect import collect

        for path in collect(data, ours_of(weights, "bidirectional"), out, processes, seed):
            typer.echo(f"written: {path}")


@app.command("strips")
def report_strips(
    data: Annotated[Path | None, typer.Option(help="Folder of FISHBOWL clips.")] = None,
    clips: Annotated[str, typer.Option(help="Names of its clips, with commas.")] = "",
    gum: Annotated[str, typer.Option(help="Numbers of generated Chewing Gum videos.")] = "",
    street: Annotated[str, typer.Option(help="Seeds of generated street clips.")] = "",
    weights: WeightsOption = None,
    out: ReportOption = REPORT,
    results: Annotated[Path, typer.Option(help="Folder of strips.json.")] = RESULTS,
) -> None:
    """Draw objects as each method completes them: rows are frames, columns are methods.

    Example: savos report strips --data fishbowl/val --clips fishbowl_0022 --gum 0
    """
    with user_errors():
        from training.report.scenes import scenes
        from training.report.strips import write_strips

        found = scenes(data, names_of(clips), names_of(gum), names_of(street))
        for path in write_strips(found, ours_of(weights, "forward"), out, results):
            typer.echo(f"written: {path}")


@app.command("method")
def report_method(
    street: Annotated[int, typer.Option(min=0, help="Seed of the generated street.")] = 5,
    weights: WeightsOption = None,
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("docs/images/method"),
) -> None:
    """Draw an object's way through the method, as docs/method.md shows it.

    Example: savos report method --out docs/images/method
    """
    with user_errors():
        from training.report.method_pictures import write_pictures

        for path in write_pictures(street, ours_of(weights, "forward"), out):
            typer.echo(f"written: {path}")
