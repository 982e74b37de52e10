"""Train the U-Net of the image-level baselines on stored clips.

The weights with the lowest loss on held-out clips are kept: the self-supervised one for
deocclusion, so that truth never chooses, the supervised one for the oracle.
"""

import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import typer
from rich.progress import track
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from savos_model.commands import Options, command, option
from savos_model.settings import SettingError, Settings, setting
from training.baselines.unet import (
    BATCHES,
    Batch,
    UNet,
    UNetConfig,
    known_places,
    save_unet,
    unet_loss,
)
from training.data.store import Clip
from training.learn.augment import Window
from training.learn.windows import (
    Place,
    StoredWindows,
    gather,
    list_places,
    random_batches,
    split_clips,
)

VALIDATED = 512  # rows of the held-out clips, the same in every run


@dataclasses.dataclass(frozen=True)
class UNetRun:
    """Data of a training, and the folder of its results."""

    data: tuple[str, ...] = option("folders of stored clips, with commas")
    out: Path = option("folder of best.safetensors and log.jsonl")


@dataclasses.dataclass(frozen=True)
class UNetTraining(Settings):
    """One training run."""

    steps: int = setting(20000, "optimiser steps", minimum=1)
    batch: int = setting(64, "objects per step", minimum=2)
    learning_rate: float = setting(1e-3, "peak learning rate of Adam", minimum=0.0, maximum=1.0)
    warmup: float = setting(0.05, "share of steps of warm-up", minimum=0.0, maximum=1.0)
    ema: float = setting(0.995, "decay of the averaged weights", minimum=0.0, maximum=1.0)
    min_px: int = setting(200, "smallest visible area of an object [px]", minimum=1)
    held_out: int = setting(12, "every n-th clip validates", minimum=2)
    validate_every: int = setting(250, "steps between validations", minimum=1)
    seed: int = setting(0, "random seed", minimum=0)
    threads: int = setting(1, "CPU threads of the network", minimum=1)
    bf16: bool = setting(True, "bfloat16 convolutions")


def stored_patch(clips: list[Clip]) -> tuple[int, int]:
    """Return rows and columns of the patch that clips were prepared for."""
    sizes = {clip.arrays["visible"].shape[1:] for clip in clips if len(clip.arrays["visible"])}
    if len(sizes) != 1:
        raise SettingError(f"data must be of one patch size, got {sorted(sizes)}: prepare the data")
    rows, cols = sizes.pop()
    return rows // 2, cols // 2


def list_rows(clips: list[Clip], task: str, min_px: int) -> list[Place]:
    """Return the rows to learn from: large enough, and with known truth for the oracle."""
    places = list_places(clips, 1, min_px)
    if task == "oracle":
        places = known_places(clips, places)
    if not places:
        raise SettingError(
            f"data must hold objects of at least {min_px} px for {task}: prepare more clips "
            f"(one of 12 is held out){', with truth' if task == 'oracle' else ''}"
        )
    return places


@torch.no_grad()
def validate(net: UNet, clips: list[Clip], places: list[Place], config: UNetTraining) -> float:
    """Return the mean loss over fixed held-out objects with fixed erasers."""
    losses, sizes = [], []
    for start in range(0, len(places), config.batch):
        some = places[start : start + config.batch]
        generator = torch.Generator().manual_seed(start)
        amodal = np.full(len(some), net.config.task == "oracle")
        window = gather(clips, some, 1, np.zeros(len(some), bool), amodal)
        batch = BATCHES[net.config.task](window, net.config, generator)
        losses.append(float(unet_loss(net, batch, bf16=config.bf16)))
        sizes.append(len(some))
    return float(np.average(losses, weights=sizes))


def train_unet(stores: list[Path], out: Path, model: UNetConfig, config: UNetTraining) -> Path:
    """Run the loop; return the path of the best weights (float16 safetensors)."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    clips, held = split_clips(stores, config.held_out)
    rows, cols = stored_patch(clips + held)
    model = dataclasses.replace(model, patch_height=rows, patch_width=cols)
    places = list_rows(clips, model.task, config.min_px)
    held_places = list_rows(held, model.task, config.min_px)
    order = np.random.default_rng(7).permutation(len(held_places))[:VALIDATED]
    held_places = [held_places[i] for i in order]
    net = UNet(model).to(memory_format=torch.channels_last)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
    optimiser = torch.optim.Adam(net.parameters())
    schedule = OneCycleLR(
        optimiser, config.learning_rate, config.steps, pct_start=config.warmup, cycle_momentum=False
    )
    amodal = np.full(len(clips), float(model.task == "oracle"))
    source = StoredWindows(clips, places, 1, supervised=amodal)

    def make(drawn: Window, step: int) -> Batch:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        return BATCHES[model.task](drawn, model, generator)

    best, best_path, began = math.inf, out / "best.safetensors", time.monotonic()
    batches = random_batches(source, config.batch, config.seed, range(config.steps), make)
    print(f"{len(places)} objects of {len(clips)} clips; {len(held_places)} to validate")
    with (out / "log.jsonl").open("w", buffering=1, encoding="utf-8") as log:
        for step, batch in enumerate(track(batches, model.task, config.steps), start=1):
            loss = unet_loss(net, batch, bf16=config.bf16)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            average.update_parameters(net)
            if step % config.validate_every == 0 or step == config.steps:
                value = validate(average.module, held, held_places, config)
                rate = step * config.batch / (time.monotonic() - began)
                entry = {"step": step, "train": loss.item(), "val": value}
                log.write(json.dumps(entry | {"object_frames_per_s": rate}) + "\n")
                if value < best:
                    best = value
                    save_unet(best_path, average.module, describe(step, value, stores, config))
    return best_path


def describe(step: int, loss: float, stores: list[Path], config: UNetTraining) -> dict[str, str]:
    """Return what is stored with the weights of a step."""
    return {
        "step": str(step),
        "validation_loss": f"{loss:.6f}",
        "stores": ",".join(store.name for store in stores),
        "train": json.dumps(dataclasses.asdict(config)),
    }


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(app, "train_unet", UNetRun, Options(UNetConfig, only=("task", "width")), UNetTraining)
def main(run: UNetRun, model: UNetConfig, training: UNetTraining) -> None:
    """Train the U-Net of the image-level baselines on stored clips.

    Example: python -m training.baselines.train_unet --task oracle --data data/fishbowl --out
    runs/oracle
    """
    typer.echo(train_unet([Path(store) for store in run.data], run.out, model, training))


if __name__ == "__main__":
    app()
