"""Measures speed and memory of training steps in several settings."""

import dataclasses
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from savos_model.config import ModelConfig
from savos_model.memory import MIB, process_bytes
from savos_model.network.losses import LossConfig, Targets, total_loss
from savos_model.results import keep_results
from savos_model.tables import columned
from training.bench.settings import BenchTrainConfig
from training.data.prepare import GUM_MIN_PX, chewing_gum_frames
from training.data.store import open_clip, store_clip
from training.learn.config import RunConfig, TrainConfig
from training.learn.data import RunData
from training.learn.distributed import Ranks
from training.learn.windows import StoredWindows, list_places
from training.train import Objective, new_learner, update
from training.train import make_batch as training_step_batch

Value = TypeVar("Value")
NOTE = (
    "All losses, clipping and averaged weights; windows of generated Chewing Gum videos. Memory: "
    "peak of the process (of the GPU's tensors on cuda) above that after the imports."
)
# Frames cost the same one after the other, as the paper's network takes them.
PAPER = ModelConfig(preset="paper", width=1.0, patch_height=64, patch_width=128, prior_mask=False)
SMALL = ModelConfig(preset="paper", prior_mask=False)
FORMER = dataclasses.replace(SMALL, prior_mask=True)  # the default before the recurrent U-Net
VIDEOS = 8  # generated ones that batches are drawn from


class Variant(NamedTuple):
    """One way of training.

    text: for the table; model: the network; bf16: convolutions in bfloat16; windows: how many of
    how many frames, None for those of the settings; both: both directions.
    """

    text: str
    model: ModelConfig
    bf16: bool = True
    windows: tuple[int, int] | None = None
    both: bool = True

    def size(self, config: BenchTrainConfig) -> tuple[int, int]:
        """Return windows and frames of a batch."""
        return self.windows or (config.tracks, config.frames)


# The stages of config/training/online.yaml, and batches as the encoder-decoder had them.
VARIANTS = {
    "paper_fp32": Variant("64x128, fp32", PAPER, bf16=False),
    "paper_bf16": Variant("64x128, bf16", PAPER),
    "small_bf16": Variant("32x64, bf16", SMALL),
    "former": Variant("former default", FORMER),
    "former_forward": Variant("former, 128 of 2, forward", FORMER, windows=(128, 2), both=False),
    "default": Variant("default", ModelConfig()),
    "long": Variant("default, 16 windows of 8", ModelConfig(), windows=(16, 8)),
    "short": Variant("default, 128 of 2", ModelConfig(), windows=(128, 2)),
    "forward": Variant("default, 128 of 2, forward", ModelConfig(), windows=(128, 2), both=False),
}


def bench_train(config: BenchTrainConfig, out: Path | None = None) -> dict:
    """Measure every variant, interleaved in rounds, each in a fresh process; write the file `out`.

    Returns:
        settings, note and variants (medians over rounds, with the times of all).

    Raises:
        ValueError: a measurement was killed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder, config.seed)
        results = run_rounds(folder, config)
    variants = {name: summary(name, found, config) for name, found in results.items()}
    metrics = {"settings": dataclasses.asdict(config), "note": NOTE, "variants": variants}
    keep_results(out, metrics, config.seed)
    return metrics


def write_clips(folder: Path, seed: int) -> None:
    """Store VIDEOS generated videos in `folder`, once for each size of patch."""
    for patch in {variant.model.patch for variant in VARIANTS.values()}:
        store_clip(chewing_gum_frames(seed, 0, VIDEOS), folder / str(patch[0]), patch, GUM_MIN_PX)


def run_rounds(folder: Path, config: BenchTrainConfig) -> dict[str, list[dict[str, float]]]:
    """Return the results of `measure` of all rounds, by variant."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    with Progress(transient=True) as progress:
        task = progress.add_task("measuring", total=config.rounds * len(VARIANTS))
        for _ in range(config.rounds):
            for name in VARIANTS:
                progress.update(task, description=name)
                results[name].append(in_fresh_process(name, measure, name, folder, config))
                progress.advance(task)
    return results


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


def summary(name: str, results: list[dict[str, float]], config: BenchTrainConfig) -> dict[str, Any]:
    """One variant's medians over rounds, as rates where they are times of a step."""
    object_frames = math.prod(VARIANTS[name].size(config))
    values = {key: median(result[key] for result in results) for key in results[0]}
    with_data = median(result["wall_s"] + result["data_s"] for result in results)
    return {
        "text": VARIANTS[name].text,
        "model": dataclasses.asdict(VARIANTS[name].model),
        **values,
        "object_frames": object_frames,
        "object_frames_per_s": object_frames / values["wall_s"],
        "object_frames_per_s_with_data": object_frames / with_data,
        "data_ms_per_object_frame": 1000 * values["data_s"] / object_frames,
        "rounds_wall_s": [result["wall_s"] for result in results],
    }


def print_bench(metrics: dict, console: Console) -> None:
    """Print the result of bench_train."""
    settings = metrics["settings"]
    title = (
        f"Object-frames per second: {settings['tracks']} objects x {settings['frames']} frames, "
        f"{settings['device']}, {settings['threads']} threads"
    )
    columns = ("step", "with data", "data [ms]", "peak [MiB]")
    table = columned(title, "variant", *columns)
    for row in metrics["variants"].values():
        table.add_row(
            row["text"], f"{row['object_frames_per_s']:.1f}",
            f"{row['object_frames_per_s_with_data']:.1f}",
            f"{row['data_ms_per_object_frame']:.1f}", f"{row['peak_mib']:.0f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        "data: the making of a batch, per object-frame; memory: above that after the imports; "
        "64x128 is the paper's network, default the recurrent U-Net"
    )


def measure(name: str, folder: Path, config: BenchTrainConfig) -> dict[str, float]:
    """Time training steps of a variant; call it in a fresh process, for the memory's sake.

    Returns:
        wall_s and cpu_s of one step, peak_mib above what was in use before the network and batch
        were made, data_s that the making of one batch takes.

    Raises:
        ValueError: the loss is not finite.
    """
    prepare_process(config)
    before = memory_now(config.device)
    step = make_step(name, folder, config)
    loss = float(step())  # warms up, too
    if not math.isfinite(loss):
        raise ValueError(f"{name} does not train: the loss is {loss}")
    wall, cpu = timed(step, config)
    peak = memory_peak(config.device) - before
    make_batch(name, folder, config)
    data, _ = timed(lambda: make_batch(name, folder, config), config)
    return {"wall_s": wall, "cpu_s": cpu, "peak_mib": peak / MIB, "data_s": data}


def make_batch(name: str, folder: Path, config: BenchTrainConfig) -> Targets:
    """Return one batch as training makes it: windows of the clip, drawn and augmented in groups."""
    variant = VARIANTS[name]
    count, frames = variant.size(config)
    clip = open_clip(folder / str(variant.model.patch_height))
    group = 8 if count % 8 == 0 else count
    train = TrainConfig(batch=count, group=group, length=frames, seed=config.seed)
    source = StoredWindows([clip], list_places([clip], frames, 1), frames)
    data = RunData({frames: source}, held=source.draw, held_groups=0, windows=0, text="")
    loss = LossConfig(both_directions=variant.both)
    run = RunConfig(model=variant.model, train=train, loss=loss)
    return training_step_batch(0, run, data, Ranks(0, 1, torch.device(config.device)))


def make_step(name: str, folder: Path, config: BenchTrainConfig) -> Callable[[], Tensor]:
    """Return a function that takes one step of training on a fixed batch and returns its loss."""
    variant, targets = VARIANTS[name], make_batch(name, folder, config)
    train = TrainConfig(bf16=variant.bf16, seed=config.seed)
    run = RunConfig(model=variant.model, train=train, loss=LossConfig(both_directions=variant.both))
    learner = new_learner(run, torch.device(config.device))
    objective = Objective(learner.net, train.bf16)

    def step() -> Tensor:
        losses, _ = update(objective, targets, learner, run.loss, run, 0)
        return total_loss(losses, run.loss).detach()

    return step


def prepare_process(config: BenchTrainConfig) -> None:
    """Threads and seed of this process."""
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(config.threads)
    torch.manual_seed(config.seed)


def clocked(work: Callable[[], object], device: str) -> tuple[float, float]:
    """Seconds by the clock and of processor time that work takes, the device's part included."""
    if device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def timed(work: Callable[[], object], config: BenchTrainConfig) -> tuple[float, float]:
    """Median seconds of work as `clocked`, of at least two runs and config.seconds."""
    runs, end = [], time.perf_counter() + config.seconds
    while len(runs) < 2 or time.perf_counter() < end:
        runs.append(clocked(work, config.device))
    wall, cpu = np.median(runs, 0)
    return float(wall), float(cpu)


def memory_now(device: str) -> float:
    """Bytes in use by this process, or by tensors on the GPU."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return process_bytes("VmRSS")


def memory_peak(device: str) -> float:
    """Most bytes in use so far by this process, or by tensors on the GPU."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else process_bytes("VmHWM")
