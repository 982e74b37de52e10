"""Mounts the commands of training into those of `savos`."""

from dataclasses import dataclass
from pathlib import Path

import typer

from savos_model.commands import Options, command, option, user_errors
from training.bench.settings import BenchTrainConfig
from training.cli import evaluate, prepare, report
from training.evaluate.settings import RunOptions


@dataclass(frozen=True)
class CalibrateOptions:
    """Which weights are calibrated, by which data."""

    weights: str = option("shipped name or .safetensors file")
    data: tuple[str, ...] = option("stores that they were trained on, with commas")
    out: Path = option("the .safetensors file to write")
    name: str = option("short name of the result")
    json: Path | None = option("results file to write", None)


def mount(savos: typer.Typer, bench: typer.Typer, weights: typer.Typer) -> None:
    """Add the commands of training to `savos`, its benchmarks, and its tools for weights."""
    for name, module in (("prepare", prepare), ("report", report)):
        savos.add_typer(module.app, name=name)
    savos.add_typer(evaluate.adapt_app, name="adapt")
    savos.add_typer(evaluate.app, name="evaluate")
    savos.command(
        "train",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(train)
    command(weights, "calibrate", CalibrateOptions)(calibrate)
    command(bench, "train", BENCH, Options(RunOptions, only=("json",)))(bench_train)


def train(context: typer.Context) -> None:
    """Train on stored clips or generated videos; --help lists every setting.

    Example: savos train --config config/training/fishbowl.yaml --out runs/fishbowl
    """
    with user_errors():
        from training.train import main
    raise typer.Exit(main(context.args))


def calibrate(options: CalibrateOptions) -> None:
    """Make confidence honest: fit its temperature on visible pixels hidden artificially."""
    from training.adapt.calibrate import calibrate

    stores = [Path(store) for store in options.data]
    calibrate(options.weights, stores, options.out, options.name, options.json)


BENCH = Options(BenchTrainConfig, only=("rounds", "tracks", "frames", "device", "threads", "seed"))


def bench_train(config: BenchTrainConfig, run: RunOptions) -> None:
    """Measure speed and memory of training, compared with the former default network."""
    from rich.console import Console

    from training.bench.train import bench_train, print_bench

    print_bench(bench_train(config, run.json), Console())
