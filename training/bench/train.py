"""Measures training speed and memory against the released design, re-created, in one run."""

from __future__ import annotations

import dataclasses
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress

from savos_model.results import keep_results
from savos_model.tables import columned
from training.bench.scene import clip_frames, make_scene, write_raw
from training.bench.settings import BenchTrainConfig
from training.bench.variants import (
    IMAGES,
    VARIANTS,
    count_gflop,
    measure,
    measure_limit,
    store_name,
)
from training.data.store import store_clip

Value = TypeVar("Value")
PEERS = [name for name, variant in VARIANTS.items() if variant.image is not None]
OURS = [name for name, variant in VARIANTS.items() if variant.image is None]
NOTE = (
    "Released design: full-image tensors per object, fp32, one pass for each direction, with "
    "FISHBOWL's third loss at 480x320; its loader reads only the frames it needs. Ours: both "
    "directions, all losses, clipping and averaged weights. Same scene, objects and frames. "
    "Memory: peak of the process (of the GPU's tensors on cuda) above that after the imports."
)


def bench_train(config: BenchTrainConfig, out: Path | None = None) -> dict:
    """Measure every variant, interleaved in rounds, each measurement in a fresh process.

    Args:
        config: how to run.
        out: results file (savos_model/results.py); None writes none.

    Returns:
        settings, note, limit_gflops (best over rounds) by number format, prepare_s (once, per
        object-frame, by image), variants (medians over rounds, with the times of all) and ratios
        (ours over each peer's, taken within each round, median over rounds).

    Raises:
        ValueError: the scene does not fit the settings, or a measurement was killed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = {image: write_scene(image, folder / image, config) for image in IMAGES}
        gflop = {
            name: in_fresh_process(name, count_gflop, name, folder, config) for name in VARIANTS
        }
        rounds, limits = run_rounds(folder, config)
    limit = {kind: max(found[kind] for found in limits) for kind in limits[0]}
    variants = {}
    for name in VARIANTS:
        results = [measured[name] for measured in rounds]
        variants[name] = summary(name, results, gflop[name], limit, config)
    metrics = {
        "settings": dataclasses.asdict(config),
        "note": NOTE,
        "limit_gflops": limit,
        "prepare_s": prepared,
        "variants": variants,
        "ratios": {
            ours: {peer: ratios(ours, peer, rounds, config) for peer in PEERS} for ours in OURS
        },
    }
    keep_results(out, metrics, config.seed)
    return metrics


def write_scene(image: str, folder: Path, config: BenchTrainConfig) -> float:
    """Write one scene for both designs; returns the seconds per object-frame that storing took."""
    scene = make_scene(IMAGES[image], config.tracks, config.frames, config.seed)
    write_raw(scene, folder / "raw")
    frames = list(clip_frames(scene))
    for name in OURS:
        model = VARIANTS[name].model
        began = time.perf_counter()
        store_clip(frames, folder / store_name(model), model.patch)
        took = time.perf_counter() - began
    return took / config.object_frames


def run_rounds(
    folder: Path, config: BenchTrainConfig
) -> tuple[list[dict[str, dict[str, float]]], list[dict[str, float]]]:
    """Return the results of `measure` by round and variant, and of `measure_limit` by round."""
    rounds, limits = [], []
    with Progress(transient=True) as progress:
        task = progress.add_task("measuring", total=config.rounds * len(VARIANTS))
        for _ in range(config.rounds):
            results = {}
            limits.append(in_fresh_process("limit", measure_limit, config))
            for name in VARIANTS:
                progress.update(task, description=name)
                results[name] = in_fresh_process(name, measure, name, folder, config)
                progress.advance(task)
            rounds.append(results)
    return rounds, limits


def in_fresh_process(name: str, work: Callable[..., Value], *arguments: Any) -> Value:
    """Run in a process that has done nothing else."""
    # Spawned: a forked process would begin with this one's memory.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool as error:
            raise ValueError(
                f"the process of {name} was killed, most likely for memory: take fewer tracks or "
                "frames"
            ) from error


def summary(
    name: str,
    results: list[dict[str, float]],
    gflop: float,
    limit: dict[str, float],
    config: BenchTrainConfig,
) -> dict[str, Any]:
    """One variant's medians over rounds, as rates where they are times of a step."""
    object_frames = VARIANTS[name].object_frames(config)
    values = {key: median(result[key] for result in results) for key in results[0]}
    best = limit["bf16" if VARIANTS[name].bf16 else "fp32"]
    return {
        "text": VARIANTS[name].text,
        "model": dataclasses.asdict(VARIANTS[name].model),
        **values,
        "gflop": gflop,
        "share_of_limit": gflop / values["wall_s"] / best,
        "object_frames": object_frames,
        "object_frames_per_s": object_frames / values["wall_s"],
        "object_frames_per_s_with_data": object_frames / median(map(with_data, results)),
        "data_ms_per_object_frame": 1000 * values["data_s"] / object_frames,
        "rounds_wall_s": [result["wall_s"] for result in results],
    }


def with_data(result: dict[str, float]) -> float:
    """Seconds of a step and the making of its batch, one after the other."""
    return result["wall_s"] + result["data_s"]


def ratios(
    ours: str,
    peer: str,
    rounds: list[dict[str, dict[str, float]]],
    config: BenchTrainConfig,
) -> dict[str, float]:
    """How many times less ours takes: of an object-frame's step, with data, of memory in all."""
    pairs = [(measured[peer], measured[ours]) for measured in rounds]
    more = VARIANTS[ours].object_frames(config) / VARIANTS[peer].object_frames(config)
    return {
        "step": more * median(a["wall_s"] / b["wall_s"] for a, b in pairs),
        "with_data": more * median(with_data(a) / with_data(b) for a, b in pairs),
        "cpu": more * median(a["cpu_s"] / b["cpu_s"] for a, b in pairs),
        "memory": median(a["peak_mib"] / b["peak_mib"] for a, b in pairs),
    }


def print_bench(metrics: dict, console: Console) -> None:
    """Print the result of bench_train: the variants, then ours over each peer."""
    settings, limit = metrics["settings"], metrics["limit_gflops"]
    title = (
        f"Object-frames per second: {settings['tracks']} objects x {settings['frames']} frames, "
        f"{settings['device']}, {settings['threads']} threads"
    )
    columns = ("step", "with data", "data [ms]", "peak [MiB]", "of limit")
    table = columned(title, "variant", *columns)
    for row in metrics["variants"].values():
        table.add_row(
            row["text"], f"{row['object_frames_per_s']:.1f}",
            f"{row['object_frames_per_s_with_data']:.1f}",
            f"{row['data_ms_per_object_frame']:.1f}", f"{row['peak_mib']:.0f}",
            f"{100 * row['share_of_limit']:.0f} %",
        )  # fmt: skip
    console.print(table)
    columns = ("ours", "over", "step", "with data", "CPU", "memory")
    table = columned("Times better", *columns, names=2)
    for ours, peers in metrics["ratios"].items():
        for peer, ratio in peers.items():
            cells = (f"{ratio[key]:.1f}" for key in ("step", "with_data", "cpu", "memory"))
            table.add_row(VARIANTS[ours].text, VARIANTS[peer].text, *cells)
    console.print(table)
    console.print(
        f"limit: a matrix product reaches {limit['fp32']:.0f} (fp32) and {limit['bf16']:.0f} "
        "(bf16) GFLOP/s here; data: the making of a batch, per object-frame; memory: above that "
        "after the imports; 64x128 is the paper's network, default the recurrent U-Net"
    )
