"""Train SaVos on stored clips, self-supervised.

    python -m training.train --data data/fishbowl data/street --out runs/small --steps 20000
    python -m training.train --data data/fishbowl --out runs/try --steps 20      # dry run

The weights with the lowest self-supervised loss on held-out clips are kept (never chosen by truth).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from savos_model.config import ModelConfig
from savos_model.losses import LossConfig, Losses, Targets, savos_losses, total_loss
from savos_model.network import SavosNet
from savos_model.settings import check_settings, setting
from savos_model.weights import Weights, save_weights
from training.augment import AugmentConfig, Window, make_input
from training.constraints import PARTS, constrain
from training.data.store import Clip, open_store
from training.start import start_arrays
from training.windows import Place, StoredWindows, gather, list_places, random_batches


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    steps: int = setting(20000, "optimiser steps", minimum=1)
    batch: int = setting(16, "windows per step", minimum=1)
    length: int = setting(8, "frames per window", minimum=2)
    learning_rate: float = setting(1e-3, "peak learning rate of Adam", minimum=0.0, maximum=1.0)
    warmup: int = setting(200, "steps of linear warm-up", minimum=0)
    ema: float = setting(0.999, "decay of the averaged weights", minimum=0.0, maximum=1.0)
    without: str = setting("", "part of the network that is switched off", choices=("", *PARTS))
    min_px: int = setting(200, "smallest visible area of a window [px]", minimum=1)
    held_out: int = setting(12, "every n-th clip validates", minimum=2)
    validate_every: int = setting(500, "steps between validations", minimum=1)
    seed: int = setting(0, "seed of everything", minimum=0)
    # One thread: under load two OpenMP threads spend their time waiting for each other.
    threads: int = setting(1, "CPU threads of the network", minimum=1)
    bf16: bool = setting(True, "bfloat16 convolutions")

    def __post_init__(self) -> None:
        check_settings(self)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to a hundredth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def make_targets(
    window: Window, model: ModelConfig, config: TrainConfig, augment: AugmentConfig, seed: int
) -> Targets:
    """Network input and targets of one batch, random by `seed` only."""
    if config.without == "flow":
        still = torch.zeros_like(window.flow)
        window = window._replace(flow=still, flow_back=still)
    return make_input(window, model, augment, torch.Generator().manual_seed(seed))


def average_into(average: dict[str, Tensor], net: SavosNet, decay: float) -> None:
    """Exponential moving average of the weights, in place."""
    for name, value in net.state_dict().items():
        average[name].lerp_(value, 1 - decay)


@torch.no_grad()
def validate(
    net: SavosNet,
    clips: list[Clip],
    places: list[Place],
    config: TrainConfig,
    augment: AugmentConfig,
    loss: LossConfig,
) -> Losses:
    """Mean losses over fixed held-out windows with fixed occluders."""
    rng = np.random.default_rng(12345)
    parts = []
    for i in range(0, len(places), config.batch):
        some = places[i : i + config.batch]
        if len(some) < 2:
            break
        window = gather(clips, some, config.length, rng.random(len(some)) < 0.5)
        targets = make_targets(window, net.config, config, augment, i)
        parts.append(torch.stack(list(savos_losses(net, targets, loss, bf16=config.bf16))))
    return Losses(*torch.stack(parts).mean(0))


def split_clips(stores: list[Path], every: int) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and clips to validate on: every n-th of each store."""
    train, held = [], []
    for store in stores:
        for i, clip in enumerate(open_store(store)):
            (held if i % every == 0 else train).append(clip)
    return train, held


def validation_places(held: list[Clip], config: TrainConfig) -> list[Place]:
    """At most 256 windows of the held-out clips, the same in every run."""
    places = list_places(held, config.length, config.min_px)
    return [places[i] for i in np.random.default_rng(7).permutation(len(places))[:256]]


def report(entry: dict[str, float], log: Path) -> None:
    """Print the figures of one validation and append them to the log, one JSON object a line."""
    print(json.dumps({k: round(v, 5) for k, v in entry.items()}), flush=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def describe(
    step: int, value: float, config: TrainConfig, augment: AugmentConfig, loss: LossConfig
) -> dict[str, str]:
    """What is stored beside weights of one step and validation loss."""
    return {
        "step": str(step),
        "validation_loss": f"{value:.6f}",
        "seed": str(config.seed),
        "enlarge": str(augment.enlarge),
        "train": json.dumps(dataclasses.asdict(config)),
        "loss": json.dumps(dataclasses.asdict(loss)),
    }


def train(
    stores: list[Path],
    out: Path,
    model: ModelConfig,
    config: TrainConfig,
    augment: AugmentConfig,
    loss: LossConfig,
    name: str = "trained",
    start: str | None = None,
) -> Path:
    """Run the loop; returns the path of the best weights (float16 safetensors)."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    clips, held = split_clips(stores, config.held_out)
    places = list_places(clips, config.length, config.min_px)
    held_places = validation_places(held, config)
    if not places or not held_places:
        raise ValueError(
            f"no windows of {config.length} frames in {stores}: prepare the data first"
        )
    print(f"{len(places)} windows of {len(clips)} clips; {len(held_places)} validation windows")

    net = SavosNet(model)
    if start:
        net.load_state_dict({k: torch.from_numpy(v) for k, v in start_arrays(start, model).items()})
    net = net.to(memory_format=torch.channels_last)
    constrain(net, config.without)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    averaged = SavosNet(model).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    best, best_path = math.inf, out / "best.safetensors"
    began = time.monotonic()

    def make(window: Window, step: int) -> Targets:
        return make_targets(window, model, config, augment, config.seed * 1_000_003 + step)

    steps = range(config.steps)
    source = StoredWindows(clips, places, config.length)
    batches = random_batches(source, config.batch, config.seed, steps, make)
    for step, targets in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        losses = savos_losses(net, targets, loss, bf16=config.bf16)
        total = total_loss(losses, loss)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        constrain(net, config.without)
        average_into(average, net, min(config.ema, (step + 1) / (step + 10)))

        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            averaged.load_state_dict(average)
            checked = validate(averaged, held, held_places, config, augment, loss)
            value = float(total_loss(checked, loss))
            rate = (step + 1) * config.batch * config.length / (time.monotonic() - began)
            entry = {"step": step + 1, "train": total.item(), "val": value}
            entry |= {
                "object_frames_per_s": rate,
                **{k: float(v) for k, v in checked._asdict().items()},
            }
            report(entry, out / "log.jsonl")
            if value < best:
                best = value
                arrays = {k: v.contiguous().numpy() for k, v in average.items()}
                info = describe(step + 1, value, config, augment, loss)
                save_weights(best_path, Weights(name, model, arrays, info))
    return best_path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", nargs="+", type=Path, required=True, help="stores made by the prepare commands"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="trained")
    parser.add_argument("--start", help="weights to go on from")
    groups = (ModelConfig, TrainConfig, AugmentConfig, LossConfig)
    for group in groups:
        for field in dataclasses.fields(group):
            kind = type(field.default)
            convert = (lambda s: s.lower() in ("1", "true", "yes")) if kind is bool else kind
            parser.add_argument(
                "--" + field.name.replace("_", "-"),
                type=convert,
                default=field.default,
                help=field.metadata["text"],
            )
    options = vars(parser.parse_args())
    configs = [g(**{f.name: options[f.name] for f in dataclasses.fields(g)}) for g in groups]
    print(
        train(
            options["data"], options["out"], *configs, name=options["name"], start=options["start"]
        )
    )


if __name__ == "__main__":
    main()
