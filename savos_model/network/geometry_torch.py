"""Crop and warp batches in torch for training: float boxes, differentiable."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from savos_model.geometry import WARP_ITERATIONS


def resample(values: Tensor, source: Tensor, target: Tensor, patch: tuple[int, int]) -> Tensor:
    """Resample values [N, C, H, W] of boxes `source` [N, 4] to `target`: [N, C, h, w]; else 0."""
    return F.grid_sample(values, box_grid(source, target, patch), align_corners=False)


def box_grid(source: Tensor, target: Tensor, patch: tuple[int, int]) -> Tensor:
    """Return pixel centres of boxes `target` in [-1, 1] of boxes `source` [N, 4]: [N, h, w, 2]."""
    lines = []
    for axis, count in ((0, patch[1]), (1, patch[0])):
        low, high = (target[:, i, None] for i in (axis, axis + 2))
        corner, end = (source[:, i, None] for i in (axis, axis + 2))
        share = (torch.arange(count, device=target.device) + 0.5) / count
        lines.append(2 * (low + (high - low) * share - corner) / (end - corner) - 1)
    x, y = lines
    return torch.stack(torch.broadcast_tensors(x[:, None], y[:, :, None]), -1)


def warp_patch(values: Tensor, motion: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Warp N patches like geometry.warp_patch.

    Args:
        values: float [N, C, h, w].
        motion: float [N, 2, h, w] [image px per frame].
        source: float [N, 4], boxes of `values` in the earlier frame [px].
        target: float [N, 4], boxes to fill in the later frame [px].
    """
    # All in the coordinates of grid_sample: one subtraction per step.
    rows, cols = values.shape[-2:]
    base = box_grid(source, target, (rows, cols))
    motion = motion * (2 / (source[:, 2:] - source[:, :2]))[..., None, None]
    grid = base
    for _ in range(WARP_ITERATIONS):
        u = F.grid_sample(motion, grid, padding_mode="border", align_corners=False)
        grid = base - u.permute(0, 2, 3, 1)
    return F.grid_sample(values, grid, align_corners=False)


def pull_patch(
    values: Tensor, motion: Tensor, residual: Tensor, source: Tensor, target: Tensor
) -> Tensor:
    """Fetch N patches like geometry.pull_patch.

    Args:
        values: float [N, C, h, w].
        motion: float [N, 2, h, w] of the pixels of `target` into the previous frame [image px].
        residual: float [N, 2, h, w] of the pixels of `source` [patch px].
        source: float [N, 4], boxes of `values` in the previous frame [px].
        target: float [N, 4], boxes to fill in this frame [px].
    """
    rows, cols = values.shape[-2:]
    size = (source[:, 2:] - source[:, :2])[..., None, None]
    grid = box_grid(source, target, (rows, cols))
    grid = grid + (motion * (2 / size)).permute(0, 2, 3, 1)
    own = residual * residual.new_tensor((2 / cols, 2 / rows))[:, None, None]
    moved = F.grid_sample(own, grid, padding_mode="border", align_corners=False)
    return F.grid_sample(values, grid + moved.permute(0, 2, 3, 1), align_corners=False)
