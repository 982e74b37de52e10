"""The self-supervised losses of the paper in patch space: L_M (eq. 3-5) and L_C (eq. 6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from savos_model.geometry_torch import warp_patch
from savos_model.motion_torch import amodal_motion
from savos_model.network import Prediction

PROBABILITY_EPS = 1e-6  # squeezes probabilities before the logarithm, as in the released code


class Targets(NamedTuple):
    """What the losses compare with, for windows of T frames of B tracks.

    Attributes:
        patches: float [B, T, 6, h, w], the network's input.
        visible: float [B, T, h, w] in [0, 1], the true visible mask V in the patch of its frame.
        weight: float [B, T, h, w], W of eq. 5: 0 where another object hides the truth.
        boxes: float [B, T, 4] patch boxes [px].
        base: float [B, T, 2] base motion to the next frame [px].
    """

    patches: Tensor
    visible: Tensor
    weight: Tensor
    boxes: Tensor
    base: Tensor


class Losses(NamedTuple):
    """Means over valid frames: L_M, L_C and the same-frame term."""

    mask: Tensor
    consistency: Tensor
    direct: Tensor


def weighted_bce(probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """W * BCE (eq. 4), summed over a patch's pixels and divided by their number."""
    p = probability.clamp(PROBABILITY_EPS, 1 - PROBABILITY_EPS)
    return (weight * F.binary_cross_entropy(p, target, reduction="none")).mean((-2, -1))


def diff_iou(a: Tensor, b: Tensor) -> Tensor:
    """1 - soft IoU of masks [..., h, w] (the paper's d_C): 1 - sum(ab) / sum(a + b - ab)."""
    both = a * b
    return 1 - both.sum((-2, -1)) / (a + b - both).sum((-2, -1)).clamp_min(PROBABILITY_EPS)


def warp_forward(
    prediction: Prediction, targets: Targets, *, detach_motion: bool = False
) -> Tensor:
    """M^ of frames 1..T-1 from M~ of 0..T-2: float [B, T-1, h, w] in the later frames' boxes."""
    tracks, frames = prediction.mask_logits.shape[:2]
    mask = prediction.mask_logits[:, :-1].sigmoid().flatten(0, 1)[:, None]
    motion = amodal_motion(
        prediction.residual[:, :-1],
        targets.patches[:, :-1],
        targets.boxes[:, :-1],
        targets.base[:, :-1],
    ).flatten(0, 1)
    if detach_motion:
        motion = motion.detach()
    source, target = targets.boxes[:, :-1].flatten(0, 1), targets.boxes[:, 1:].flatten(0, 1)
    return warp_patch(mask, motion, source, target)[:, 0].unflatten(0, (tracks, frames - 1))


def savos_loss(prediction: Prediction, targets: Targets) -> Losses:
    """L_M on the warped prediction, L_C between M~ and M^ of the same frame, and BCE of M~ itself.

    The same-frame term is not in the paper: with occluders pasted over the input it trains
    completion directly; without them it only asks for a copy of V (docs/departures.md row 32).
    """
    warped = warp_forward(prediction, targets)
    completed = prediction.mask_logits.sigmoid()
    return Losses(
        weighted_bce(warped, targets.visible[:, 1:], targets.weight[:, 1:]).mean(),
        diff_iou(completed[:, 1:], warped).mean(),
        weighted_bce(completed, targets.visible, targets.weight).mean(),
    )


def total_loss(losses: Losses, mask: float, consistency: float, direct: float) -> Tensor:
    """Eq. 7 with the same-frame term: lambda1 L_M + lambda2 L_C + lambda3 L_D."""
    return torch.stack(list(losses)) @ losses.mask.new_tensor((mask, consistency, direct))
