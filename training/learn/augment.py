"""Stored windows to network input: pasted occluders, jittered crops, colour and mask noise."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from savos_model.config import ModelConfig
from savos_model.geometry import MIN_BOX_PX
from savos_model.network.geometry_torch import resample
from savos_model.network.losses import Targets
from savos_model.network.motion_torch import patch_scale
from training.learn.augment_config import AugmentConfig
from training.learn.draws import draw, uniform
from training.learn.hindsight import extent_so_far, with_hindsight
from training.learn.image_noise import vary_colours
from training.learn.mask_noise import broken, inexact, spread
from training.learn.occluders import draw_layers, lay_over, move_covers, to_unit, total


class Window(NamedTuple):
    """A batch of stored windows in context geometry.

    Masks and colours as bytes 0..255 or floats in [0, 1], flow and boxes as floats [px].
    rgb [B, T, 3, H, W], visible and others [B, T, H, W], flow [B, T, 2, H/2, W/2] to the next
    frame, boxes [B, T, 4]; flow_back like flow, to the previous frame, None for the forward
    direction alone. scenery [B, T, H, W]: what unlabelled things cover of the objects, None where
    that is not known or nothing.
    """

    rgb: Tensor
    visible: Tensor
    others: Tensor
    flow: Tensor
    boxes: Tensor
    flow_back: Tensor | None = None
    scenery: Tensor | None = None


def median_motion(flow: Tensor, visible: Tensor) -> Tensor:
    """Median flow over masks: [B, T, 2, h, w], [B, T, h, w] -> [B, T, 2]; 0 when empty."""
    inside = (visible > 0.5)[:, :, None].expand_as(flow)
    values = flow.masked_fill(~inside, float("nan")).flatten(3)
    return values.nanmedian(-1).values.nan_to_num(0.0)


def tight_boxes(visible: Tensor, boxes: Tensor) -> Tensor:
    """Boxes around masks in context geometry, in image px: [..., H, W], [..., 4] -> [..., 4]."""
    on = visible > 0.5
    cols, rows = on.any(-2), on.any(-1)

    def limits(line: Tensor) -> tuple[Tensor, Tensor]:
        count = line.shape[-1]
        place = torch.arange(count, device=line.device)
        line = line | ~line.any(-1, keepdim=True)  # of nothing, the whole
        low = torch.where(line, place, count).amin(-1)
        high = torch.where(line, place + 1, 0).amax(-1)
        return low / count, high / count

    (x0, x1), (y0, y1) = limits(cols), limits(rows)
    size = boxes[..., 2:] - boxes[..., :2]
    low = boxes[..., :2] + torch.stack((x0, y0), -1) * size
    high = boxes[..., :2] + torch.stack((x1, y1), -1) * size
    return torch.cat((low, high), -1)


def grow(boxes: Tensor, factor: float | Tensor, least: float = 0.0) -> Tensor:
    """Boxes [..., 4] grown about their centres, to sides of `least` px or more."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = ((boxes[..., 2:] - boxes[..., :2]) * factor).clamp(min=least) / 2
    return torch.cat((centre - half, centre + half), -1)


def crop_boxes(
    occluded: Tensor, true: Tensor, config: AugmentConfig, generator: torch.Generator
) -> Tensor:
    """Patch boxes [B, T, 4] as the stream would choose them, with jitter.

    Half of the windows keep the extent seen before the occlusion, as the stream's box memory does.
    """
    batch = occluded.shape[0]
    boxes = grow(
        occluded,
        config.enlarge
        * torch.exp(uniform((batch, 1, 2), -config.jitter, config.jitter, generator)),
        MIN_BOX_PX,
    )
    remembered = grow(true, uniform((batch, 1, 1), 1.0, 1.35, generator))
    both = torch.cat(
        (torch.minimum(boxes, remembered)[..., :2], torch.maximum(boxes, remembered)[..., 2:]), -1
    )
    keep = draw((batch, 1, 1), generator) < config.memory
    boxes = torch.where(keep, both, boxes)
    size = (boxes[..., 2:] - boxes[..., :2]).repeat(1, 1, 2)
    shift = uniform((batch, 1, 2), -0.5, 0.5, generator).repeat(1, 1, 2) * config.jitter
    return boxes + size * shift


def make_input(
    window: Window, model: ModelConfig, config: AugmentConfig, generator: torch.Generator
) -> Targets:
    """Network input and targets of a batch of windows; random by `generator` only.

    The generator must live on the windows' device. Whatever can be is computed in the patch, which
    has a quarter of the pixels of the context.

    Raises:
        ValueError: the network looks back in time and the windows have no flow that way.
    """
    if model.same_frame and window.flow_back is None:
        raise ValueError("windows must have flow_back for preset online: prepare them again")
    context = joined(window)
    own = window.visible[..., 1::2, 1::2] > half(window.visible)
    layers, left = draw_layers(context[:, :, :4], window.boxes, own, config, generator)
    extent = tight_boxes(own, window.boxes)
    if config.hindsight:
        extent = extent_so_far(extent, median_motion(window.flow, own))
    boxes = crop_boxes(tight_boxes(left, window.boxes), extent, config, generator)
    scale = patch_scale(boxes, *model.patch)

    def cut(values: Tensor) -> Tensor:
        flat = resample(
            values.flatten(0, 1), window.boxes.flatten(0, 1), boxes.flatten(0, 1), model.patch
        )
        return flat.unflatten(0, values.shape[:2])

    parts = to_unit(cut(context.float()), context.dtype)
    visible, unknown = parts[:, :, 3].clamp(0, 1), parts[:, :, 4:].amax(2)  # not known: no loss
    rgb, seen, others, covers = lay_over(parts[:, :, :3], visible, parts[:, :, 4], layers, boxes)
    rgb = vary_colours(rgb, config, generator)
    seen, others = inexact([seen, others], scale.flatten(2), config, generator)
    seen = broken(seen, config, generator)
    others = others * (1 - seen)
    clear = 1 - others[:, :, None] if model.blanks else 1.0

    def direction(flow: Tensor, sign: float) -> tuple[Tensor, Tensor]:
        """Flow channels with the occluders' own motion on them, and the base motion."""
        base = median_motion(flow, left)
        return move_covers(cut(flow) / scale, base, scale, covers, sign) * clear, base

    onward, back = direction(window.flow, 1.0), (None, None)
    if window.flow_back is not None:
        back = direction(window.flow_back, -1.0)
    (flow, base), other = (back, onward) if model.same_frame else (onward, back)
    channel = seen - others if model.occluder_hint else seen
    patches = torch.cat((rgb * clear, channel[:, :, None], flow), 2)
    weight = (1 - rim(unknown)) * (1 + (config.pasted_weight - 1) * total(covers, visible))
    weight = torch.maximum(weight, visible)  # the own visible mask is always supervised
    if config.hindsight:
        visible, weight = with_hindsight(visible, weight, boxes, onward[1])
    return Targets(patches, visible, weight, boxes, base, *other)


def joined(window: Window) -> Tensor:
    """Colours, visible masks, others and, where given, scenery of windows: [B, T, 5 or 6, H, W]."""
    masks = (window.visible, window.others, window.scenery)
    return torch.cat((window.rgb, torch.stack([m for m in masks if m is not None], 2)), 2)


def half(values: Tensor) -> float:
    """The value that bounds a mask, in bytes or floats."""
    return 127 if values.dtype == torch.uint8 else 0.5


def rim(others: Tensor) -> Tensor:
    """What covers objects [B, T, h, w], grown by a patch pixel: W leaves gaps at its edges out."""
    return spread(spread(others, 1, -1), 1, -2)
