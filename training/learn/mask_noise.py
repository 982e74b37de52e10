"""Input masks as trackers give them: shrunk, grown, ragged, with holes, cut in two."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from training.learn.augment_config import AugmentConfig
from training.learn.draws import choose, draw, smooth_noise, uniform
from training.learn.pixels import WHOLE

REACH = 8  # most cells that a mask is shrunk or grown by
STEADY = 0.75  # share of that amount that all frames of a window have in common
BLOB = 8  # cells over which holes and ragged outlines vary
HOLE = 0.75  # noise above this is a hole


def make_inexact(
    masks: list[np.ndarray], scale: Tensor, config: AugmentConfig, generator: torch.Generator
) -> None:
    """Shrink or grow the masks of some windows in place, each of them by its own amount.

    Args:
        masks: uint8 [B, T, h, w] each.
        scale: float [B, T, 2], image pixels per patch pixel (x, y).
        config: how much.
        generator: of the CPU.
    """
    if not config.mask_noise or not config.noise_px:
        return
    rows, used = choose(len(scale), config.mask_noise, generator)
    rows = rows[used]
    for mask in masks:
        amount = draw_amount(scale[rows], config.noise_px, generator).tolist()
        cells = tuple(math.ceil(n / BLOB) for n in mask.shape[-2:])
        ragged = draw((len(rows),), generator) < config.ragged
        kept = smooth_noise((len(rows),), mask.shape[-2:], cells, generator) < 0.5
        moved = ~(ragged[:, None, None] & kept)
        moves = moved.to(torch.uint8).mul(WHOLE).numpy()
        for row, steps, move in zip(rows.tolist(), amount, moves, strict=True):
            for frame, (x, y) in zip(mask[row], steps, strict=True):
                if x or y:
                    frame ^= (shift_outline(frame, x, y) ^ frame) & move


def draw_amount(scale: Tensor, most_px: float, generator: torch.Generator) -> Tensor:
    """Draw by how many patch pixels outlines move out (x, y): int64 [K, T, 2], below 0 inwards."""
    windows, frames = scale.shape[:2]
    common = uniform((windows, 1, 1), -STEADY, STEADY, generator)
    own = uniform((windows, frames, 1), STEADY - 1, 1 - STEADY, generator)
    cells = (common + own) * most_px / scale
    return (cells + draw(cells.shape, generator)).floor().clamp(-REACH, REACH).long()


@cache
def bar(rows: int, columns: int) -> np.ndarray:
    """Return a structuring element of so many rows and columns."""
    return np.ones((rows, columns), np.uint8)


def shift_outline(mask: np.ndarray, x: int, y: int) -> np.ndarray:
    """Grow a mask, uint8 [h, w], by pixels along both axes; shrink it below 0."""
    for shift, element in ((x, bar(1, 2 * abs(x) + 1)), (y, bar(2 * abs(y) + 1, 1))):
        if shift:
            mask = (cv2.dilate if shift > 0 else cv2.erode)(mask, element)
    return mask


def break_up(mask: np.ndarray, config: AugmentConfig, generator: torch.Generator) -> None:
    """Cut holes and stripes out of some windows' masks, uint8 [B, T, h, w], in place."""
    size = mask.shape[-2:]
    if config.holes:
        rows, used = choose(len(mask), config.holes, generator)
        cells = tuple(math.ceil(2 * n / BLOB) for n in size)
        hole = smooth_noise((len(rows),), size, cells, generator) > HOLE
        take_out(mask, rows[used], hole[used])
    if config.split:
        rows, used = choose(len(mask), config.split, generator)
        take_out(mask, rows[used], stripe(len(rows), size, generator)[used])


def take_out(mask: np.ndarray, rows: Tensor, gone: Tensor) -> None:
    """Take bool [K, h, w] out of all frames of those windows of a mask."""
    for row, part in zip(rows.tolist(), gone.numpy(), strict=True):
        mask[row] *= ~part


def stripe(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw a stripe through the middle part of each patch: bool [count, h, w]."""
    angle, place, width = (
        uniform((count, 1, 1), *limits, generator)
        for limits in ((0.0, math.pi), (-0.3, 0.3), (0.02, 0.08))
    )
    y, x = (
        torch.linspace(-1, 1, n).reshape(shape)
        for n, shape in zip(size, ((-1, 1), (1, -1)), strict=True)
    )
    return (angle.cos() * x + angle.sin() * y - place).abs() < width
