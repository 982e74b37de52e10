"""The processes of one training run, as torchrun started them; one process alone without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from savos_model.settings import SettingError

NATIVE_BF16 = ("amx_bf16", "avx512_bf16", "arm_bf16", "sve_bf16", "bf16")


class Ranks(NamedTuple):
    """This process among `count`: its number, and the device that it computes on."""

    index: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """True in the process that writes files and speaks."""
        return self.index == 0


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started (gloo on CPUs, NCCL on GPUs), and leave at the end.

    Args:
        device: auto, cpu or cuda; cuda takes one GPU per process of a machine.

    Raises:
        ValueError: a GPU is asked for that is not here.
    """
    chosen = choose_device(device)
    if "RANK" not in os.environ:
        yield Ranks(0, 1, chosen)
        return
    on_gpu = chosen.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if on_gpu else "gloo", device_id=chosen if on_gpu else None)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """Return the device of this process for auto, cpu or cuda; ValueError if it is missing."""
    found = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and not found):
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= found:
        raise SettingError(
            f"device must have a GPU for every process of this machine, got {name} with {found} "
            f"GPUs for process {number}: start at most {found} processes, or give --device cpu"
        )
    return torch.device("cuda", number)


def has_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 itself; a CPU without it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in NATIVE_BF16)


def share(parts: int, ranks: Ranks) -> range:
    """Numbers of the parts that this process takes of `parts` equal ones."""
    return range(ranks.index, parts, ranks.count)


def summed(values: Tensor, ranks: Ranks) -> Tensor:
    """Sum of a tensor over all processes, in place; the same in each of them."""
    if ranks.count > 1:
        dist.all_reduce(values)
    return values
