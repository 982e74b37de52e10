"""The `savos evaluate` commands: methods scored against truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from savos_model.config import FlowConfig
from savos_ros.options import (
    CarMasksOption,
    DataOption,
    FlowOption,
    JsonOption,
    KinsOption,
    MappingOption,
    ModeOption,
    ProcessesOption,
    RawOption,
    ReleasedOption,
    SeedOption,
    SplitOption,
    TypesOption,
    WeightsOption,
)

app = typer.Typer(no_args_is_help=True, help="Score methods against truth.")

FILES = "deocclusion:FILE, deocclusion+tta:FILE, oracle:FILE, external:FOLDER"
FLOW = FlowConfig().method
MethodsOption = Annotated[
    str, typer.Option(help=f"ours, visible, convex, flowK[_forward|_backward][_any], {FILES}.")
]
METHODS = "ours,visible,convex,flow3,flow5"


@app.command("fishbowl")
def evaluate_fishbowl(
    data: DataOption,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    weights: WeightsOption = None,
    methods: MethodsOption = METHODS,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
    subset: Annotated[
        str, typer.Option(help="Of the released test data: test, test1 to test4.")
    ] = "",
    types: TypesOption = "",
    flow: FlowOption = FLOW,
) -> None:
    """Mean IoU, whole and occluded, on FISHBOWL clips by the paper's protocol.

    Example: savos evaluate fishbowl --data ../shared/data/fishbowl/val --json out.json
    """
    from training.commands import fishbowl

    raise typer.Exit(
        fishbowl(data, json, mode, weights, methods, processes, seed, subset, types, flow)
    )


@app.command("kins-video-car")
def evaluate_kins_video_car(
    raw: RawOption = None,
    masks: CarMasksOption = None,
    released: ReleasedOption = None,
    split: SplitOption = "test",
    kins: KinsOption = None,
    mapping: MappingOption = None,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    weights: WeightsOption = None,
    methods: MethodsOption = METHODS,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
    flow: FlowOption = FLOW,
) -> None:
    """Mean IoU, whole and occluded, on KINS-Video-Car, by the released rule and by a clean one.

    Example: savos evaluate kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --json out.json
    """
    from training.commands import names_of, ours_of, reported

    def run() -> None:
        from training.data.kins_drives import annotated_drives, truth_source
        from training.evaluate_kins import evaluate_kins

        drives = annotated_drives(raw, masks, released, split, truth_source(kins, mapping))
        ours = ours_of(weights, mode, flow)
        evaluate_kins(drives, names_of(methods), ours, json, processes=processes, seed=seed)

    raise typer.Exit(reported(run))


@app.command("street")
def evaluate_street(
    json: JsonOption = None,
    mode: ModeOption = "forward",
    weights: WeightsOption = None,
    methods: MethodsOption = "ours,visible,convex",
    scenes: Annotated[int | None, typer.Option(help="Scenes.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of each.")] = None,
    first_seed: Annotated[int | None, typer.Option(help="Seed of the first scene.")] = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """Mean IoU, whole and occluded, on generated street scenes that no training saw.

    Example: savos evaluate street --mode bidirectional --json out.json
    """
    from training.commands import names_of, ours_of, reported

    def run() -> None:
        from training.evaluate_street import StreetScenes, evaluate_street

        given = {"scenes": scenes, "frames": frames, "first_seed": first_seed}
        which = StreetScenes(**{name: value for name, value in given.items() if value is not None})
        ours = ours_of(weights, mode)
        evaluate_street(which, names_of(methods), ours, json, processes=processes, seed=seed)

    raise typer.Exit(reported(run))


@app.command("lag")
def evaluate_lag(
    data: DataOption,
    json: JsonOption = None,
    modes: Annotated[
        str, typer.Option(help="With commas; gains are over the first, shares of the last.")
    ] = "forward,lag:2,lag:5,lag:10,lag:20,bidirectional",
    weights: WeightsOption = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """What waiting buys on FISHBOWL clips: lags of 2 to 20 frames and the whole video, by age.

    Example: savos evaluate lag --data ../shared/data/fishbowl/val --json out.json
    """
    from training.commands import lag

    raise typer.Exit(lag(data, json, modes, weights, processes, seed))


@app.command("options")
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
    from training.commands import options

    raise typer.Exit(options(data, json, weights, processes, seed))


@app.command("chewing-gum")
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


@app.command("kitti-boxes")
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
