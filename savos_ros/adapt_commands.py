"""The `savos adapt` commands: test-time adaptation, scored before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from savos_ros.arguments import given, names_of, one_line_errors, ours_of
from savos_ros.options import (
    CarMasksOption,
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

if TYPE_CHECKING:
    from training.adapt.adapt import AdaptConfig

app = typer.Typer(no_args_is_help=True, help="Adapt weights to one video each, and score the gain.")

OutOption = Annotated[
    Path | None, typer.Option(help="Folder of the adapted weights; none: not kept.")
]
IterationsOption = Annotated[int | None, typer.Option(help="Most iterations.")]
RateOption = Annotated[float | None, typer.Option(help="Learning rate of Adam.")]
GainOption = Annotated[
    float | None, typer.Option(help="Stop when the visible IoU gained less in 10 iterations.")
]
BatchOption = Annotated[int | None, typer.Option(help="Windows per iteration.")]
LengthOption = Annotated[int | None, typer.Option(help="Frames per window.")]
HalfOption = Annotated[
    bool, typer.Option("--half", help="Adapt to the first half of each video, score the second.")
]
DeviceOption = Annotated[str | None, typer.Option(help="Of the adaptation: cpu, cuda or cuda:N.")]


def _config(**options: Any) -> AdaptConfig:
    """Settings out of the options that were given."""
    from training.adapt.adapt import AdaptConfig

    return AdaptConfig(**given(**options))


@app.command("fishbowl")
def adapt_fishbowl(
    data: Annotated[Path, typer.Option(help="Folder of clips, or the released test data.")],
    weights: WeightsOption = None,
    out: OutOption = None,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    types: TypesOption = "",
    subset: Annotated[str, typer.Option(help="Of the released test data.")] = "",
    half: HalfOption = False,
    iterations: IterationsOption = None,
    learning_rate: RateOption = None,
    stop_gain: GainOption = None,
    batch: BatchOption = None,
    length: LengthOption = None,
    device: DeviceOption = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """Adapt to each FISHBOWL clip on its visible masks; mean IoU before and after.

    Example: savos adapt fishbowl --data fishbowl/val --types BigFishB
    --weights runs/unseen/best.safetensors --json docs/results/adapt_BigFishB.json
    """
    with one_line_errors():
        from training.adapt.scored import adapt_benchmark
        from training.evaluate.fishbowl import Fishbowl

        config = _config(
            learning_rate=learning_rate, max_iterations=iterations, stop_gain=stop_gain,
            batch=batch, length=length, seed=seed, device=device,
        )  # fmt: skip
        clips = Fishbowl(data, subset, names_of(types), half)
        adapt_benchmark(
            clips, ours_of(weights, mode), config, json, out, processes=processes, seed=seed
        )


@app.command("kitti-boxes")
def adapt_kitti_boxes(
    data: Annotated[Path, typer.Option(help="Folder of KITTI MOTS.")],
    sequences: Annotated[str, typer.Option(help="Names, separated by commas.")],
    weights: WeightsOption = None,
    out: OutOption = None,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    masks: Annotated[str, typer.Option(help="truth or tracker.")] = "truth",
    half: HalfOption = False,
    iterations: IterationsOption = None,
    learning_rate: RateOption = None,
    stop_gain: GainOption = None,
    batch: BatchOption = None,
    length: LengthOption = None,
    device: DeviceOption = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """Adapt to each KITTI sequence on its visible masks; box IoU before and after.

    KITTI is CC BY-NC-SA 3.0: weights adapted to it must not be shipped under other terms.

    Example: savos adapt kitti-boxes --data kitti_mots --sequences 0000,0001
    """
    with one_line_errors():
        from training.adapt.scored import adapt_benchmark
        from training.evaluate.kitti import Kitti

        config = _config(
            learning_rate=learning_rate, max_iterations=iterations, stop_gain=stop_gain,
            batch=batch, length=length, seed=seed, device=device,
        )  # fmt: skip
        clips = Kitti(data, names_of(sequences), masks, half=half)
        adapt_benchmark(
            clips, ours_of(weights, mode), config, json, out, processes=processes, seed=seed
        )


@app.command("kins-video-car")
def adapt_kins_video_car(
    raw: RawOption = None,
    masks: CarMasksOption = None,
    released: ReleasedOption = None,
    split: SplitOption = "test",
    kins: KinsOption = None,
    mapping: MappingOption = None,
    weights: WeightsOption = None,
    out: OutOption = None,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    iterations: IterationsOption = None,
    learning_rate: RateOption = None,
    stop_gain: GainOption = None,
    batch: BatchOption = None,
    length: LengthOption = None,
    device: DeviceOption = None,
    processes: ProcessesOption = 1,
    seed: SeedOption = 0,
) -> None:
    """Adapt to each drive of KINS-Video-Car on its visible masks; mean IoU before and after.

    KITTI is CC BY-NC-SA 3.0: weights adapted to it must not be shipped under other terms.

    Example: savos adapt kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --json out.json
    """
    with one_line_errors():
        from training.adapt.scored import adapt_benchmark
        from training.evaluate.kins import Kins

        config = _config(
            learning_rate=learning_rate, max_iterations=iterations, stop_gain=stop_gain,
            batch=batch, length=length, seed=seed, device=device,
        )  # fmt: skip
        drives = Kins(raw, masks, released, split, kins, mapping)
        adapt_benchmark(
            drives, ours_of(weights, mode), config, json, out, processes=processes, seed=seed
        )


@app.command("curve")
def adapt_curve(
    clip: Annotated[Path, typer.Option(help="A FISHBOWL clip, path without ending.")],
    weights: WeightsOption = None,
    json: JsonOption = None,
    mode: ModeOption = "forward",
    types: TypesOption = "",
    iterations: IterationsOption = None,
    every: Annotated[
        int | None, typer.Option(help="Iterations between scores: 1, 2, 5 or 10.")
    ] = None,
    learning_rate: RateOption = None,
    batch: BatchOption = None,
    length: LengthOption = None,
    device: DeviceOption = None,
    seed: SeedOption = 0,
) -> None:
    """Learning curve of the adaptation to one clip, without early stopping (figure 5 a).

    Example: savos adapt curve --clip fishbowl/val/fishbowl_0024 --types BigFishB
    --weights runs/unseen/best.safetensors --json docs/results/adapt_curve.json
    """
    with one_line_errors():
        from training.adapt.curve import adapt_curve

        config = _config(
            learning_rate=learning_rate, max_iterations=iterations, measure_every=every,
            batch=batch, length=length, seed=seed, device=device,
        )  # fmt: skip
        adapt_curve(clip, ours_of(weights, mode), config, json, types=names_of(types), seed=seed)
