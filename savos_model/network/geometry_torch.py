"""The torch forms of crop and warp, for training: batches, any float box, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from savos_model.geometry import WARP_ITERATIONS


def patch_centres(boxes: Tensor, patch: tuple[int, int]) -> Tensor:
    """Image coordinates of patch pixel centres: boxes [..., 4] -> [..., h, w, 2] (x, y) [px]."""
    rows, cols = patch
    x = (torch.arange(cols, device=boxes.device) + 0.5) / cols
    y = (torch.arange(rows, device=boxes.device) + 0.5) / rows
    x0, y0, x1, y1 = boxes[..., None, None].unbind(-3)
    at_x = (x0 + (x1 - x0) * x).expand(*boxes.shape[:-1], rows, cols)
    at_y = (y0 + (y1 - y0) * y[:, None]).expand(*boxes.shape[:-1], rows, cols)
    return torch.stack((at_x, at_y), -1)


def normalise(points: Tensor, boxes: Tensor) -> Tensor:
    """Image points [N, h, w, 2] to grid_sample's [-1, 1] (align_corners=False) of boxes [N, 4]."""
    corner, size = boxes[:, None, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None, None]
    return 2 * (points - corner) / size - 1


def resample(values: Tensor, source: Tensor, target: Tensor, patch: tuple[int, int]) -> Tensor:
    """Values [N, C, H, W] filling boxes `source` [N, 4], seen in `target`: [N, C, h, w]; else 0."""
    return F.grid_sample(values, box_grid(source, target, patch), align_corners=False)


def box_grid(source: Tensor, target: Tensor, patch: tuple[int, int]) -> Tensor:
    """Pixel centres of boxes `target` [N, 4] in [-1, 1] of boxes `source` [N, 4]: [N, h, w, 2]."""
    lines = []
    for axis, count in ((0, patch[1]), (1, patch[0])):
        low, high = (target[:, i, None] for i in (axis, axis + 2))
        corner, end = (source[:, i, None] for i in (axis, axis + 2))
        share = (torch.arange(count, device=target.device) + 0.5) / count
        lines.append(2 * (low + (high - low) * share - corner) / (end - corner) - 1)
    x, y = lines
    return torch.stack(torch.broadcast_tensors(x[:, None], y[:, :, None]), -1)


def warp_patch(values: Tensor, motion: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """As geometry.warp_patch, for N patches.

    Args:
        values: float [N, C, h, w].
        motion: float [N, 2, h, w] [image px per frame].
        source: float [N, 4], boxes of `values` in the earlier frame [px].
        target: float [N, 4], boxes to fill in the later frame [px].
    """
    # All in the coordinates of grid_sample: one subtraction a step.
    rows, cols = values.shape[-2:]
    base = normalise(patch_centres(target, (rows, cols)), source)
    motion = motion * (2 / (source[:, 2:] - source[:, :2]))[..., None, None]
    grid = base
    for _ in range(WARP_ITERATIONS):
        u = F.grid_sample(motion, grid, padding_mode="border", align_corners=False)
        grid = base - u.permute(0, 2, 3, 1)
    return F.grid_sample(values, grid, align_corners=False)


def pull_patch(
    values: Tensor, motion: Tensor, residual: Tensor, source: Tensor, target: Tensor
) -> Tensor:
    """As geometry.pull_patch, for N patches.

    Args:
        values: float [N, C, h, w].
        motion: float [N, 2, h, w] of the pixels of `target` into the frame before [image px].
        residual: float [N, 2, h, w] of the pixels of `source` [patch px].
        source: float [N, 4], boxes of `values` in the frame before [px].
        target: float [N, 4], boxes to fill in this frame [px].
    """
    rows, cols = values.shape[-2:]
    size = (source[:, 2:] - source[:, :2])[..., None, None]
    grid = normalise(patch_centres(target, (rows, cols)), source)
    grid = grid + (motion * (2 / size)).permute(0, 2, 3, 1)
    own = residual * residual.new_tensor((2 / cols, 2 / rows))[:, None, None]
    moved = F.grid_sample(own, grid, padding_mode="border", align_corners=False)
    return F.grid_sample(values, grid + moved.permute(0, 2, 3, 1), align_corners=False)
