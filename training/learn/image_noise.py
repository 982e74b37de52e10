"""Colours as cameras give them: tinted, missing, of low resolution, blurred, compressed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.learn.augment_config import AugmentConfig
from training.learn.draws import choose, draw, uniform

LONGEST = 7  # pixels of a motion blur
BLOCK = 8  # rows and columns of a compressed block


def vary_colours(rgb: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Vary colours, float [B, T, 3, h, w] in [0, 1]."""
    for share, change in (
        (config.low_resolution, coarse),
        (config.motion_blur, blurred),
        (config.compression, quantised),
    ):
        if share:
            rows, used = choose(len(rgb), share, generator)
            part = rgb[rows]
            changed = change(part.flatten(0, 1), part.shape[:2], generator).unflatten(
                0, part.shape[:2]
            )
            rgb = rgb.index_copy(0, rows, torch.where(used.reshape(-1, 1, 1, 1, 1), changed, part))
    return tinted(rgb, config, generator)


def tinted(rgb: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Random gain, offset and missing image per window: [B, T, 3, H, W]."""
    if not config.colour and not config.no_colour:
        return rgb
    batch = rgb.shape[0]
    gain = uniform((batch, 1, 3, 1, 1), 1 - config.colour, 1 + config.colour, generator)
    offset = uniform((batch, 1, 1, 1, 1), -config.colour / 3, config.colour / 3, generator)
    keep = (draw((batch, 1, 1, 1, 1), generator) >= config.no_colour).float()
    return torch.addcmul(offset, rgb, gain).clamp_(0, 1).mul_(keep)


def coarse(rgb: Tensor, split: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Replace pixels, float [K*T, 3, h, w], by those of half or a quarter of the resolution."""
    half, quarter = (
        F.interpolate(
            F.avg_pool2d(rgb, factor), rgb.shape[-2:], mode="bilinear", align_corners=False
        )
        for factor in (2, 4)
    )
    return torch.where(per_window(split, generator) < 0.5, half, quarter)


def blurred(rgb: Tensor, split: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Average along rows or columns over 2 to LONGEST pixels, as a moving camera does."""
    length = 2 + per_window(split, generator) * (LONGEST - 2)
    along = []
    for dim in (-1, -2):
        before = LONGEST // 2
        padded = F.pad(
            rgb, (before, before, 0, 0) if dim == -1 else (0, 0, before, before), "replicate"
        )
        total = torch.zeros_like(rgb)
        for k in range(LONGEST):
            share = (length / 2 - abs(k - before) + 0.5).clamp(0, 1)
            total = torch.addcmul(total, padded.narrow(dim, k, rgb.shape[dim]), share / length)
        along.append(total)
    return torch.where(per_window(split, generator) < 0.7, *along)


def quantised(rgb: Tensor, split: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Keep blocks' means and round what pixels differ from them, to steps of 0.03 to 0.15."""
    step = 0.03 + 0.12 * per_window(split, generator)
    mean = F.interpolate(F.avg_pool2d(rgb, BLOCK), scale_factor=BLOCK, mode="nearest")
    return mean + ((rgb - mean) / step).round() * step


def per_window(split: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw a number in [0, 1) for each window and repeat it for its frames: [K*T, 1, 1, 1]."""
    windows, frames = split
    return draw((windows, 1), generator).expand(-1, frames).reshape(-1, 1, 1, 1)
