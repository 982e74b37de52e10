"""The `savos adapt` commands: test-time adaptation, scored before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from savos_model.commands import Options, command
from training.adapt.settings import AdaptConfig, CurveOptions, KeptWeights
from training.cli.arguments import ours_of
from training.evaluate.settings import FishbowlOptions, KinsOptions, KittiOptions, RunOptions

if TYPE_CHECKING:
    from training.evaluate.benchmark import Benchmark

app = typer.Typer(no_args_is_help=True, help="Adapt weights to one video each, and score the gain.")

FIELDS = ("learning_rate", "max_iterations", "batch", "length", "device", "seed")
NAMES = {"max_iterations": "iterations", "measure_every": "every"}
CONFIG = Options(AdaptConfig, only=(*FIELDS, "stop_gain"), names=NAMES)
RUN = Options(RunOptions, only=("json", "weights", "processes", "mode", "seed"))
GROUPS = (RUN, CONFIG, Options(KeptWeights))


def adapt(benchmark: Benchmark, run: RunOptions, config: AdaptConfig, kept: KeptWeights) -> None:
    """Adapt to each video of a data set, and score it before and after."""
    from training.adapt.scored import adapt_benchmark

    adapt_benchmark(
        benchmark, ours_of(run.weights, run.mode), config, run.json, kept.out,
        processes=run.processes, seed=run.seed,
    )  # fmt: skip


@command(app, "fishbowl", Options(FishbowlOptions), *GROUPS)
def fishbowl(
    clips: FishbowlOptions, run: RunOptions, config: AdaptConfig, kept: KeptWeights
) -> None:
    """Adapt to each FISHBOWL clip on its visible masks; mean IoU before and after.

    Example: savos adapt fishbowl --data fishbowl/val --types BigFishB
    --weights runs/unseen/best.safetensors --json docs/results/adapt_BigFishB.json
    """
    from training.evaluate.mask_sets import Fishbowl

    adapt(Fishbowl(**vars(clips)), run, config, kept)


@command(
    app, "kitti-boxes", Options(KittiOptions, only=("data", "sequences", "masks", "half")), *GROUPS
)
def kitti_boxes(
    clips: KittiOptions, run: RunOptions, config: AdaptConfig, kept: KeptWeights
) -> None:
    """Adapt to each KITTI sequence on its visible masks; box IoU before and after.

    KITTI is CC BY-NC-SA 3.0: weights adapted to it must not be shipped under other terms.

    Example: savos adapt kitti-boxes --data kitti_mots --sequences 0000,0001
    """
    from training.evaluate.kitti import Kitti

    adapt(Kitti(**vars(clips)), run, config, kept)


@command(app, "kins-video-car", Options(KinsOptions), *GROUPS)
def kins_video_car(
    drives: KinsOptions, run: RunOptions, config: AdaptConfig, kept: KeptWeights
) -> None:
    """Adapt to each drive of KINS-Video-Car on its visible masks; mean IoU before and after.

    KITTI is CC BY-NC-SA 3.0: weights adapted to it must not be shipped under other terms.

    Example: savos adapt kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --json out.json
    """
    from training.evaluate.kins import Kins

    adapt(Kins(**vars(drives)), run, config, kept)


@command(
    app,
    "curve",
    Options(CurveOptions),
    Options(RunOptions, only=("json", "weights", "mode", "seed")),
    Options(AdaptConfig, only=(*FIELDS, "measure_every"), names=NAMES),
)
def curve(clip: CurveOptions, run: RunOptions, config: AdaptConfig) -> None:
    """Learning curve of the adaptation to one clip, without early stopping (figure 5 a).

    Example: savos adapt curve --clip fishbowl/val/fishbowl_0024 --types BigFishB
    --weights runs/unseen/best.safetensors --json docs/results/adapt_curve.json
    """
    from training.adapt.curve import adapt_curve

    ours = ours_of(run.weights, run.mode)
    adapt_curve(clip.clip, ours, config, run.json, types=clip.types, seed=run.seed)
