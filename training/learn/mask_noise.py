"""Input masks as trackers give them: shrunk, grown, ragged, with holes, cut in two."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.learn.augment_config import AugmentConfig
from training.learn.draws import choose, draw, smooth_noise, uniform

REACH = 8  # most cells that a mask is shrunk or grown by
STEADY = 0.75  # share of that amount that all frames of a window have in common
# An amount of 0..8 cells is made of these steps, as its bits say, so that no gaps are left; 5 as 6.
STEPS = (1, 1, 2, 4)
BITS = (0b0000, 0b0001, 0b0011, 0b0101, 0b0111, 0b1011, 0b1011, 0b1101, 0b1111)
BLOB = 8  # cells over which holes and ragged outlines vary
HOLE = 0.75  # noise above this is a hole


def inexact(
    masks: list[Tensor], scale: Tensor, config: AugmentConfig, generator: torch.Generator
) -> list[Tensor]:
    """Shrink or grow the masks of some windows, each of them by its own amount.

    Args:
        masks: float [B, T, h, w] in [0, 1] each.
        scale: float [B, T, 2], image pixels per patch pixel (x, y).
        config: how much.
        generator: lives where the masks do.
    """
    if not config.mask_noise or not config.noise_px:
        return masks
    rows, used = choose(len(scale), config.mask_noise, generator)
    changed = []
    for mask in masks:
        amount = draw_amount(scale[rows], config.noise_px, generator) * used[:, None, None]
        part = to_bytes(mask[rows])
        moved = shift_outline(part, amount)
        cells = tuple(math.ceil(n / BLOB) for n in mask.shape[-2:])
        ragged = draw((len(rows), 1, 1, 1), generator) < config.ragged
        kept = smooth_noise((len(rows), 1), mask.shape[-2:], cells, generator) < 0.5
        part = torch.where(ragged & kept, part, moved)
        changed.append(mask.index_copy(0, rows, part.float() / 255))
    return changed


def draw_amount(scale: Tensor, most_px: float, generator: torch.Generator) -> Tensor:
    """Draw by how many patch pixels outlines move out (x, y): int64 [K, T, 2], below 0 inwards."""
    windows, frames = scale.shape[:2]
    common = uniform((windows, 1, 1), -STEADY, STEADY, generator)
    own = uniform((windows, frames, 1), STEADY - 1, 1 - STEADY, generator)
    cells = (common + own) * most_px / scale
    return (cells + draw(cells.shape, generator)).floor().clamp(-REACH, REACH).long()


def shift_outline(mask: Tensor, amount: Tensor) -> Tensor:
    """Grow masks, uint8 [K, T, h, w], by int64 [K, T, 2] pixels (x, y); shrink them below 0."""
    bits = torch.tensor(BITS, dtype=torch.uint8, device=mask.device)[amount.abs()]
    flips = (amount < 0).to(torch.uint8) * 255
    for axis, dim in ((0, -1), (1, -2)):
        mask = mask ^ flips[..., axis, None, None]  # to shrink a mask is to grow what is not of it
        for place, step in enumerate(STEPS):
            now = (bits[..., axis, None, None] >> place & 1) * 255
            mask = mask ^ ((spread(mask, step, dim) ^ mask) & now)  # as `where`, but by bytes
        mask = mask ^ flips[..., axis, None, None]
    return mask


def spread(mask: Tensor, step: int, dim: int) -> Tensor:
    """Return the maximum of each pixel and those `step` before and behind it along an axis.

    For a few steps it takes a tenth of the time that max_pool2d does.
    """
    length = mask.shape[dim] - step
    grown = mask.clone()
    for here, there in ((0, step), (step, 0)):
        part = grown.narrow(dim, here, length)
        torch.maximum(part, mask.narrow(dim, there, length), out=part)
    return grown


def broken(mask: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Cut holes and stripes out of some windows' masks, float [B, T, h, w]."""
    size = mask.shape[-2:]
    if config.holes:
        rows, used = choose(len(mask), config.holes, generator)
        cells = tuple(math.ceil(2 * n / BLOB) for n in size)
        hole = smooth_noise((len(rows), 1), size, cells, generator) > HOLE
        mask = mask.index_copy(0, rows, mask[rows] * ~(hole & used[:, None, None, None]))
    if config.split:
        rows, used = choose(len(mask), config.split, generator)
        gone = stripe(len(rows), size, generator)[:, None] & used[:, None, None, None]
        mask = mask.index_copy(0, rows, mask[rows] * ~gone)
    return mask


def stripe(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw a stripe through the middle part of each patch: bool [count, h, w]."""
    angle, place, width = (
        uniform((count, 1, 1), *limits, generator)
        for limits in ((0.0, math.pi), (-0.3, 0.3), (0.02, 0.08))
    )
    y, x = (
        torch.linspace(-1, 1, n, device=generator.device).reshape(shape)
        for n, shape in zip(size, ((-1, 1), (1, -1)), strict=True)
    )
    return (angle.cos() * x + angle.sin() * y - place).abs() < width


def to_bytes(mask: Tensor) -> Tensor:
    """Shares in [0, 1] as bytes: minima and maxima of these cost a fraction of those of floats."""
    return (mask * 255 + 0.5).to(torch.uint8)
