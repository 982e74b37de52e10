"""Learning curve of the adaptation to one FISHBOWL clip, as figure 5 a of the paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from rich.console import Console

from savos_model.network.presets import Net
from savos_model.network.weights import load_weights
from savos_model.results import keep_results
from savos_model.stream.video import Setup, described
from training.adapt.adapt import adapt, finished, taken, visible_clip
from training.adapt.scored import saved, with_weights
from training.adapt.settings import AdaptConfig
from training.evaluate.mask_sets import FIELDS, Fishbowl
from training.evaluate.metrics import summarise
from training.evaluate.settings import DEFAULT_OUTPUT, Output
from training.evaluate.video import score_videos


def adapt_curve(
    clip: Path,
    ours: Setup,
    config: AdaptConfig,
    output: Output = DEFAULT_OUTPUT,
    types: Collection[str] = (),
    console: Console | None = None,
) -> dict:
    """Draw the learning curve on one clip, without early stopping, as figure 5 a of the paper.

    Scores are taken every `measure_every` iterations, of the species `types` (empty for all); the
    other arguments are those of scored.adapt_benchmark.

    Returns:
        The metrics: clip, model, adapt, iterations, loss, visible_iou, full, occluded (lists of one
        length) and stop: the iteration at which the rule of section 4.3 ends, None when never.

    Raises:
        ValueError: no window to adapt to, or nothing to score in the clip.
    """
    console = console or Console()
    torch.set_num_threads(1)
    weights = load_weights(ours.backend.weights)
    (video,) = Fishbowl(clip.parent, types=types).open(clip)
    name = video.name
    endless = dataclasses.replace(config, stop_gain=-1.0)  # IoU never falls by more
    scores: list[dict] = []

    def watch(iteration: int, net: Net) -> None:
        now = taken(weights, name, net, config, [{"iteration": iteration}])
        with saved(now, None, name) as path:
            setup = with_weights(ours, path)
            (result,) = score_videos([video], ("ours",), setup, lambda _: None)
        scores.append(summarise(result.scores["ours"]["paper"]))
        shown = ", ".join(f"{field} {scores[-1][field] or 0:.4f}" for field in FIELDS)
        console.print(f"iteration {iteration}: {shown}")

    rows = visible_clip(name, video.rows(), weights.model)
    result = adapt(weights, rows, endless, watch=watch)
    if not result.history or not scores[0]["n"]:
        raise ValueError(f"{name} has nothing to score or adapt to: choose another clip")
    metrics = {
        "clip": name,
        "types": list(types),
        "mode": ours.mode,
        "model": described(weights),
        "adapt": dataclasses.asdict(config),
        "stop": stop(result.history, config),
        **curves(result.history, scores),
    }
    keep_results(output.json, metrics, output.seed, console)
    return metrics


def curves(history: Sequence[dict[str, float]], scores: Sequence[dict]) -> dict[str, list]:
    """Return figures by measurement: its iteration, what the adaptation sees, and the scores."""
    return {
        "iterations": [int(entry["iteration"]) for entry in history],
        **{name: [entry[name] for entry in history] for name in ("loss", "visible_iou")},
        **{field: [score[field] for score in scores] for field in FIELDS},
    }


def stop(history: Sequence[dict[str, float]], config: AdaptConfig) -> int | None:
    """Return the iteration at which the rule of section 4.3 ends an adaptation, None for never."""
    parts = (history[:n] for n in range(1, len(history) + 1))
    return next((int(part[-1]["iteration"]) for part in parts if finished(part, config)), None)
