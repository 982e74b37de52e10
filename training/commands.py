"""Hands the arguments of the evaluation commands over, and their errors back as one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from savos_model.config import BackendConfig, FlowConfig, StreamConfig
from training.evaluate_chewing_gum import evaluate_chewing_gum
from training.evaluate_fishbowl import evaluate_fishbowl
from training.evaluate_kitti import evaluate_kitti
from training.evaluate_lag import evaluate_lag
from training.evaluate_options import evaluate_options
from training.online import Setup


def fishbowl(
    data: Path,
    out: Path | None,
    mode: str,
    weights: str | None,
    methods: str,
    processes: int,
    seed: int,
    subset: str = "",
    types: str = "",
    flow: str = FlowConfig().method,
) -> int:
    """Run `savos evaluate fishbowl`; returns the exit code."""

    def run() -> None:
        evaluate_fishbowl(
            data,
            names_of(methods),
            ours_of(weights, mode, flow),
            out,
            processes=processes,
            seed=seed,
            subset=subset,
            types=names_of(types),
        )

    return reported(run)


def lag(
    data: Path, out: Path | None, modes: str, weights: str | None, processes: int, seed: int
) -> int:
    """Run `savos evaluate lag`; returns the exit code."""

    def run() -> None:
        ours, names = ours_of(weights, "forward"), names_of(modes)
        evaluate_lag(data, ours, out, modes=names, processes=processes, seed=seed)

    return reported(run)


def options(data: Path, out: Path | None, weights: str | None, processes: int, seed: int) -> int:
    """Run `savos evaluate options`; returns the exit code."""
    ours = ours_of(weights, "forward")
    return reported(lambda: evaluate_options(data, ours, out, processes=processes, seed=seed))


def chewing_gum(
    data: Path | None,
    out: Path | None,
    mode: str,
    weights: str | None,
    methods: str,
    videos: int,
    video_seed: int,
    processes: int,
    seed: int,
    flow: str = FlowConfig().method,
) -> int:
    """Run `savos evaluate chewing-gum`; returns the exit code."""

    def run() -> None:
        evaluate_chewing_gum(
            data,
            names_of(methods),
            ours_of(weights, mode, flow),
            out,
            count=videos,
            video_seed=video_seed,
            processes=processes,
            seed=seed,
        )

    return reported(run)


def kitti_boxes(
    data: Path,
    sequences: str,
    out: Path | None,
    mode: str,
    masks: str,
    weights: str | None,
    flow: str,
    methods: str,
    processes: int,
    seed: int,
) -> int:
    """Run `savos evaluate kitti-boxes`; returns the exit code."""

    def run() -> None:
        evaluate_kitti(
            data,
            names_of(sequences),
            masks,
            ours_of(weights, mode, flow),
            out,
            methods=names_of(methods),
            processes=processes,
            seed=seed,
        )

    return reported(run)


def names_of(text: str) -> list[str]:
    """Names out of a text with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def ours_of(weights: str | None, mode: str, flow: str = FlowConfig().method) -> Setup:
    """How our method runs, by the options of a command."""
    backend = BackendConfig() if weights is None else BackendConfig(weights=weights)
    return Setup(backend, StreamConfig(flow=FlowConfig(flow)), mode)


def reported(run: Callable[[], None]) -> int:
    """Run; wrong arguments or files become one line on standard error and exit code 2."""
    try:
        run()
    except (ValueError, OSError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        return 2
    return 0
