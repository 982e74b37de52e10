"""The `savos evaluate` commands: methods scored against ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from savos_model.commands import Options, command
from training.cli.arguments import ours_of
from training.evaluate.settings import (
    ClipOptions,
    FishbowlOptions,
    FlowMethods,
    GumOptions,
    KinsOptions,
    KittiOptions,
    LagOptions,
    Methods,
    RunOptions,
    StreetOptions,
    TrackingOptions,
)

if TYPE_CHECKING:
    from training.evaluate.benchmark import Benchmark

app = typer.Typer(no_args_is_help=True, help="Score methods against ground truth.")
RUN, METHODS, FLOW_METHODS = Options(RunOptions), Options(Methods), Options(FlowMethods)
PLAIN_RUN = Options(RunOptions, only=("json", "weights", "processes", "seed"))


def score(benchmark: Benchmark, run: RunOptions, chosen: Methods) -> None:
    """Score the chosen methods on a data set."""
    from training.evaluate.benchmark import evaluate

    ours = ours_of(run.weights, run.mode, run.flow)
    evaluate(benchmark, chosen.methods, ours, run.json, processes=run.processes, seed=run.seed)


@command(app, "fishbowl", Options(FishbowlOptions), RUN, FLOW_METHODS)
def fishbowl(clips: FishbowlOptions, run: RunOptions, chosen: FlowMethods) -> None:
    """Mean IoU, whole and occluded, on FISHBOWL clips by the paper's and the open protocol.

    Example: savos evaluate fishbowl --data fishbowl/val --json out.json
    """
    from training.evaluate.mask_sets import Fishbowl

    score(Fishbowl(**vars(clips)), run, chosen)


@command(app, "rendered", Options(ClipOptions), RUN, METHODS)
def rendered(clips: ClipOptions, run: RunOptions, chosen: Methods) -> None:
    """Both protocols on rendered clips; streets and table-tops together and apart.

    Example: savos evaluate rendered --data rendered/val --json out.json
    """
    from training.evaluate.mask_sets import Rendered

    score(Rendered(**vars(clips)), run, chosen)


@command(app, "kins-video-car", Options(KinsOptions), RUN, FLOW_METHODS)
def kins_video_car(drives: KinsOptions, run: RunOptions, chosen: FlowMethods) -> None:
    """Mean IoU, whole and occluded, on KINS-Video-Car, by the released rule and by a clean one.

    Example: savos evaluate kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --json out.json
    """
    from training.evaluate.kins import Kins

    score(Kins(**vars(drives)), run, chosen)


@command(app, "street", Options(StreetOptions), RUN, METHODS)
def street(scenes: StreetOptions, run: RunOptions, chosen: Methods) -> None:
    """Both protocols on generated street scenes that no training saw.

    Example: savos evaluate street --mode bidirectional --json out.json
    """
    from training.evaluate.mask_sets import Street

    score(Street(**vars(scenes)), run, chosen)


@command(app, "chewing-gum", Options(GumOptions), RUN, METHODS)
def chewing_gum(videos: GumOptions, run: RunOptions, chosen: Methods) -> None:
    """Mean IoU, whole and occluded, on Chewing Gum videos.

    Example: savos evaluate chewing-gum --data gum --json out.json
    """
    from training.evaluate.chewing_gum import ChewingGum

    score(ChewingGum(**vars(videos)), run, chosen)


@command(app, "kitti-boxes", Options(KittiOptions), RUN, METHODS)
def kitti_boxes(clips: KittiOptions, run: RunOptions, chosen: Methods) -> None:
    """Box IoU with KITTI's amodal label boxes, and growth beyond the masks, by occlusion level.

    Example: savos evaluate kitti-boxes --data kitti_mots --sequences 0000,0001
    """
    from training.evaluate.kitti import Kitti

    score(Kitti(**vars(clips)), run, chosen)


@command(app, "lag", Options(ClipOptions), PLAIN_RUN, Options(LagOptions))
def lag(clips: ClipOptions, run: RunOptions, compared: LagOptions) -> None:
    """Measure the gain from later frames on FISHBOWL: lags of 2 to 20 frames, whole video, by age.

    Example: savos evaluate lag --data fishbowl/val --json out.json
    """
    from training.evaluate.lag import evaluate_lag
    from training.evaluate.mask_sets import Fishbowl

    evaluate_lag(
        Fishbowl(clips.data), ours_of(run.weights, run.mode), run.json, modes=compared.modes,
        processes=run.processes, seed=run.seed,
    )  # fmt: skip


@command(app, "options", Options(ClipOptions), PLAIN_RUN)
def options(clips: ClipOptions, run: RunOptions) -> None:
    """Measure the effect of rim, coasting, threshold and `complete_into` on FISHBOWL.

    Example: savos evaluate options --data fishbowl/val --json out.json
    """
    from training.evaluate.options import evaluate_options

    ours = ours_of(run.weights, run.mode)
    evaluate_options(clips.data, ours, run.json, processes=run.processes, seed=run.seed)


@command(app, "tracking", Options(TrackingOptions), PLAIN_RUN)
def tracking(videos: TrackingOptions, run: RunOptions) -> None:
    """Ids by association with predicted whole objects, against visible masks alone and true ids.

    Example: savos evaluate tracking --set fishbowl --data fishbowl/val --json out.json
    """
    from training.evaluate.tracking import evaluate_tracking, tracked_set

    ours = ours_of(run.weights, run.mode)
    evaluate_tracking(tracked_set(videos), ours, run.json, processes=run.processes, seed=run.seed)
