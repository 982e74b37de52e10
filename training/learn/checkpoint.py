"""The file from which an interrupted training run continues.

One safetensors file: tensors as they are, everything else as JSON in its header. Unlike torch.save
no pickle is involved, even with weights_only, and names and shapes are checked before memory is
taken; being one file, it is replaced in one step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from savos_model.files import FileError, atomic
from savos_model.settings import SettingError
from training.learn.schedule import settle

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps of a parameter


class CheckpointError(FileError):
    """A run cannot continue from this file; the text says why and what to do."""


class Learner(NamedTuple):
    """State that changes while training: network, averaged weights by name, and the optimiser."""

    net: nn.Module
    average: dict[str, Tensor]
    optimiser: torch.optim.Adam


@torch.no_grad()
def average_into(average: dict[str, Tensor], net: nn.Module, decay: float) -> None:
    """Update an exponential moving average of the weights, in place and in one call."""
    state = net.state_dict()
    torch._foreach_lerp_([average[name] for name in state], list(state.values()), 1 - decay)


class Reached(NamedTuple):
    """How far a run is: steps done, and the lowest validation loss so far (inf: none yet)."""

    step: int
    best: float


def save_checkpoint(
    path: Path, learner: Learner, reached: Reached, settings: dict[str, Any]
) -> None:
    """Write a checkpoint to a temporary file next to `path`, then rename it.

    Args:
        path: target file.
        learner: what is stored.
        reached: stored with it.
        settings: JSON values by group and field, compared when the run continues.
    """
    tensors = {f"net/{name}": value for name, value in learner.net.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in learner.average.items()}
    for name, parameter in learner.net.named_parameters():
        # A parameter that no loss reaches has no moments.
        for key, value in learner.optimiser.state.get(parameter, {}).items():
            tensors[f"adam/{key}/{name}"] = value
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    metadata = {"reached": json.dumps(reached._asdict()), "settings": json.dumps(settings)}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_checkpoint(path: Path, learner: Learner, settings: dict[str, Any]) -> Reached:
    """Put a checkpoint's values into the learner, bit by bit as they were.

    Raises:
        CheckpointError: unreadable, of another network, or begun with other settings.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            reached = Reached(**json.loads(metadata["reached"]))
            begun = settle(json.loads(metadata["settings"]), settings, reached.step)
            check_same(begun, settings, path)
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            check_shapes(shapes, learner, path)
            with torch.no_grad():
                restore(learner, {key: file.get_tensor(key) for key in shapes})
    except (
        SafetensorError,
        OSError,
        KeyError,
        TypeError,
        SettingError,
        json.JSONDecodeError,
    ) as error:
        raise CheckpointError(
            f"resume: cannot continue from {path}: {error!r}. Begin again with another --out",
            "unreadable",
        ) from error
    return reached


def restore(learner: Learner, tensors: dict[str, Tensor]) -> None:
    """Copy values into the tensors that live, whose memory layout stays.

    Adam's moments get the layout of their parameters: another one could round otherwise.
    """
    learner.net.load_state_dict(
        {key.removeprefix("net/"): v for key, v in tensors.items() if key.startswith("net/")}
    )
    for name, value in learner.average.items():
        value.copy_(tensors[f"average/{name}"])
    for name, parameter in learner.net.named_parameters():
        if f"adam/step/{name}" in tensors:
            step, *moments = (tensors[f"adam/{key}/{name}"] for key in MOMENTS)
            learner.optimiser.state[parameter] = {"step": step} | {
                key: torch.empty_like(parameter).copy_(value)
                for key, value in zip(MOMENTS[1:], moments, strict=True)
            }


def check_shapes(shapes: dict[str, tuple[int, ...]], learner: Learner, path: Path) -> None:
    """Refuse tensors that do not fit the network, before any is read."""
    parameters = {name: tuple(p.shape) for name, p in learner.net.state_dict().items()}
    needed = {f"{kind}/{n}": s for kind in ("net", "average") for n, s in parameters.items()}
    trained = [n for n in parameters if f"adam/step/{n}" in shapes]
    for name in trained:
        needed |= {f"adam/{key}/{name}": parameters[name] for key in MOMENTS}
        needed[f"adam/step/{name}"] = ()
    for key in sorted(needed.keys() | shapes.keys()):
        if needed.get(key) != shapes.get(key):
            raise CheckpointError(
                f"resume: {path}: {key} must have shape {needed.get(key)}, got {shapes.get(key)}: "
                "the file is of another network; begin again with another --out",
                "shape",
            )


def check_same(begun: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Refuse to continue with settings that differ from those a run was begun with."""
    for group in sorted(begun.keys() | now.keys()):
        old, new = begun.get(group, {}), now.get(group, {})
        for field in sorted(old.keys() | new.keys()):
            if old.get(field) != new.get(field):
                raise CheckpointError(
                    f"resume: {group}.{field} was {old.get(field)!r} when {path} was begun and is "
                    f"{new.get(field)!r} now: give the same, or begin again with another --out",
                    "settings",
                )
