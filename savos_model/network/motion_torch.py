"""Compute amodal motion from flow, base motion and residual (eq. 12) in torch."""

from torch import Tensor

from savos_model.network.layers import FLOW, VISIBLE


def patch_scale(boxes: Tensor, rows: int, cols: int) -> Tensor:
    """Return image pixels per patch pixel (x, y): boxes [..., 4] -> [..., 2, 1, 1]."""
    size = boxes[..., 2:] - boxes[..., :2]
    return (size / size.new_tensor((cols, rows)))[..., None, None]


def amodal_motion(
    residual: Tensor, patches: Tensor, boxes: Tensor, base: Tensor, motion_base: str = "hybrid"
) -> Tensor:
    """Return dense motion of the amodal mask: flow on V, base motion elsewhere, plus residual.

    Flow and residual are in patch pixels, so that the network sees the same motion at any object
    size (docs/departures.md row 3); the hybrid base is the released code's, with a median (row
    10).

    Args:
        residual: float [..., 2, h, w] [patch px].
        patches: float [..., 6, h, w], the network's input.
        boxes: float [..., 4] [image px].
        base: float [..., 2], median motion of V (x, y) [image px].
        motion_base: uniform uses the base motion on V, too (ModelConfig.motion_base).

    Returns:
        float [..., 2, h, w] [image px per frame].
    """
    scale = patch_scale(boxes, *residual.shape[-2:])
    return observed_motion(patches, boxes, base, motion_base) + residual * scale


def observed_motion(
    patches: Tensor, boxes: Tensor, base: Tensor, motion_base: str = "hybrid"
) -> Tensor:
    """Return dense motion without the residual, float [..., 2, h, w] [image px]."""
    flow = patches[..., FLOW, :, :]
    if motion_base == "uniform":
        return base[..., None, None].expand_as(flow)
    visible = (patches[..., VISIBLE, :, :] > 0.5).to(flow.dtype)
    flow = flow * patch_scale(boxes, *flow.shape[-2:])
    return visible * flow + (1 - visible) * base[..., None, None]
