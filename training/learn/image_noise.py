"""Colours as cameras give them: tinted, missing, of low resolution, blurred, compressed."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.learn.augment_config import AugmentConfig
from training.learn.draws import choose, draw, uniform

LONGEST = 7  # pixels of a motion blur
BLOCK = 8  # rows and columns of a compressed block


def vary_colours(rgb: Tensor, config: AugmentConfig, generator: torch.Generator) -> None:
    """Vary colours, float [B, T, 3, h, w] in [0, 1], in place."""
    for share, change in (
        (config.low_resolution, coarse),
        (config.motion_blur, blurred),
        (config.compression, quantised),
    ):
        if share:
            rows, used = choose(len(rgb), share, generator)
            draws = draw((len(rows), 2), generator)
            for row, (kind, amount) in zip(rows[used].tolist(), draws[used].tolist(), strict=True):
                rgb[row] = change(rgb[row], kind, amount)
    tint(rgb, config, generator)


def tint(rgb: Tensor, config: AugmentConfig, generator: torch.Generator) -> None:
    """Give each window a random gain and offset, or no image, in place: [B, T, 3, H, W]."""
    if not config.colour and not config.no_colour:
        return
    batch = rgb.shape[0]
    gain = uniform((batch, 3, 1, 1), 1 - config.colour, 1 + config.colour, generator)
    offset = uniform((batch, 1, 1, 1), -config.colour / 3, config.colour / 3, generator)
    kept = (draw((batch,), generator) >= config.no_colour).tolist()
    for window, keep, slope, start in zip(rgb, kept, gain, offset, strict=True):
        if keep:
            torch.addcmul(start, window, slope, out=window).clamp_(0, 1)
        else:
            window.zero_()


def coarse(rgb: Tensor, kind: float, amount: float) -> Tensor:
    """Replace pixels, float [T, 3, h, w], by those of half or a quarter of the resolution."""
    del amount
    rows, columns = rgb.shape[-2:]
    factor, moved = 2 if kind < 0.5 else 4, np.empty(rgb.shape, np.float32)
    for at in np.ndindex(rgb.shape[:2]):
        size = (columns // factor, rows // factor)
        fewer = cv2.resize(rgb[at].numpy(), size, interpolation=cv2.INTER_AREA)
        moved[at] = cv2.resize(fewer, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(moved)


def blurred(rgb: Tensor, kind: float, amount: float) -> Tensor:
    """Average along rows or columns over 2 to LONGEST pixels, as a moving camera does."""
    length = 2 + amount * (LONGEST - 2)
    place = np.abs(np.arange(LONGEST) - LONGEST // 2)
    share = np.clip(length / 2 - place + 0.5, 0, 1) / length
    kernel = share[None] if kind < 0.7 else share[:, None]
    planes = rgb.flatten(0, 1).numpy()
    moved = [cv2.filter2D(p, -1, kernel, borderType=cv2.BORDER_REPLICATE) for p in planes]
    return torch.from_numpy(np.stack(moved)).view_as(rgb)


def quantised(rgb: Tensor, kind: float, amount: float) -> Tensor:
    """Keep blocks' means and round what pixels differ from them, to steps of 0.03 to 0.15."""
    del kind
    step = 0.03 + 0.12 * amount
    mean = F.interpolate(F.avg_pool2d(rgb, BLOCK), scale_factor=BLOCK, mode="nearest")
    return rgb.sub(mean).div_(step).round_().mul_(step).add_(mean)
