"""Random numbers of a batch of windows."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return uniform numbers in [0, 1)."""
    return torch.rand(shape, generator=generator)


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return uniform numbers in [low, high)."""
    return draw(shape, generator) * (high - low) + low


def choose(batch: int, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose about a share of the rows of a batch, so that nothing is computed for the others.

    Returns:
        int64 [K], different rows in random order, K = the share rounded up; and bool [K], which of
        them count, so that each row does with probability `share`.
    """
    rows = draw((batch,), generator).argsort()[: math.ceil(round(share * batch, 6))]
    return rows, draw((len(rows),), generator) * len(rows) < share * batch


def smooth_noise(
    shape: tuple[int, ...],
    size: tuple[int, int],
    cells: tuple[int, int],
    generator: torch.Generator,
) -> Tensor:
    """Return noise in [0, 1) that varies over size / cells pixels: float [*shape, *size]."""
    coarse = draw((math.prod(shape), 1, *cells), generator)
    fine = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return fine.reshape(*shape, *size)
