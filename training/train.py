"""Train SaVos, self-supervised: from one CPU to many GPUs on many machines.

    savos train --config config/training/fishbowl.yaml --out runs/fishbowl
    savos train --config config/training/fishbowl.yaml --out runs/fishbowl --resume
    savos train --data data/fishbowl data/street --out runs/try --steps 20        # dry run
    torchrun --nproc-per-node 8 -m training.train --config ... --out runs/fishbowl
    torchrun --nproc-per-node 8 --nnodes 2 --rdzv-backend c10d --rdzv-endpoint HOST:29500
             -m training.train --config ... --out FOLDER_THAT_ALL_SEE    # one line, on each machine

The weights with the lowest self-supervised loss on held-out clips are kept (never chosen by truth).
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import json
import math
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from savos_model.network.losses import LossConfig, Losses, Targets, savos_losses, total_loss
from savos_model.network.presets import Net, make_net
from savos_model.network.weights import Weights, save_weights
from savos_model.settings import SettingError
from training.learn.augment import Window, make_input
from training.learn.checkpoint import (
    Learner,
    Reached,
    average_into,
    load_checkpoint,
    save_checkpoint,
)
from training.learn.config import RunConfig, TrainConfig, add_flags, make_run, write_run
from training.learn.constraints import constrain
from training.learn.data import RunData, open_data
from training.learn.distributed import Ranks, has_bf16, joined, share, summed
from training.learn.log import LOG, RunLog
from training.learn.pictures import contact_sheet
from training.learn.schedule import learning_rate
from training.learn.stages import Stage, stage_at
from training.learn.start import start_arrays
from training.learn.windows import ahead

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


def make_targets(window: Window, run: RunConfig, seed: int, *, both: bool = True) -> Targets:
    """Network input and targets of windows, random by `seed` only; `both` as make_input."""
    if run.train.without == "flow":
        still = torch.zeros_like(window.flow)
        window = window._replace(flow=still, flow_back=still)
    generator = torch.Generator().manual_seed(seed)
    return make_input(window, run.model, run.augment, generator, both=both)


def make_batch(step: int, run: RunConfig, data: RunData, ranks: Ranks) -> Targets:
    """Make this process's part of the batch of one step.

    The batch is made in groups, random by seed, step and their own number alone; pasting pairs
    windows of one group. So all processes together learn from what one alone would, and none reads
    or augments the windows of another, as drawing the whole batch in each of them would need.
    """
    config, groups = run.train, []
    stage = stage_at(config.plan, step, config.steps)
    both = stage_loss(stage, run.loss).both_directions
    for number in share(stage.batch // config.group, ranks):
        rng = np.random.default_rng((config.seed, step, number))
        window = data.sources[stage.length].draw(config.group, rng)
        groups.append(make_targets(window, run, int(rng.integers(2**63)), both=both))
    parts = zip(*groups, strict=True)
    batch = Targets(*(None if part[0] is None else torch.cat(part) for part in parts))
    return batch.to(ranks.device)


class Objective(nn.Module):
    """The losses as a module, whose backward pass DDP completes with the mean over processes."""

    def __init__(self, net: Net, bf16: bool) -> None:
        super().__init__()
        self.net, self.bf16 = net, bf16

    def forward(self, targets: Targets, config: LossConfig) -> Losses:
        """Mean losses of windows."""
        return savos_losses(self.net, targets, config, bf16=self.bf16)


def stage_loss(stage: Stage, config: LossConfig) -> LossConfig:
    """Return the settings of the loss in a stage of the run."""
    if stage.both is None:
        return config
    return dataclasses.replace(config, both_directions=stage.both)


def figures(losses: Losses, config: LossConfig) -> dict[str, float]:
    """Losses by name, `loss` their weighted sum; raises ValueError when that is not finite."""
    named = {"loss": total_loss(losses, config), **losses._asdict()}
    named = {name: float(value) for name, value in named.items()}
    if not math.isfinite(named["loss"]):
        raise ValueError(f"loss must be finite, got {named}: lower --learning-rate, or --bf16 no")
    return named


@torch.no_grad()
def validate(net: Net, run: RunConfig, data: RunData, ranks: Ranks) -> dict[str, float]:
    """Mean losses over the fixed held-out windows with fixed occluders, shared by all processes."""
    sums = torch.zeros(len(Losses._fields) + 1, device=ranks.device)
    for number in share(data.held_groups, ranks):
        targets = make_targets(data.held(number), run, number).to(ranks.device)
        bf16 = run.train.bf16 and has_bf16(ranks.device)
        losses = savos_losses(net, targets, run.loss, bf16=bf16)
        sums += len(targets.boxes) * torch.stack([*losses, torch.ones_like(losses.mask)])
    *losses, count = summed(sums, ranks)
    return figures(Losses(*(loss / count for loss in losses)), run.loss)


def new_learner(run: RunConfig, device: torch.device) -> Learner:
    """Network, averaged weights and optimiser at the start of a run; raises WeightsError."""
    torch.manual_seed(run.train.seed)
    net = make_net(run.model)
    if run.train.start:
        arrays = start_arrays(run.train.start, run.model)
        net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    net = net.to(device, memory_format=torch.channels_last)
    constrain(net, run.train.without)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), lr=run.train.learning_rate, fused=True)
    return Learner(net, average, optimiser)


def begin(out: Path, resume: bool, learner: Learner, settings: dict) -> Reached:
    """Continue from the checkpoint in `out` if `resume` is set; never overwrite another run."""
    path = out / CHECKPOINT
    if resume and path.exists():
        return load_checkpoint(path, learner, settings)
    if not resume and (path.exists() or (out / LOG).exists()):
        raise ValueError(f"--out must be new, {out} holds a run: add --resume, or give another")
    return Reached(0, math.inf)


def check_share(config: TrainConfig, ranks: Ranks) -> None:
    """Refuse a batch that the processes cannot share out evenly."""
    for stage in config.plan:
        if stage.batch // config.group % ranks.count:
            raise SettingError(
                f"batch must be a multiple of group times processes ({config.group} x "
                f"{ranks.count}), got {stage.batch}: change --batch, --stages, --group or the "
                "number of processes"
            )


def save_best(path: Path, run: RunConfig, average: dict[str, Tensor], reached: Reached) -> None:
    """Write averaged weights (float16 safetensors) with what they come from."""
    info = {
        "step": str(reached.step),
        "validation_loss": f"{reached.best:.6f}",
        "seed": str(run.train.seed),
        "enlarge": str(run.augment.enlarge),
        "settings": json.dumps(run.learnt_from()),
    }
    arrays = {name: value.cpu().numpy() for name, value in average.items()}
    save_weights(path, Weights(run.train.name, run.model, arrays, info))


def mean_losses(losses: Losses, ranks: Ranks) -> Losses:
    """Losses of a step over all processes."""
    return Losses(*summed(torch.stack(list(losses)).detach(), ranks) / ranks.count)


def update(
    objective: nn.Module,
    targets: Targets,
    learner: Learner,
    loss: LossConfig,
    run: RunConfig,
    step: int,
) -> tuple[Losses, dict[str, float | Tensor]]:
    """Take step number `step` of a run; returns its losses, learning rate and gradient norm."""
    config, (net, average, optimiser) = run.train, learner
    rate = learning_rate(step, config)
    for group in optimiser.param_groups:
        group["lr"] = rate
    losses = objective(targets, loss)
    optimiser.zero_grad(set_to_none=True)
    total_loss(losses, loss).backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    constrain(net, config.without)
    done = step + 1
    average_into(average, net, min(config.ema, done / (done + 9)))
    return losses, {"learning_rate": rate, "grad_norm": norm}


def is_due(done: int, every: int, steps: int) -> bool:
    """Return whether `done` is a multiple of `every`, or the last step."""
    return done % every == 0 or done == steps


class Setup(NamedTuple):
    """Initial state of a run; `settings` are those that its checkpoints carry."""

    data: RunData
    learner: Learner
    settings: dict[str, dict[str, Any]]
    reached: Reached


def set_up(run: RunConfig, out: Path, resume: bool, ranks: Ranks) -> Setup:
    """Open the data, build the network and continue where the run was; errors as `train`."""
    torch.set_num_threads(run.machine.threads)
    cv2.setNumThreads(run.machine.threads)
    check_share(run.train, ranks)
    data = open_data(run)
    settings = run.learnt_from()
    settings["data"]["windows"] = data.windows  # a store that grew gives other batches
    settings["machine"] = {"device": ranks.device.type}  # as MachineConfig says
    learner = new_learner(run, ranks.device)
    reached = begin(out, resume, learner, settings)
    if ranks.first:
        out.mkdir(parents=True, exist_ok=True)
        write_run(out / "run.yaml", run)
    return Setup(data, learner, settings, reached)


def train(run: RunConfig, out: Path, *, resume: bool = False) -> Path:
    """Train as a run's settings say; returns the path of the best weights (float16 safetensors).

    Args:
        run: all settings.
        out: folder of the run, seen by all machines.
        resume: continue from the checkpoint in `out`, where there is one.

    Raises:
        ValueError: settings do not fit each other, the data, the processes or the checkpoint.
    """
    config, machine = run.train, run.machine
    with joined(machine.device) as ranks:
        data, learner, settings, (begun, best) = set_up(run, out, resume, ranks)
        net, average, _ = learner
        bf16 = config.bf16 and has_bf16(ranks.device)
        averaged, objective = copy.deepcopy(net), Objective(net, bf16)
        fixed = make_targets(data.held(0), run, 0).to(ranks.device)  # shown in pictures
        if ranks.count > 1:
            objective = DistributedDataParallel(objective)
        steps, plan = range(begun, config.steps), config.plan
        make = functools.partial(make_batch, run=run, data=data, ranks=ranks)
        batches = ahead(make, steps, machine.workers, ranks.device)
        with RunLog(out, run, begun, speaks=ranks.first) as log, closing(batches):
            log.say(f"{data.text}; {ranks.count} x {ranks.device.type}, {len(steps)} steps to go")
            for done, targets in enumerate(batches, begun + 1):
                stage = stage_at(plan, done - 1, config.steps)
                loss = stage_loss(stage, run.loss)
                losses, steered = update(objective, targets, learner, loss, run, done - 1)
                log.stepped(done, stage.batch * stage.length)
                validates = is_due(done, config.validate_every, config.steps)
                if validates or is_due(done, machine.log_every, config.steps):
                    now = figures(mean_losses(losses, ranks), loss)
                    log.figures(now | {name: float(value) for name, value in steered.items()})
                if validates:
                    averaged.load_state_dict(average)
                    value = validate(averaged, run, data, ranks)
                    log.validated(now["loss"], value, lambda: contact_sheet(averaged, fixed))
                    if value["loss"] < best and ranks.first:
                        save_best(out / BEST, run, average, Reached(done, value["loss"]))
                    best = min(best, value["loss"])
                if is_due(done, machine.checkpoint_every, config.steps) and ranks.first:
                    save_checkpoint(out / CHECKPOINT, learner, Reached(done, best), settings)
    return out / BEST


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        usage="savos train [--config FILE] --out FOLDER [--resume] [--SETTING VALUE ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # a flag that is not given overrides nothing
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=Path, default=None, help="YAML file of settings; flags override it"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", default=False, help="continue from --out")
    add_flags(parser)
    flags = vars(parser.parse_args(arguments))
    config, out, resume = (flags.pop(name) for name in ("config", "out", "resume"))
    try:
        best = train(make_run(config, flags), out, resume=resume)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped: continue with --out {out} --resume", file=sys.stderr)
        return 130
    if int(os.environ.get("RANK", "0")) == 0:
        print(best)
    return 0


if __name__ == "__main__":
    sys.exit(main())
