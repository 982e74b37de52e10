"""The `savos soak` command."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from training.cli.options import JsonOption


def soak(
    hours: Annotated[float, typer.Option(help="Length by the stamps, at 10 Hz [h].")] = 24.0,
    size: Annotated[str, typer.Option(help="Image columns x rows [px].")] = "160x96",
    tracks: Annotated[int, typer.Option(help="Most masks per frame.")] = 3,
    seed: Annotated[int, typer.Option(help="Number that fixes the scene.")] = 6,
    weights: Annotated[str, typer.Option(help="Weights of the node; empty: its default.")] = "",
    refine: Annotated[bool, typer.Option("--refine", help="With refined masks.")] = False,
    adapt: Annotated[bool, typer.Option("--adapt", help="While it adapts.")] = False,
    ahead: Annotated[int, typer.Option(help="Frames sent before their answers.")] = 2,
    samples: Annotated[int, typer.Option(help="Measurements over the run.")] = 200,
    warm_up: Annotated[
        float, typer.Option(help="Left out by the verdict, a tenth at least [h].")
    ] = 0.0,
    fresh: Annotated[
        int, typer.Option(help="Rounds of the loop at the end, in turn with a fresh node; 0: none.")
    ] = 30,
    json: JsonOption = None,
) -> None:
    """Run hours of frames through the node as fast as it answers; what grows is found.

    Ctrl-C ends it early and keeps what was measured. Status 1 when it did not end as planned, or
    memory, threads, handles, latency or recall are not flat.

    Example: savos soak --hours 24 --json docs/results/soak.json
    """
    from savos_model.settings import SettingError
    from savos_ros.tools import soak as soaking
    from savos_ros.tools.settings import DemoError

    # Whoever ends it, and however it was started: a run of hours must not lose what it has.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sides = size.split("x")
        if len(sides) != 2 or not all(side.isdecimal() for side in sides):
            raise SettingError(f"--size must be COLUMNSxROWS such as 160x96, got {size}")
        width, height = map(int, sides)
        options = soaking.SoakOptions(
            hours, width, height, tracks, seed, weights, refine, adapt, ahead, samples, warm_up,
            fresh,
        )  # fmt: skip
        report = soaking.soak(options, json, typer.echo)
    except (DemoError, ValueError, OSError) as error:
        typer.echo(f"savos soak: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, SettingError) else 1) from error
    typer.echo(soaking.summary(report))
    raise typer.Exit(report["ended"] != "complete" or report["verdict"]["flat"] is False)
