"""The `savos` command: parses arguments, then hands over to the module that does the work."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from savos_model.commands import Options, command, names_of, user_errors
from savos_ros.cli import bags as bag_commands
from savos_ros.cli import bench as bench_commands
from savos_ros.cli import convert, engines, label, soak
from savos_ros.tools.settings import DemoFolder, DemoOptions
from training.cli import adapt as adapt_commands
from training.cli import evaluate, prepare
from training.cli import report as report_commands
from training.cli.options import JsonOption

BenchPrecisionOption = Annotated[
    str, typer.Option("--precision", help="fp32; fp16 on a GPU, bf16 on a CPU.")
]

app = typer.Typer(
    name="savos",
    help="Amodal instance masks from camera images and tracked instance masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
convert.register(app)
bag_commands.register(app)
app.command()(label.label)
engines.register(app)
app.add_typer(prepare.app, name="prepare")
app.add_typer(report_commands.app, name="report")
app.add_typer(adapt_commands.app, name="adapt")
app.add_typer(evaluate.app, name="evaluate")
app.command("soak")(soak.soak)


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


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what was found on this machine and what each absence costs."""
    from savos_ros.tools.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


weights_app = typer.Typer(help="Weights of the network.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


@weights_app.command("import")
def weights_import(
    checkpoint: Annotated[Path, typer.Argument(help="Released SaVos state dict (.pt, .pth).")],
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")],
    preset: Annotated[
        str, typer.Option(help="official: repeat the released code; paper: start training from it.")
    ] = "official",
) -> None:
    """Convert a released checkpoint; code in the file is never run."""
    from savos_model.network.released.checkpoint import import_checkpoint

    try:
        weights = import_checkpoint(checkpoint, out, preset)
    except (ValueError, OSError) as error:  # WeightsError and SettingError say what to do
        typer.echo(f"savos weights import: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{out}: {len(weights.arrays)} tensors, preset {weights.model.preset}")


@weights_app.command("save")
def weights_save(
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    node: Annotated[str, typer.Option(help="Of the node /front/savos, say; empty: of any.")] = "",
    folder: Annotated[str, typer.Option(help="The node's adapt.folder; empty: its default.")] = "",
) -> None:
    """Keep the weights that a node's adaptation accepted last; model.weights takes the file."""
    from savos_model.network.weights import load_weights, save_weights
    from savos_ros.node.adaptation_files import newest

    try:
        weights = load_weights(str(newest(folder, node)))
        save_weights(out, weights, "float32")
    except (ValueError, OSError) as error:
        typer.echo(f"savos weights save: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{out}: {weights.name}, adapted from {weights.info.get('adapted_from', '?')}")


@weights_app.command("calibrate")
def weights_calibrate(
    weights: Annotated[str, typer.Option(help="Shipped name or .safetensors file.")],
    data: Annotated[str, typer.Option(help="Stores that they were trained on, with commas.")],
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")],
    name: Annotated[str, typer.Option(help="Short name of the result.")],
    json: JsonOption = None,
) -> None:
    """Make confidence honest: fit its temperature on visible pixels hidden artificially."""
    with user_errors():
        from training.adapt.calibrate import calibrate

        stores = [Path(store) for store in names_of(data)]
        calibrate(weights, stores, out, name, json)


@command(app, "demo", Options(DemoFolder), Options(DemoOptions))
def demo(folder: DemoFolder, options: DemoOptions) -> None:
    """Play a generated street to the node over DDS; leaves pictures, a bag and numbers."""
    from savos_ros.tools.demo import demo_command

    raise typer.Exit(demo_command(folder.out, options))


bench = bench_commands.app
app.add_typer(bench, name="bench")


@bench.command("step")
def bench_step(
    json: JsonOption = None,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are reported.")] = 7,
    seconds: Annotated[float, typer.Option(help="For each number in a round [s].")] = 0.3,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    precision: BenchPrecisionOption = "fp32",
    tracks: Annotated[list[int] | None, typer.Option(min=1, help="1, 4, 10, 20, 50.")] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="onnx, openvino, torch, tensorrt; all.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="By its name in the table; all.")
    ] = None,
) -> None:
    """Step of the network on every engine, against what a matrix product reaches here."""
    from rich.console import Console

    from savos_ros.tools import bench_step as bench

    with engines.errors_as_lines("savos bench step"):
        config = bench.BenchStepConfig(
            rounds, seconds, threads, device, precision,
            tuple(tracks or bench.TRACKS), tuple(engine or bench.ENGINES),
            tuple(network or ()),
        )  # fmt: skip
        bench.print_bench(bench.bench_step(config, json), Console())


@bench.command("label")
def bench_label(
    bags: Annotated[list[Path], typer.Argument(metavar="BAG...", help="One per machine or more.")],
    ray: Annotated[str, typer.Option(help="Ray cluster: HOST:PORT, auto or local.")] = "auto",
    json: JsonOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians are compared.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads of a bag.")] = 1,
    adapt: Annotated[bool, typer.Option(help="Adapt the weights to each bag.")] = True,
) -> None:
    """Labelling on a Ray cluster beside one process, the labels compared to the bit."""
    from rich import print_json

    with bag_commands.clear_errors():
        from savos_model.config import BackendConfig, SiteConfig
        from savos_ros.bags.label import LabelOptions
        from savos_ros.tools import bench_label as bench

        iterations = SiteConfig().max_iterations if adapt else 0
        options = LabelOptions(BackendConfig(threads=threads), iterations=iterations)
        print_json(data=bench.bench_label(bags, options, ray, rounds, json))


@bench.command("train")
def bench_train(
    json: JsonOption = None,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are reported.")] = 5,
    tracks: Annotated[int, typer.Option(help="Objects in a batch.")] = 4,
    frames: Annotated[int, typer.Option(help="Frames of each object.")] = 8,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of scene and weights.")] = 0,
) -> None:
    """Training speed and memory beside the released design's, re-created, in one run."""
    from rich.console import Console

    with user_errors():
        from training.bench import train as bench

        config = bench.BenchTrainConfig(
            rounds, tracks, frames, threads=threads, device=device, seed=seed
        )
        bench.print_bench(bench.bench_train(config, json), Console())


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(context: typer.Context) -> None:
    """Train on stored clips or generated videos; --help lists every setting.

    Example: savos train --config config/training/fishbowl.yaml --out runs/fishbowl
    """
    with user_errors():
        from training.train import main as train_main
    raise typer.Exit(train_main(context.args))


@app.command()
def params(
    write: Annotated[
        bool, typer.Option("--write", help="Rewrite every generated file of the source tree.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="yaml or markdown.")] = "yaml",
) -> None:
    """Print every parameter of the node with default, range and meaning."""
    from savos_ros.cli.docs import parameters
    from savos_ros.paths import share_dir

    if form not in ("yaml", "markdown"):
        typer.echo(f"--format must be yaml or markdown, got {form}", err=True)
        raise typer.Exit(2)
    if not write:
        text = parameters.yaml_text() if form == "yaml" else parameters.markdown_text()
        typer.echo(text, nl=False)
        return
    for path in parameters.update(share_dir(), app):
        typer.echo(f"rewritten: {path}")


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):  # file names may hold bytes that are no UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
