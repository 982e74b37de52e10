"""The `savos evaluate` commands: methods scored against truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from savos_model.config import FlowConfig
from savos_ros.arguments import given, names_of, one_line_errors, ours_of
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
FrameMethodsOption = Annotated[str, typer.Option(help=f"ours, visible, convex, {FILES}.")]
FRAME_METHODS = "ours,visible,convex"
METHODS = f"{FRAME_METHODS},flow3,flow5"


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

    Example: savos evaluate fishbowl --data fishbowl/val --json out.json
    """
    with one_line_errors():
        from training.evaluate.benchmark import evaluate
        from training.evaluate.fishbowl import Fishbowl

        clips = Fishbowl(data, subset, names_of(types))
        ours = ours_of(weights, mode, flow)
        evaluate(clips, names_of(methods), ours, json, processes=processes, seed=seed)


@app.command("rendered")
def evaluate_rendered(
    data: DataOption,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    weights: WeightsOption = None,
    methods: MethodsOption = FRAME_METHODS,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
    flow: FlowOption = FLOW,
) -> None:
    """Both protocols on rendered clips; streets and table-tops together and apart.

    Example: savos evaluate rendered --data rendered/val --json out.json
    """
    with one_line_errors():
        from training.evaluate.benchmark import evaluate
        from training.evaluate.rendered import Rendered

        ours, names = ours_of(weights, mode, flow), names_of(methods)
        evaluate(Rendered(data), names, ours, json, processes=processes, seed=seed)


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
    with one_line_errors():
        from training.evaluate.benchmark import evaluate
        from training.evaluate.kins import Kins

        drives = Kins(raw, masks, released, split, kins, mapping)
        ours = ours_of(weights, mode, flow)
        evaluate(drives, names_of(methods), ours, json, processes=processes, seed=seed)


@app.command("street")
def evaluate_street(
    json: JsonOption = None,
    mode: ModeOption = "forward",
    weights: WeightsOption = None,
    methods: MethodsOption = FRAME_METHODS,
    scenes: Annotated[int | None, typer.Option(help="Scenes.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of each.")] = None,
    first_seed: Annotated[int | None, typer.Option(help="Seed of the first scene.")] = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """Mean IoU, whole and occluded, on generated street scenes that no training saw.

    Example: savos evaluate street --mode bidirectional --json out.json
    """
    with one_line_errors():
        from training.evaluate.benchmark import evaluate
        from training.evaluate.street import Street

        which = Street(**given(scenes=scenes, frames=frames, first_seed=first_seed))
        ours = ours_of(weights, mode)
        evaluate(which, names_of(methods), ours, json, processes=processes, seed=seed)


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

    Example: savos evaluate lag --data fishbowl/val --json out.json
    """
    with one_line_errors():
        from training.evaluate.fishbowl import Fishbowl
        from training.evaluate.lag import evaluate_lag

        ours, names = ours_of(weights, "forward"), names_of(modes)
        evaluate_lag(Fishbowl(data), ours, json, modes=names, processes=processes, seed=seed)


@app.command("options")
def evaluate_options(
    data: DataOption,
    json: JsonOption = None,
    weights: WeightsOption = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """What rim, coasting, threshold and `complete_into` change in the published masks of FISHBOWL.

    Example: savos evaluate options --data fishbowl/val --json out.json
    """
    with one_line_errors():
        from training.evaluate.options import evaluate_options

        ours = ours_of(weights, "forward")
        evaluate_options(data, ours, json, processes=processes, seed=seed)


@app.command("chewing-gum")
def evaluate_chewing_gum(
    data: Annotated[
        Path | None,
        typer.Option(help="npz file, or folder of the released generator; none: generate."),
    ] = None,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    weights: WeightsOption = None,
    methods: FrameMethodsOption = FRAME_METHODS,
    videos: Annotated[int, typer.Option(help="Videos to generate.")] = 1000,
    video_seed: Annotated[int, typer.Option(help="Seed of the generated videos.")] = 1,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
    flow: FlowOption = FLOW,
) -> None:
    """Mean IoU, whole and occluded, on Chewing Gum videos.

    Example: savos evaluate chewing-gum --data gum.npz --json out.json
    """
    with one_line_errors():
        from training.evaluate.benchmark import evaluate
        from training.evaluate.chewing_gum import ChewingGum

        made, ours = ChewingGum(data, videos, video_seed), ours_of(weights, mode, flow)
        evaluate(made, names_of(methods), ours, json, processes=processes, seed=seed)


@app.command("kitti-boxes")
def evaluate_kitti_boxes(
    data: DataOption,
    sequences: Annotated[str, typer.Option(help="Names, separated by commas.")],
    json: JsonOption = None,
    mode: ModeOption = "forward",
    masks: Annotated[str, typer.Option(help="truth or tracker.")] = "truth",
    shrink: Annotated[int, typer.Option(help="Erode all given masks first [px].")] = 0,
    weights: WeightsOption = None,
    flow: FlowOption = FLOW,
    methods: FrameMethodsOption = FRAME_METHODS,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """Box IoU with KITTI's amodal label boxes, and growth beyond the masks, by occlusion level.

    Example: savos evaluate kitti-boxes --data kitti_mots --sequences 0000,0001
    """
    with one_line_errors():
        from training.evaluate.benchmark import evaluate
        from training.evaluate.kitti import Kitti

        clips, ours = Kitti(data, names_of(sequences), masks, shrink), ours_of(weights, mode, flow)
        evaluate(clips, names_of(methods), ours, json, processes=processes, seed=seed)
