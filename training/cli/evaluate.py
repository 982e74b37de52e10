"""The `savos evaluate` and `savos adapt` commands: methods, or weights, scored on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from savos_model.commands import Options, Value, command, option
from training.adapt.settings import AdaptConfig, CurveOptions
from training.evaluate import settings

if TYPE_CHECKING:
    from training.evaluate.benchmark import Benchmark

app = typer.Typer(no_args_is_help=True, help="Score methods against ground truth.")
PLAIN_RUN = Options(settings.RunOptions, only=("json", "weights", "processes", "seed"))
# What is scored, by which methods, and the help text, by command.
COMMANDS: dict[str, tuple[type, type, str]] = {
    "fishbowl": (settings.FishbowlOptions, settings.FlowMethods, """
    Mean IoU, whole and occluded, on FISHBOWL clips by the paper's and the open protocol.

    Example: savos evaluate fishbowl --data fishbowl/val --json out.json
    """),
    "rendered": (settings.ClipOptions, settings.Methods, """
    Both protocols on rendered clips; streets and table-tops together and apart.

    Example: savos evaluate rendered --data rendered/val --json out.json
    """),
    "kins-video-car": (settings.KinsOptions, settings.FlowMethods, """
    Mean IoU, whole and occluded, on KINS-Video-Car, by the released rule and by a clean one.

    Example: savos evaluate kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --json out.json
    """),
    "street": (settings.StreetOptions, settings.Methods, """
    Both protocols on generated street scenes that no training saw.

    Example: savos evaluate street --mode bidirectional --json out.json
    """),
    "chewing-gum": (settings.GumOptions, settings.Methods, """
    Mean IoU, whole and occluded, on Chewing Gum videos.

    Example: savos evaluate chewing-gum --data gum --json out.json
    """),
    "kitti-boxes": (settings.KittiOptions, settings.Methods, """
    Box IoU with KITTI's amodal label boxes, and growth beyond the masks, by occlusion level.

    Example: savos evaluate kitti-boxes --data kitti_mots --sequences 0000,0001
    """),
}  # fmt: skip


def benchmark_of(name: str, options: Any) -> Benchmark:
    """Return the data set of a command."""
    from training.evaluate.chewing_gum import ChewingGum
    from training.evaluate.kins import Kins
    from training.evaluate.kitti import Kitti
    from training.evaluate.mask_sets import Fishbowl, Rendered, Street

    sets = {"fishbowl": Fishbowl, "rendered": Rendered, "street": Street}
    sets |= {"kins-video-car": Kins, "chewing-gum": ChewingGum, "kitti-boxes": Kitti}
    return sets[name](**vars(options))


def add(name: str) -> None:
    """Add one of COMMANDS."""

    def score(options: Any, run: settings.RunOptions, chosen: settings.Methods) -> None:
        from training.evaluate.benchmark import evaluate

        evaluate(benchmark_of(name, options), chosen.methods, run.ours, run)

    *groups, score.__doc__ = COMMANDS[name]
    command(app, name, groups[0], settings.RunOptions, groups[1])(score)


for _name in COMMANDS:
    add(_name)


@command(app, "lag", settings.ClipOptions, PLAIN_RUN, settings.LagOptions)
def lag(
    clips: settings.ClipOptions, run: settings.RunOptions, compared: settings.LagOptions
) -> None:
    """Measure the gain from later frames on FISHBOWL: lags of 2 to 20 frames, whole video, by age.

    Example: savos evaluate lag --data fishbowl/val --json out.json
    """
    from training.evaluate.compare import Fishbowl, evaluate_lag

    evaluate_lag(Fishbowl(clips.data), run.ours, compared.modes, run)


@command(app, "options", settings.ClipOptions, PLAIN_RUN)
def options(clips: settings.ClipOptions, run: settings.RunOptions) -> None:
    """Measure the effect of rim, coasting, threshold and `complete_into` on FISHBOWL.

    Example: savos evaluate options --data fishbowl/val --json out.json
    """
    from training.evaluate.compare import Published, evaluate_options

    evaluate_options(Published(clips.data), run.ours, run)


@command(app, "tracking", settings.TrackingOptions, PLAIN_RUN)
def tracking(videos: settings.TrackingOptions, run: settings.RunOptions) -> None:
    """Ids by association with predicted whole objects, against visible masks alone and true ids.

    Trackers of the package trackers get the boxes of the same masks; they complete nothing.

    Example: savos evaluate tracking --set fishbowl --data fishbowl/val --json out.json
    """
    from training.evaluate.tracking import evaluate_tracking, tracked_set

    evaluate_tracking(tracked_set(videos), run.ours, run, trackers=videos.trackers)


HELP = "Adapt weights to one video each, and score the gain."
adapt_app = typer.Typer(no_args_is_help=True, help=HELP)
FIELDS = ("learning_rate", "max_iterations", "batch", "length", "device", "seed")
NAMES = {"max_iterations": "iterations", "measure_every": "every"}
CONFIG = Options(AdaptConfig, only=(*FIELDS, "stop_gain"), names=NAMES)
KEPT = Value("out", Path | None, option("folder of the adapted weights; none: not kept", None))
ADAPT_RUN = Options(settings.RunOptions, only=("json", "weights", "processes", "mode", "seed"))
HALVES = Options(settings.KittiOptions, only=("data", "sequences", "masks", "half"))
LICENCE = "KITTI is CC BY-NC-SA 3.0: weights adapted to it must not be shipped under other terms."
ADAPTED = {
    "fishbowl": (settings.FishbowlOptions, """
    Adapt to each FISHBOWL clip on its visible masks; mean IoU before and after.

    Example: savos adapt fishbowl --data fishbowl/val --types BigFishB
    --weights runs/unseen/best.safetensors --json docs/results/adapt_BigFishB.json
    """),
    "kitti-boxes": (HALVES, f"""
    Adapt to each KITTI sequence on its visible masks; box IoU before and after.

    {LICENCE}

    Example: savos adapt kitti-boxes --data kitti_mots --sequences 0000,0001
    """),
    "kins-video-car": (settings.KinsOptions, f"""
    Adapt to each drive of KINS-Video-Car on its visible masks; mean IoU before and after.

    {LICENCE}

    Example: savos adapt kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --json out.json
    """),
}  # fmt: skip


def add_adapted(name: str) -> None:
    """Add one of ADAPTED."""

    def adapt(
        options: Any, run: settings.RunOptions, config: AdaptConfig, out: Path | None
    ) -> None:
        from training.adapt.scored import adapt_benchmark

        adapt_benchmark(benchmark_of(name, options), run.ours, config, run, out)

    options, adapt.__doc__ = ADAPTED[name]
    command(adapt_app, name, options, ADAPT_RUN, CONFIG, KEPT)(adapt)


for _name in ADAPTED:
    add_adapted(_name)


@command(
    adapt_app,
    "curve",
    CurveOptions,
    Options(settings.RunOptions, only=("json", "weights", "mode", "seed")),
    Options(AdaptConfig, only=(*FIELDS, "measure_every"), names=NAMES),
)
def curve(clip: CurveOptions, run: settings.RunOptions, config: AdaptConfig) -> None:
    """Learning curve of the adaptation to one clip, without early stopping (figure 5 a).

    Example: savos adapt curve --clip fishbowl/val/fishbowl_0024 --types BigFishB
    --weights runs/unseen/best.safetensors --json docs/results/adapt_curve.json
    """
    from training.adapt.scored import adapt_curve

    adapt_curve(clip.clip, run.ours, config, run, clip.types)
