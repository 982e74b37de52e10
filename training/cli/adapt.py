"""The `savos adapt` commands: test-time adaptation, scored before and after."""

from __future__ import annotations

from typing import Any

import typer

from savos_model.commands import Options, command
from training.adapt.settings import AdaptConfig, CurveOptions, KeptWeights
from training.cli.evaluate import benchmark_of
from training.evaluate.settings import FishbowlOptions, KinsOptions, KittiOptions, RunOptions

app = typer.Typer(no_args_is_help=True, help="Adapt weights to one video each, and score the gain.")

FIELDS = ("learning_rate", "max_iterations", "batch", "length", "device", "seed")
NAMES = {"max_iterations": "iterations", "measure_every": "every"}
CONFIG = Options(AdaptConfig, only=(*FIELDS, "stop_gain"), names=NAMES)
RUN = Options(RunOptions, only=("json", "weights", "processes", "mode", "seed"))


LICENCE = "KITTI is CC BY-NC-SA 3.0: weights adapted to it must not be shipped under other terms."
COMMANDS = {
    "fishbowl": (Options(FishbowlOptions), """
    Adapt to each FISHBOWL clip on its visible masks; mean IoU before and after.

    Example: savos adapt fishbowl --data fishbowl/val --types BigFishB
    --weights runs/unseen/best.safetensors --json docs/results/adapt_BigFishB.json
    """),
    "kitti-boxes": (Options(KittiOptions, only=("data", "sequences", "masks", "half")), f"""
    Adapt to each KITTI sequence on its visible masks; box IoU before and after.

    {LICENCE}

    Example: savos adapt kitti-boxes --data kitti_mots --sequences 0000,0001
    """),
    "kins-video-car": (Options(KinsOptions), f"""
    Adapt to each drive of KINS-Video-Car on its visible masks; mean IoU before and after.

    {LICENCE}

    Example: savos adapt kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --json out.json
    """),
}  # fmt: skip


def add(name: str) -> None:
    """Add one of COMMANDS."""

    def adapt(options: Any, run: RunOptions, config: AdaptConfig, kept: KeptWeights) -> None:
        from training.adapt.scored import adapt_benchmark

        adapt_benchmark(benchmark_of(name, options), run.ours, config, run, kept.out)

    options, adapt.__doc__ = COMMANDS[name]
    command(app, name, options, RUN, CONFIG, KeptWeights)(adapt)


for _name in COMMANDS:
    add(_name)


@command(
    app,
    "curve",
    CurveOptions,
    Options(RunOptions, only=("json", "weights", "mode", "seed")),
    Options(AdaptConfig, only=(*FIELDS, "measure_every"), names=NAMES),
)
def curve(clip: CurveOptions, run: RunOptions, config: AdaptConfig) -> None:
    """Learning curve of the adaptation to one clip, without early stopping (figure 5 a).

    Example: savos adapt curve --clip fishbowl/val/fishbowl_0024 --types BigFishB
    --weights runs/unseen/best.safetensors --json docs/results/adapt_curve.json
    """
    from training.adapt.scored import adapt_curve

    adapt_curve(clip.clip, run.ours, config, run, clip.types)
