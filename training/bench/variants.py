"""Times one design, or the machine's limit, in a separate process of the training benchmark."""

from __future__ import annotations

import dataclasses
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from savos_model.config import ModelConfig
from savos_model.network.losses import LossConfig, Targets, total_loss
from savos_model.network.net import SavosNet
from savos_model.network.released.keys import OFFICIAL_MODEL
from training.bench.released_design import Batch, read_batch, released_loss
from training.bench.settings import BenchTrainConfig
from training.data.store import Clip, open_clip
from training.learn.augment import make_input
from training.learn.augment_config import AugmentConfig
from training.learn.averages import average_into
from training.learn.checkpoint import Learner
from training.learn.config import RunConfig, TrainConfig
from training.learn.data import RunData
from training.learn.distributed import Ranks
from training.learn.windows import StoredWindows, gather, list_places
from training.train import Objective, new_learner
from training.train import make_batch as training_step_batch

# The released network has no prior mask; ours costs frames one after the other.
PAPER = ModelConfig(preset="paper", width=1.0, prior_mask=False)
SMALL = ModelConfig(preset="paper", patch_height=32, patch_width=64, prior_mask=False)
FORMER = dataclasses.replace(SMALL, prior_mask=True)  # the default before the recurrent U-Net
IMAGES = {"fishbowl": (320, 480), "kitti": (375, 1242)}  # rows and columns [px]
LIMIT_SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices that measure the machine
LIMIT_REPEATS = 5
MIB = 2**20


class Variant(NamedTuple):
    """One training design in one setting.

    text: for the table; model: of its network; image: scene of a released step, None for ours,
    which knows no whole images; bf16: convolutions in bfloat16; windows: how many of how many
    frames, None for each object of the scene in all its frames; both: both directions.
    """

    text: str
    model: ModelConfig
    image: str | None = None
    bf16: bool = False
    windows: tuple[int, int] | None = None
    both: bool = True

    def object_frames(self, config: BenchTrainConfig) -> int:
        """Windows times frames of a batch."""
        count, frames = self.windows or (config.tracks, config.frames)
        return count * frames


VARIANTS = {
    "released_fishbowl": Variant("released 480x320", OFFICIAL_MODEL, "fishbowl"),
    "released_kitti": Variant("released 1242x375", OFFICIAL_MODEL, "kitti"),
    "paper_fp32": Variant("ours 64x128, fp32", PAPER),
    "paper_bf16": Variant("ours 64x128, bf16", PAPER, bf16=True),
    "small_bf16": Variant("ours 32x64, bf16", SMALL, bf16=True),
    "former": Variant("former default", FORMER, bf16=True),
    "former_forward": Variant(
        "former, 128 of 2, forward", FORMER, bf16=True, windows=(128, 2), both=False
    ),
    "default": Variant("ours default", ModelConfig(), bf16=True),
    # The stages of config/training/online.yaml, and batches as the encoder-decoder had them.
    "long": Variant("default, 16 windows of 8", ModelConfig(), bf16=True, windows=(16, 8)),
    "short": Variant("default, 128 of 2", ModelConfig(), bf16=True, windows=(128, 2)),
    "forward": Variant(
        "default, 128 of 2, forward", ModelConfig(), bf16=True, windows=(128, 2), both=False
    ),
}


def store_name(model: ModelConfig) -> str:
    """Folder of the stored clip for patches of this model."""
    return f"store{model.patch_height}"


def measure(name: str, folder: Path, config: BenchTrainConfig) -> dict[str, float]:
    """Time training steps of a variant; call it in a fresh process, for the memory's sake.

    Args:
        name: of VARIANTS.
        folder: scenes by image name (scene.py), in each the folders raw and store*.
        config: how to run.

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


def make_batch(name: str, folder: Path, config: BenchTrainConfig) -> Batch | Targets:
    """One batch from disk: a released one, or ours as training makes it from the stored clip."""
    variant = VARIANTS[name]
    if variant.image is not None:
        return read_batch(folder / variant.image / "raw").to(config.device)
    clip = open_clip(folder / "fishbowl" / store_name(variant.model))
    if variant.windows is not None:
        return training_batch(clip, variant, config)
    places = list_places([clip], config.frames, 1)
    reverse = np.zeros(len(places), bool)
    window = gather([clip], places, config.frames, reverse)
    generator = torch.Generator().manual_seed(config.seed)
    targets = make_input(window, variant.model, AugmentConfig(), generator, both=variant.both)
    return targets.to(config.device)


def training_batch(clip: Clip, variant: Variant, config: BenchTrainConfig) -> Targets:
    """One batch as training makes it: windows of the clip, drawn and augmented in groups."""
    count, frames = variant.windows
    train = TrainConfig(batch=count, length=frames, seed=config.seed)
    source = StoredWindows([clip], list_places([clip], frames, 1), frames)
    data = RunData({frames: source}, held=source.draw, held_groups=0, windows=0, text="")
    loss = LossConfig(both_directions=variant.both)
    run = RunConfig(model=variant.model, train=train, loss=loss)
    return training_step_batch(0, run, data, Ranks(0, 1, torch.device(config.device)))


def make_step(name: str, folder: Path, config: BenchTrainConfig) -> Callable[[], Tensor]:
    """Return a function that trains one step on one fixed batch and returns its loss."""
    variant, batch = VARIANTS[name], make_batch(name, folder, config)
    if isinstance(batch, Batch):
        net = SavosNet(variant.model).to(config.device)
        return released_step(net, batch, colours=variant.image == "fishbowl")
    train = TrainConfig(bf16=variant.bf16, seed=config.seed)
    run = RunConfig(model=variant.model, train=train, loss=LossConfig(both_directions=variant.both))
    return our_step(new_learner(run, torch.device(config.device)), batch, run)


def released_step(net: SavosNet, batch: Batch, *, colours: bool) -> Callable[[], Tensor]:
    """Return a step of the released design."""
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)

    def step() -> Tensor:
        loss = released_loss(net, batch, colours=colours)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def our_step(learner: Learner, targets: Targets, run: RunConfig) -> Callable[[], Tensor]:
    """Return a step of training/train.py."""
    net, average, optimiser = learner
    objective = Objective(net, run.train.bf16)

    def step() -> Tensor:
        loss = total_loss(objective(targets, run.loss), run.loss)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        average_into(average, net, run.train.ema)
        return loss.detach()

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
    return status_bytes("VmRSS")


def memory_peak(device: str) -> float:
    """Most bytes in use so far by this process, or by tensors on the GPU."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else status_bytes("VmHWM")


def status_bytes(field: str) -> float:
    """VmRSS or VmHWM of this process; where there is no /proc, its peak so far for both."""
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    # Not ru_maxrss: on Linux that carries over the peak of the process which started this one.
    line = next(x for x in status.read_text().splitlines() if x.startswith(field + ":"))
    return int(line.split()[1]) * 1024
