"""The `savos` command: parses arguments, then hands over to the module that does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from savos_model.config import FlowConfig
from savos_ros import adapt_commands, engine_commands, prepare_commands, report_commands
from savos_ros.bags import commands as bag_commands

app = typer.Typer(
    name="savos",
    help="Amodal instance masks from camera images and tracked instance masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bag_commands.register(app)
engine_commands.register(app)
app.add_typer(prepare_commands.app, name="prepare")
app.add_typer(report_commands.app, name="report")
app.add_typer(adapt_commands.app, name="adapt")


@app.callback()
def savos() -> None:
    """Amodal instance masks from camera images and tracked instance masks."""


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what was found on this machine and what each absence costs."""
    from savos_ros.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


evaluate = typer.Typer(no_args_is_help=True, help="Score methods against truth.")
app.add_typer(evaluate, name="evaluate")

DataOption = Annotated[Path, typer.Option("--data", help="Folder of the data.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Results file to write.")]
WeightsOption = Annotated[str | None, typer.Option(help="Shipped name or .safetensors file.")]
ProcessesOption = Annotated[int, typer.Option(min=1, help="Worker processes.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the confidence intervals.")]
ModeOption = Annotated[
    str, typer.Option(help="forward: online; bidirectional: whole video; lag:N: N frames later.")
]
FILES = "deocclusion:FILE, deocclusion+tta:FILE, oracle:FILE, external:FOLDER"
FLOW = FlowConfig().method
FlowOption = Annotated[
    str, typer.Option(help="Flow of ours: dis_fast, dis_medium; topic: what the data brings.")
]


@evaluate.command("fishbowl")
def evaluate_fishbowl(
    data: DataOption,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    weights: WeightsOption = None,
    methods: Annotated[
        str,
        typer.Option(help=f"ours, visible, convex, flowK[_forward|_backward][_any], {FILES}."),
    ] = "ours,visible,convex,flow3,flow5",
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
    subset: Annotated[
        str, typer.Option(help="Of the released test data: test, test1 to test4.")
    ] = "",
    types: Annotated[str, typer.Option(help="Species scored, with commas; none: all.")] = "",
    flow: FlowOption = FLOW,
) -> None:
    """Mean IoU, whole and occluded, on FISHBOWL clips by the paper's protocol.

    Example: savos evaluate fishbowl --data ../shared/data/fishbowl/val --json out.json
    """
    from training.commands import fishbowl

    raise typer.Exit(
        fishbowl(data, json, mode, weights, methods, processes, seed, subset, types, flow)
    )


@evaluate.command("lag")
def evaluate_lag(
    data: DataOption,
    json: JsonOption = None,
    weights: WeightsOption = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """What waiting buys on FISHBOWL clips: lags of 2 to 20 frames and the whole video, by age.

    Example: savos evaluate lag --data ../shared/data/fishbowl/val --json out.json
    """
    from training.commands import forward_variants

    raise typer.Exit(forward_variants("lag", data, json, weights, processes, seed))


@evaluate.command("options")
def evaluate_options(
    data: DataOption,
    json: JsonOption = None,
    weights: WeightsOption = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """What rim, coasting, threshold and `complete_into` change in the published masks of FISHBOWL.

    Example: savos evaluate options --data ../shared/data/fishbowl/val --json out.json
    """
    from training.commands import forward_variants

    raise typer.Exit(forward_variants("options", data, json, weights, processes, seed))


@evaluate.command("chewing-gum")
def evaluate_chewing_gum(
    data: Annotated[
        Path | None,
        typer.Option(help="npz file, or folder of the released generator; none: generate."),
    ] = None,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    weights: WeightsOption = None,
    methods: Annotated[
        str, typer.Option(help=f"ours, visible, convex, {FILES}.")
    ] = "ours,visible,convex",
    videos: Annotated[int, typer.Option(help="Videos to generate.")] = 1000,
    video_seed: Annotated[int, typer.Option(help="Seed of the generated videos.")] = 1,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
    flow: FlowOption = FLOW,
) -> None:
    """Mean IoU, whole and occluded, on Chewing Gum videos.

    Example: savos evaluate chewing-gum --data gum.npz --json out.json
    """
    from training.commands import chewing_gum

    raise typer.Exit(
        chewing_gum(data, json, mode, weights, methods, videos, video_seed, processes, seed, flow)
    )


@evaluate.command("kitti-boxes")
def evaluate_kitti_boxes(
    data: DataOption,
    sequences: Annotated[str, typer.Option(help="Names, separated by commas.")],
    json: JsonOption = None,
    mode: ModeOption = "forward",
    masks: Annotated[str, typer.Option(help="truth or tracker.")] = "truth",
    weights: WeightsOption = None,
    flow: FlowOption = FLOW,
    methods: Annotated[
        str, typer.Option(help=f"ours, visible, convex, {FILES}.")
    ] = "ours,visible,convex",
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """Box IoU of completed masks with KITTI's amodal label boxes, by occlusion level.

    Example: savos evaluate kitti-boxes --data ../shared/data/kitti_mots --sequences 0000,0001
    """
    from training.commands import kitti_boxes

    raise typer.Exit(
        kitti_boxes(data, sequences, json, mode, masks, weights, flow, methods, processes, seed)
    )


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
    from savos_model.official_checkpoint import import_checkpoint

    try:
        weights = import_checkpoint(checkpoint, out, preset)
    except (ValueError, OSError) as error:  # WeightsError and SettingError say what to do
        typer.echo(f"savos weights import: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{out}: {len(weights.arrays)} tensors, preset {weights.model.preset}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("demo"),
    frames: Annotated[int, typer.Option(help="Frames of the scene, at 10 Hz.")] = 150,
    seed: Annotated[int, typer.Option(help="Number that fixes the scene.")] = 5,
    weights: Annotated[str, typer.Option(help="Weights of the node; empty: its default.")] = "",
    backend: Annotated[str, typer.Option(help="Engine of the node; empty: its default.")] = "",
) -> None:
    """Play a generated street to the node over DDS; leaves pictures, a bag and numbers."""
    from savos_model.settings import SettingError
    from savos_ros.demo import DemoOptions, demo_command

    try:
        options = DemoOptions(frames, seed, weights, backend)
    except SettingError as error:
        typer.echo(f"savos demo: {error}", err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(demo_command(out, options))


bench = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command("node")
def bench_node(
    seconds: Annotated[float, typer.Option(help="Length of the run [s].")] = 600.0,
    tracks: Annotated[int, typer.Option(help="Masks per frame.")] = 10,
    seed: SeedOption = 3,
    weights: Annotated[str, typer.Option(help="Weights of the node; empty: its default.")] = "",
    refine: Annotated[bool, typer.Option("--refine", help="With refined masks.")] = False,
    json: JsonOption = None,
) -> None:
    """Latency, drops and memory of the node on a street played over DDS at 10 Hz."""
    from rich import print_json

    from savos_model.settings import SettingError
    from savos_ros.bench import BenchOptions, bench_node
    from savos_ros.demo_session import DemoError

    try:
        report = bench_node(BenchOptions(seconds, tracks, seed, weights, refine), json)
    except (DemoError, SettingError) as error:
        typer.echo(f"savos bench node: {error}", err=True)
        raise typer.Exit(1) from error
    print_json(data=report)


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
    from training.bench_train import bench_command

    settings = {"rounds": rounds, "tracks": tracks, "frames": frames, "threads": threads}
    raise typer.Exit(bench_command(json, device=device, seed=seed, **settings))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(context: typer.Context) -> None:
    """Train on stored clips or generated videos; --help lists every setting.

    Example: savos train --config config/training/fishbowl.yaml --out runs/fishbowl
    """
    try:
        from training.train import main as train_main
    except ModuleNotFoundError as error:
        typer.echo(f"{error.name} is not installed: pip install 'savos_ros[train]'", err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(train_main(context.args))


@app.command()
def params(
    write: Annotated[
        bool,
        typer.Option("--write", help="Rewrite config/amodal.yaml, docs/parameters.md, README.md."),
    ] = False,
    form: Annotated[str, typer.Option("--format", help="yaml or markdown.")] = "yaml",
) -> None:
    """Print every parameter of the node with default, range and meaning."""
    from savos_ros import parameter_docs
    from savos_ros.paths import share_dir

    if form not in ("yaml", "markdown"):
        typer.echo(f"--format must be yaml or markdown, got {form}", err=True)
        raise typer.Exit(2)
    if not write:
        text = parameter_docs.yaml_text() if form == "yaml" else parameter_docs.markdown_text()
        typer.echo(text, nl=False)
        return
    for path in parameter_docs.update(share_dir()):
        typer.echo(f"rewritten: {path}")


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
