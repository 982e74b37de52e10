"""Stored windows to network input: pasted occluders, jittered crops, colour and mask noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from savos_model.config import ModelConfig, TracksConfig
from savos_model.geometry import MIN_BOX_PX
from savos_model.geometry_torch import resample
from savos_model.losses import Targets
from savos_model.motion_torch import patch_scale
from savos_model.settings import check_settings, setting
from training.hindsight import extent_so_far, with_hindsight


@dataclass(frozen=True)
class AugmentConfig:
    """How training windows are varied; every probability is per window."""

    paste: float = setting(0.8, "share of windows with a pasted occluder", minimum=0.0, maximum=1.0)
    behind: float = setting(
        0.35, "share of those where it lies behind the object", minimum=0.0, maximum=1.0
    )
    pasted_weight: float = setting(
        4.0, "loss weight of pixels under a pasted occluder", minimum=1.0, maximum=100.0
    )
    memory: float = setting(
        0.5, "share of windows whose box still spans the hidden part", minimum=0.0, maximum=1.0
    )
    jitter: float = setting(0.1, "relative spread of box size and place", minimum=0.0, maximum=0.5)
    mask_noise: float = setting(
        0.3, "share of windows with eroded or dilated input masks", minimum=0.0, maximum=1.0
    )
    colour: float = setting(0.3, "relative spread of the colours", minimum=0.0, maximum=1.0)
    no_colour: float = setting(0.15, "share of windows without image", minimum=0.0, maximum=1.0)
    hindsight: bool = setting(
        False, "targets know what other frames show of the hidden part, boxes what earlier ones do"
    )
    enlarge: float = setting(
        TracksConfig().enlarge, "crop box over visible box", minimum=1.0, maximum=4.0
    )

    def __post_init__(self) -> None:
        check_settings(self)


class Window(NamedTuple):
    """A batch of stored windows in context geometry.

    Floats: masks and colours in [0, 1], flow and boxes in px.
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


class Pasted(NamedTuple):
    """An occluder in the target's context geometry.

    rgb [B, T, 3, H, W], mask [B, T, H, W], motion [B, 2] px.
    """

    rgb: Tensor
    mask: Tensor
    motion: Tensor


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform numbers in [low, high), where the generator lives."""
    return draw(shape, generator) * (high - low) + low


def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1), where the generator lives."""
    return torch.rand(shape, generator=generator, device=generator.device)


def paste_occluder(window: Window, generator: torch.Generator) -> Pasted:
    """Another window of the batch, scaled, placed over the visible mask and drifting through it."""
    batch, frames = window.visible.shape[:2]
    device = generator.device
    # By tensors alone: a number read back would make a GPU wait.
    shift = torch.randint(1, max(2, batch), (1,), generator=generator, device=device)
    order = (torch.arange(batch, device=device) - shift) % batch
    # Context coordinates in [-1, 1]; the visible mask fills about +-1/CONTEXT = +-0.4.
    scale = torch.exp(uniform((batch, 1, 2), -0.7, 0.5, generator))
    start = uniform((batch, 1, 2), -0.45, 0.45, generator)
    drift = uniform((batch, 1, 2), -0.06, 0.06, generator) * (draw((batch, 1, 1), generator) < 0.7)
    offset = start + drift * torch.arange(frames, device=device)[None, :, None]
    theta = torch.zeros(batch, frames, 2, 3, device=device)
    mirror = torch.where(draw((batch, 1), generator) < 0.5, -1.0, 1.0)
    theta[..., 0, 0] = mirror / scale[..., 0]
    theta[..., 1, 1] = 1 / scale[..., 1]
    theta[..., 0, 2] = -offset[..., 0] * mirror / scale[..., 0]
    theta[..., 1, 2] = -offset[..., 1] / scale[..., 1]
    rows, cols = window.visible.shape[-2:]
    grid = F.affine_grid(theta.flatten(0, 1), [batch * frames, 1, rows, cols], align_corners=False)
    source = torch.cat((window.rgb[order], window.visible[order][:, :, None]), 2).flatten(0, 1)
    moved = F.grid_sample(source, grid, align_corners=False).unflatten(0, (batch, frames))
    size = window.boxes[:, 0, 2:] - window.boxes[:, 0, :2]
    return Pasted(moved[:, :, :3], (moved[:, :, 3] > 0.5).float(), drift[:, 0] * size / 2)


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


def noisy_mask(mask: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Erode or dilate some windows' masks [B, T, H, W] by about one pixel, as trackers do."""
    if not config.mask_noise:
        return mask
    batch = mask.shape[0]
    kind = draw((batch, 1, 1, 1), generator)
    grown = F.max_pool2d(mask, 3, 1, 1)
    shrunk = -F.max_pool2d(-mask, 3, 1, 1)
    mask = torch.where(kind < config.mask_noise / 2, grown, mask)
    return torch.where(kind > 1 - config.mask_noise / 2, shrunk, mask)


def choose_cover(
    mask: Tensor, own: Tensor, config: AugmentConfig, generator: torch.Generator
) -> Tensor:
    """Pasted occluders' masks [B, T, H, W] where and as far as they are used: in front or behind.

    `own` are the objects' masks [B, T, H, W].
    """
    roll = draw((len(mask), 1, 1, 1), generator)
    in_front = roll < config.paste * (1 - config.behind)
    cover = mask * (roll < config.paste) * torch.where(in_front, 1.0, 1 - own)
    left = (own * (1 - cover)).flatten(2).sum(-1)
    # An object that vanished teaches nothing.
    enough = (left > 0.12 * own.flatten(2).sum(-1)) & (left > 24)
    return cover * enough.all(1)[:, None, None, None]


def make_input(
    window: Window, model: ModelConfig, config: AugmentConfig, generator: torch.Generator
) -> Targets:
    """Network input and targets of a batch of windows; random by `generator` only.

    The generator must live on the windows' device.

    Raises:
        ValueError: the network looks back in time and the windows have no flow that way.
    """
    if model.same_frame and window.flow_back is None:
        raise ValueError("windows must have flow_back for preset online: prepare them again")
    batch, frames = window.visible.shape[:2]
    own = (window.visible > 0.5).float()
    rgb, cover, drift = window.rgb, torch.zeros_like(own), own.new_zeros(batch, 2)
    if config.paste:
        pasted = paste_occluder(window, generator)
        cover, drift = choose_cover(pasted.mask, own, config, generator), pasted.motion
        rgb = torch.where(cover[:, :, None] > 0, pasted.rgb, rgb)
    seen = window.visible * (1 - cover)
    extent = tight_boxes(own, window.boxes)
    if config.hindsight:
        extent = extent_so_far(extent, median_motion(window.flow, F.avg_pool2d(own, 2)))
    boxes = crop_boxes(tight_boxes(seen, window.boxes), extent, config, generator)

    rgb = vary_colour(rgb, config, generator)
    seen = noisy_mask(seen, config, generator)
    others = torch.maximum(window.others, cover) * (1 - seen)

    def cut(values: Tensor) -> Tensor:
        flat = resample(
            values.flatten(0, 1), window.boxes.flatten(0, 1), boxes.flatten(0, 1), model.patch
        )
        return flat.unflatten(0, (batch, frames))

    def direction(flow: Tensor, drift: Tensor) -> tuple[Tensor, Tensor]:
        """Flow channels with the occluder's own motion on it, and the base motion."""
        base = median_motion(flow, F.avg_pool2d(seen, 2))
        drift = (base + drift[:, None])[..., None, None]
        covered = F.max_pool2d(cover, 2)[:, :, None] > 0
        return cut(torch.where(covered, drift, flow)) / patch_scale(boxes, *model.patch), base

    onward, back = direction(window.flow, drift), (None, None)
    if window.flow_back is not None:
        back = direction(window.flow_back, -drift)
    unknown = window.others  # the loss leaves it out
    if window.scenery is not None:
        unknown = torch.maximum(unknown, window.scenery)
    masks = torch.stack((seen, others, window.visible, unknown, cover), 2)
    seen, others, visible, unknown, cover = cut(masks).unbind(2)
    channel = seen - others if model.occluder_hint else seen
    colours = cut(rgb)
    if model.blanks:
        clear = 1 - others[:, :, None]
        colours = colours * clear
        onward, back = ((flow * clear, base) for flow, base in (onward, back))
    (flow, base), other = (back, onward) if model.same_frame else (onward, back)
    patches = torch.cat((colours, channel[:, :, None], flow), 2)
    weight = (1 - rim(unknown)) * (1 + (config.pasted_weight - 1) * cover)
    weight = torch.maximum(weight, visible)  # the own visible mask is always supervised
    if config.hindsight:
        visible, weight = with_hindsight(visible, weight, boxes, onward[1])
    return Targets(patches, visible.clamp(0, 1), weight, boxes, base, *other)


def rim(others: Tensor) -> Tensor:
    """What covers objects [B, T, h, w], grown by a patch pixel: W leaves gaps at its edges out."""
    return F.max_pool2d(others, 3, 1, 1)


def vary_colour(rgb: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Random gain, offset and missing image per window: [B, T, 3, H, W]."""
    if not config.colour and not config.no_colour:
        return rgb
    batch = rgb.shape[0]
    gain = uniform((batch, 1, 3, 1, 1), 1 - config.colour, 1 + config.colour, generator)
    offset = uniform((batch, 1, 1, 1, 1), -config.colour / 3, config.colour / 3, generator)
    keep = (draw((batch, 1, 1, 1, 1), generator) >= config.no_colour).float()
    return (rgb * gain + offset).clamp(0, 1) * keep
