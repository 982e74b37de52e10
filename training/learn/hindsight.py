"""Views of an object's hidden part in other frames of a window, for targets and boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from savos_model.network.geometry_torch import resample

FINER = 2  # rows and columns that a window's common view has for one of a patch


def moved_so_far(base: Tensor) -> Tensor:
    """Motion of boxes since the first frame: base motion [B, T, 2] -> float [B, T, 4] [px]."""
    moved = torch.cat((torch.zeros_like(base[:, :1]), base[:, :-1].cumsum(1)), 1)
    return moved.repeat(1, 1, 2)


def extent_so_far(tight: Tensor, base: Tensor) -> Tensor:
    """Boxes around all that objects showed until each frame, moved along with them [px].

    Args:
        tight: float [B, T, 4], boxes of what is visible.
        base: float [B, T, 2], motion to the next frame.
    """
    moved = moved_so_far(base)
    own = tight - moved
    return torch.cat((own[..., :2].cummin(1).values, own[..., 2:].cummax(1).values), -1) + moved


def with_hindsight(
    visible: Tensor, weight: Tensor, boxes: Tensor, base: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill what W leaves out with what other frames show there, moved along with the base motion.

    L_M (eq. 3) compares a prediction with the next frame alone, so a hidden pixel is trained in the
    one frame before it is uncovered. With these targets, it is trained in every frame of a window
    in which it is seen at all; the truth stays unused. It needs a base motion that keeps the
    object's parts in place from frame to frame.

    Args:
        visible: float [B, T, h, w] in [0, 1], V in patches.
        weight: float [B, T, h, w], W; what is below 1 is filled.
        boxes: float [B, T, 4], boxes of the patches [px].
        base: float [B, T, 2], motion of the object to the next frame [px].

    Returns:
        V and W, float [B, T, h, w]; both as given where W is 1 or more.
    """
    rows, cols = visible.shape[-2:]
    own = boxes - moved_so_far(base)  # as if the object rested where it is first
    whole = torch.cat((own[..., :2].amin(1), own[..., 2:].amax(1)), -1)[:, None].expand_as(own)

    def see(values: Tensor, source: Tensor, target: Tensor, size: tuple[int, int]) -> Tensor:
        flat = resample(values.flatten(0, 1), source.flatten(0, 1), target.flatten(0, 1), size)
        return flat.unflatten(0, values.shape[:2])

    known = weight.clamp(max=1)
    parts = see(torch.stack((known * visible, known), 2), own, whole, (FINER * rows, FINER * cols))
    shown, seen = parts.sum(1, keepdim=True).unbind(2)
    mean, reach = shown / seen.clamp(min=1e-6), parts[:, :, 1].amax(1, keepdim=True)
    common = torch.stack((mean, reach), 2).expand(-1, visible.shape[1], -1, -1, -1)
    mean, reach = see(common, whole, own, (rows, cols)).unbind(2)
    filled = known + (1 - known) * reach
    value = (known * visible + (1 - known) * reach * mean) / filled.clamp(min=1e-6)
    return value, torch.maximum(weight, filled)
