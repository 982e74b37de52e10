"""Measures speed and memory of training steps in several settings, compared with one of them."""

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
from torch.utils.flop_counter import FlopCounterMode

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
LIMIT_SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices that measure the machine
LIMIT_REPEATS = 5


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
PEER = "former"  # what the others are compared with


def bench_train(config: BenchTrainConfig, out: Path | None = None) -> dict:
    """Measure every variant, interleaved in rounds, each in a fresh process; write the file `out`.

    Returns:
        settings, note, limit_gflops (best over rounds) by number format, variants (medians over
        rounds, with the times of all) and ratios (of each variant over PEER, taken within each
        round, median over rounds).

    Raises:
        ValueError: a measurement was killed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder, config.seed)
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
        "variants": variants,
        "ratios": {name: {PEER: ratios(name, rounds, config)} for name in VARIANTS if name != PEER},
    }
    keep_results(out, metrics, config.seed)
    return metrics


def write_clips(folder: Path, seed: int) -> None:
    """Store VIDEOS generated videos in `folder`, once for each size of patch."""
    for patch in {variant.model.patch for variant in VARIANTS.values()}:
        store_clip(chewing_gum_frames(seed, 0, VIDEOS), folder / str(patch[0]), patch, GUM_MIN_PX)


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
    object_frames = math.prod(VARIANTS[name].size(config))
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
    name: str, rounds: list[dict[str, dict[str, float]]], config: BenchTrainConfig
) -> dict[str, float]:
    """How many times less than PEER a variant takes: step and data of an object-frame, memory."""
    pairs = [(measured[PEER], measured[name]) for measured in rounds]
    more, less = (math.prod(VARIANTS[which].size(config)) for which in (name, PEER))
    more /= less
    return {
        "step": more * median(a["wall_s"] / b["wall_s"] for a, b in pairs),
        "with_data": more * median(with_data(a) / with_data(b) for a, b in pairs),
        "cpu": more * median(a["cpu_s"] / b["cpu_s"] for a, b in pairs),
        "memory": median(a["peak_mib"] / b["peak_mib"] for a, b in pairs),
    }


def print_bench(metrics: dict, console: Console) -> None:
    """Print the result of bench_train: the variants, then how many times better than PEER."""
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
    columns = ("", "step", "with data", "CPU", "memory")
    table = columned(f"Times better than {VARIANTS[PEER].text}", *columns)
    for name, peers in metrics["ratios"].items():
        cells = (f"{peers[PEER][key]:.1f}" for key in ("step", "with_data", "cpu", "memory"))
        table.add_row(VARIANTS[name].text, *cells)
    console.print(table)
    console.print(
        f"limit: a matrix product reaches {limit['fp32']:.0f} (fp32) and {limit['bf16']:.0f} "
        "(bf16) GFLOP/s here; data: the making of a batch, per object-frame; memory: above that "
        "after the imports; 64x128 is the paper's network, default the recurrent U-Net"
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


def count_gflop(name: str, folder: Path, config: BenchTrainConfig) -> float:
    """Arithmetic of one training step [GFLOP], a multiply-add counted twice."""
    prepare_process(config)
    step = make_step(name, folder, config)
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


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


def measure_limit(config: BenchTrainConfig) -> dict[str, float]:
    """Return the speed of a matrix product on this machine [GFLOP/s], by number format."""
    prepare_process(config)
    side, limits = LIMIT_SIDE[config.device], {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(side, side, device=config.device, dtype=kind)
        a @ a
        best = min(clocked(lambda a=a: a @ a, config.device)[0] for _ in range(LIMIT_REPEATS))
        limits[name] = 2 * side**3 / best / 1e9
    return limits


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
