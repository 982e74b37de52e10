"""Repeat the released training loss for KINS-Video-Car with its faults; losses.py has ours.

Rows quoted below are those of docs/departures.md.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tests.model.released_geometry import SQUEEZE, Clip, Estimate, merge, warp

IOU_EPS = 1e-8


class OfficialLosses(NamedTuple):
    """L_M, L_C and their plain sum (all weights are 1, row 17)."""

    mask: Tensor
    consistency: Tensor
    total: Tensor


def mask_loss(merged: Tensor, visible: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Return L_M: W * BCE against V of the next frame, sum of pixels, mean of frames (row 15).

    Args:
        merged: float [B, T, H, W], entry t is for frame t + 1; the last two are not used.
        visible: float [B, T, H, W], V.
        weight: float [B, T, H, W], W (row 16): 0 on other objects, 1 elsewhere.
        counts: float [B, T], 1 where the frame is real, 0 where it is padding.
    """
    # Clamped in the decoder already: the released code does it twice.
    p = (1 - SQUEEZE) * merged[:, :-2] + SQUEEZE / 2
    target, counts = visible[:, 1:-1], counts[:, 1:-1]
    bce = -target * p.log() - (1 - target) * (1 - p).log()
    return ((weight[:, 1:-1] * bce).sum((-2, -1)) * counts).sum() / counts.sum()


def pass_consistency(merged: Tensor, flow: Tensor, counts: Tensor) -> Tensor:
    """Return L_C of one direction: 1 - soft IoU of each warped estimate and the next one.

    Args:
        merged: float [B, T, H, W] in the order of this pass.
        flow: float [B, T, 2, H, W] of this pass [px].
        counts: float [B, T].
    """
    # Fault (row 18a): entry t is for frame t + 1 but moves along the flow of frame t. Fault (row
    # 18d): the junk at the end takes part. Row 18b: L_C trains no motion.
    source, along = merged[:, :-1].flatten(0, 1)[:, None], flow[:, :-1].flatten(0, 1).detach()
    moved, later = warp(source, along)[:, 0].unflatten(0, merged[:, 1:].shape[:2]), merged[:, 1:]
    both = moved * later
    iou = both.sum((-2, -1)) / ((moved + later - both).sum((-2, -1)) + IOU_EPS)
    # Fault (row 18c): a running sum is summed again, so the first pair weighs T-1 times the last.
    # Fault (row 18e): divided by the number of objects, not of pairs.
    return ((1 - iou) * counts[:, 1:]).cumsum(1).sum() / len(merged)


def official_loss(
    forward: Estimate, backward: Estimate, clip: Clip, weight: Tensor, counts: Tensor | None = None
) -> OfficialLosses:
    """Compute the released loss of KINS-Video-Car.

    Args:
        forward: first pass of `both_passes`.
        backward: second pass of it.
        clip: their clip, at least 3 frames.
        weight: float [B, T, H, W], W of eq. 5: 0 where another object hides the truth, 1 elsewhere.
        counts: float [B, T], 0 marks frames copied to fill a batch (row 20); None for all 1.
    """
    counts = torch.ones_like(clip.boxes[..., 0]) if counts is None else counts
    merged = merge(forward, backward)
    mask = mask_loss(merged, clip.visible, weight, counts)
    consistency = pass_consistency(merged, forward.flow, counts) + pass_consistency(
        merged.flip(1), backward.flow, counts.flip(1)
    )
    return OfficialLosses(mask, consistency, mask + consistency)
