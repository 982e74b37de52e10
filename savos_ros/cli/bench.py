"""Commands of `savos bench` that start nodes of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from training.cli.options import JsonOption, SeedOption


def cameras(
    cameras: Annotated[int, typer.Option(help="Most cameras at once.")] = 3,
    seconds: Annotated[float, typer.Option(help="For each number of cameras [s].")] = 30.0,
    tracks: Annotated[int, typer.Option(help="Masks per frame.")] = 10,
    seed: SeedOption = 3,
    json: JsonOption = None,
) -> None:
    """CPU, memory and latency of one node, then two, ... all fed at the same moment at 10 Hz."""
    from rich import print_json

    from savos_ros.tools import bench_cameras as bench
    from savos_ros.tools.harness import DemoError

    try:
        report = bench.bench_cameras(bench.CamerasOptions(cameras, seconds, tracks, seed), json)
    except (DemoError, ValueError) as error:
        typer.echo(f"savos bench cameras: {error}", err=True)
        raise typer.Exit(1) from error
    print_json(data=report)


def start(
    rounds: Annotated[int, typer.Option(help="Rounds of a cold and a warm start.")] = 5,
    backend: Annotated[str, typer.Option(help="Engine of the node; empty: its default.")] = "",
    seed: SeedOption = 3,
    json: JsonOption = None,
) -> None:
    """From the start of the node's process to its first answer, with caches empty and full."""
    from rich import print_json

    from savos_ros.tools import bench_start as bench
    from savos_ros.tools.harness import DemoError

    try:
        report = bench.bench_start(bench.StartOptions(rounds, backend, seed), json)
    except (DemoError, ValueError) as error:
        typer.echo(f"savos bench start: {error}", err=True)
        raise typer.Exit(1) from error
    print_json(data=report)
