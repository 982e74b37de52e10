"""Repeat the released image-space inference with its faults, to reproduce its numbers.

Rows quoted below are those of docs/departures.md; geometry_torch.py has forms without faults.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from savos_model.network.layers import FLOW, INPUT_CHANNELS, RGB, VISIBLE
from savos_model.network.net import Prediction, SavosNet

BACKWARD_FLOW = slice(6, 8)  # of Clip.patches, after the network's input channels
SQUEEZE = 1e-6  # clamps probabilities, as in the released decoder


class Clip(NamedTuple):
    """T frames of B objects as input of the released code: patches and whole images.

    Attributes:
        patches: float [B, T, 8, h, w]: the network's input channels, then backward flow (x, y);
            flow in image pixels (row 3).
        visible: float [B, T, H, W], visible mask V, 0 or 1, never empty.
        boxes: float [B, T, 4], (x0, y0, x1, y1) of the crops, half-open [px].
        flow: float [B, T, 2, H, W], (x, y) to the next frame [px].
        backward_flow: float [B, T, 2, H, W], (x, y) to the previous frame [px].
    """

    patches: Tensor
    visible: Tensor
    boxes: Tensor
    flow: Tensor
    backward_flow: Tensor


class Estimate(NamedTuple):
    """Output of one pass through time in image space; entry t is for frame t + 1.

    mask, alpha: float [B, T, H, W], probability and raw weight; flow: float [B, T, 2, H, W] [px].
    """

    mask: Tensor
    alpha: Tensor
    flow: Tensor


def reverse(clip: Clip) -> Clip:
    """Return the clip reversed in time; its own inverse."""
    p = clip.patches.flip(1)
    channels = (p[:, :, RGB], p[:, :, VISIBLE], p[:, :, BACKWARD_FLOW], p[:, :, FLOW])
    later = (part.flip(1) for part in (clip.visible, clip.boxes, clip.backward_flow, clip.flow))
    return Clip(torch.cat(channels, 2), *later)


def pixel_grid(image: tuple[int, int], like: Tensor) -> Tensor:
    """Return pixel indices (x, y) of an image of (H, W): [H, W, 2] with the dtype of `like`."""
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) for n in image)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def paste(values: Tensor, boxes: Tensor, image: tuple[int, int]) -> Tensor:
    """Return patches stretched to their boxes, zeros elsewhere.

    Args:
        values: float [N, C, h, w].
        boxes: float [N, 4], half-open, at least 2 px a side.
        image: rows and columns (H, W).

    Returns:
        float [N, C, H, W].

    Raises:
        ValueError: a box is too small.
    """
    # Fault (row 6): the crop has x1 - x0 columns, its paste fills one less. Rows, too.
    filled = boxes[:, 2:] - boxes[:, :2] - 1
    if (filled <= 0).any():
        raise ValueError(
            "boxes must have at least 2 px a side: the released paste divides by size - 1"
        )
    patch_size = values.new_tensor((values.shape[-1], values.shape[-2]))
    image_size = values.new_tensor((image[1], image[0]))
    short = image[0] - values.shape[-2], image[1] - values.shape[-1]
    top, left = (n // 2 for n in short)
    # Fault (row 6): the patch is centred on a canvas of image size first, so an image smaller than
    # the patch cuts the patch's rim off (negative padding).
    canvas = F.pad(values, (left, short[1] - left, top, short[0] - top))
    # Fault (row 6): the patch is taken to lie in the middle of the canvas; where the size
    # difference is odd it does not, and lands half a patch pixel off. The arithmetic is
    # affine_grid's, as there: another order of the same terms rounds to results 1e-4 apart.
    scale = filled / patch_size
    shift = 2 * (boxes[:, :2] - (image_size - patch_size * scale) / 2) / image_size
    theta = torch.cat(((1 / scale).diag_embed(), (-shift / scale)[:, :, None]), 2)
    grid = F.affine_grid(theta, list(canvas.shape), align_corners=False)
    return F.grid_sample(canvas, grid, align_corners=False)


def warp(values: Tensor, flow: Tensor) -> Tensor:
    """Return values [N, C, H, W] moved along their flow [N, 2, H, W] [px]."""
    rows, cols = values.shape[-2:]
    # Fault (row 8): the flow of the target pixel is taken for that of its source.
    at = pixel_grid((rows, cols), values) - flow.permute(0, 2, 3, 1)
    # Fault (row 9): pixel indices where grid_sample wants centres (+ 0.5), so everything moves half
    # a pixel right and down, blurred over 2x2.
    grid = 2 * at / values.new_tensor((cols, rows)) - 1
    # Row 8: what lies at the image border is smeared in from outside.
    return F.grid_sample(values, grid, padding_mode="border", align_corners=False)


def base_motion(flow: Tensor, visible: Tensor) -> Tensor:
    """Return flow on V, its mean over V elsewhere (row 10; the paper: mean everywhere).

    Args:
        flow: float [B, T, 2, H, W] [px].
        visible: float [B, T, H, W].

    Raises:
        ValueError: V is empty in a frame; the released code divides 0 by 0 there.
    """
    seen = visible[:, :, None] > 0
    area = seen.sum((-2, -1), keepdim=True)
    if (area == 0).any():
        empty = (area == 0).flatten(1).nonzero().tolist()
        raise ValueError(f"visible is empty in (object, frame) {empty}: leave these frames out")
    mean = (flow * seen).sum((-2, -1), keepdim=True) / area
    return torch.where(seen, flow, mean)


def estimate(prediction: Prediction, clip: Clip) -> Estimate:
    """Return the estimates of all next frames: paste, add the base motion, warp."""
    split = clip.boxes.shape[:2]
    boxes, (rows, cols) = clip.boxes.flatten(0, 1), clip.visible.shape[-2:]
    image = rows, cols
    mask = (1 - SQUEEZE) * prediction.mask_logits.sigmoid() + SQUEEZE / 2
    completed = torch.stack((mask, prediction.alpha), 2).flatten(0, 1)
    # Row 3: residual and flow are both in image pixels, whatever the scale of the patch.
    residual = paste(prediction.residual.flatten(0, 1), boxes, image)
    flow = base_motion(clip.flow, clip.visible).flatten(0, 1) + residual
    # Row 11: the raw alpha is pasted and warped like the mask.
    moved = warp(paste(completed, boxes, image), flow).unflatten(0, split)
    return Estimate(moved[:, :, 0], moved[:, :, 1], flow.unflatten(0, split))


def both_passes(net: SavosNet, clip: Clip) -> tuple[Estimate, Estimate]:
    """Return forward and backward estimates (row 12), each in its order of time."""
    passes = []
    for run in (clip, reverse(clip)):
        prediction, _ = net.sequence(run.patches[:, :, :INPUT_CHANNELS])
        passes.append(estimate(prediction, run))
    return passes[0], passes[1]


def aligned(backward: Tensor) -> Tensor:
    """Return backward estimates [B, T, ...] in forward order: entry t is for frame t + 1.

    Fault (row 13): the last two entries have no estimate; they repeat frames T-3 and T-2.
    """
    forward_order = backward.flip(1)
    return torch.cat((forward_order[:, 2:], forward_order[:, -2:]), 1)


def merge(forward: Estimate, backward: Estimate) -> Tensor:
    """Merge both passes per pixel by the softmax of their alphas (row 11): [B, T, H, W]."""
    masks = torch.stack((forward.mask, aligned(backward.mask)))
    alphas = torch.stack((forward.alpha, aligned(backward.alpha)))
    return (masks * alphas.softmax(0)).sum(0)


def bidirectional_masks(net: SavosNet, clip: Clip) -> Tensor:
    """Run the released inference; return the probability of the amodal masks.

    Args:
        net: network with the preset `official`.
        clip: at least 2 frames.

    Returns:
        float [B, T, H, W]; entry t is the mask of frame t + 1; the last entry is invalid.
    """
    forward, backward = both_passes(net, clip)
    merged = merge(forward, backward)
    # Row 14: the last but one entry is of the forward pass alone. Fault (row 13): the last one is a
    # backward estimate of frame T-2.
    ends = torch.stack((forward.mask[:, -2], aligned(backward.mask)[:, -1]), 1)
    return torch.cat((merged[:, :-2], ends), 1)
