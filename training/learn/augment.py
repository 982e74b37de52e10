"""Stored windows to network input: pasted occluders, jittered crops, colour and mask noise."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from savos_model.config import ModelConfig
from savos_model.geometry import MIN_BOX_PX
from savos_model.network.layers import FLOW, RGB, VISIBLE
from savos_model.network.losses import Targets
from savos_model.network.motion_torch import patch_scale
from training.learn.augment_config import AugmentConfig
from training.learn.draws import draw, uniform
from training.learn.hindsight import extent_so_far, with_hindsight
from training.learn.image_noise import vary_colours
from training.learn.mask_noise import bar, break_up, make_inexact
from training.learn.occluders import Scene, draw_layers, lay_over, move_covers, total
from training.learn.pixels import (
    HALF,
    UNIT,
    WHOLE,
    look,
    look_at_mask,
    pixel_maps,
    times,
    to_bytes,
    to_floats,
)


class Window(NamedTuple):
    """A batch of stored windows in context geometry, on the CPU.

    Masks and colours as bytes 0..255 or floats in [0, 1], flow and boxes as floats [px].
    rgb [B, T, 3, H, W], visible and others [B, T, H, W], flow [B, T, 2, H/2, W/2] to the next
    frame, boxes [B, T, 4]; flow_back like flow, to the previous frame, None for the forward
    direction alone. scenery [B, T, H, W]: what unlabelled things cover of the objects, None where
    that is not known or nothing. amodal [B, T, H, W]: amodal masks of the windows that learn from
    them (DataConfig.supervised), empty in the others, None where none does.
    """

    rgb: Tensor
    visible: Tensor
    others: Tensor
    flow: Tensor
    boxes: Tensor
    flow_back: Tensor | None = None
    scenery: Tensor | None = None
    amodal: Tensor | None = None


def median_motion(flow: Tensor, visible: np.ndarray) -> Tensor:
    """Median flow over masks: [B, T, 2, h, w], bool [B, T, h, w] -> [B, T, 2]; 0 when empty."""
    motion = np.zeros(flow.shape[:3], np.float32)
    for at in np.ndindex(visible.shape[:2]):
        values = flow.numpy()[at][:, visible[at]]
        middle = (values.shape[1] - 1) // 2  # the lower one of two, as torch.median
        if values.size:
            motion[at] = np.partition(values, middle, axis=1)[:, middle]
    return torch.from_numpy(motion)


def tight_boxes(visible: Tensor, boxes: Tensor) -> Tensor:
    """Boxes around masks in context geometry, in image px: [..., H, W], [..., 4] -> [..., 4]."""
    on = visible if visible.dtype == torch.bool else visible > 0.5
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

    A share `memory` of the windows keeps the extent seen before the occlusion, or the amodal one
    where that is known: the stream's boxes follow what it has seen and what it has completed.
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


class Context(NamedTuple):
    """Windows as bytes in context geometry: rgb [B, T, 3, H, W], masks [B, T, H, W]."""

    rgb: np.ndarray
    visible: np.ndarray
    others: np.ndarray
    scenery: np.ndarray | None
    amodal: np.ndarray | None


def make_input(
    window: Window,
    model: ModelConfig,
    config: AugmentConfig,
    generator: torch.Generator,
    *,
    both: bool = True,
) -> Targets:
    """Network input and targets of a batch of windows, all on the CPU; random by `generator` only.

    Args:
        window: as stored.
        model: of the network.
        config: how windows are varied.
        generator: of the CPU.
        both: whether the targets can be reversed in time, where the windows allow that.

    Raises:
        ValueError: the network looks back in time and the windows have no flow that way.
    """
    if model.same_frame and window.flow_back is None:
        raise ValueError("windows must have flow_back for preset online: prepare them again")
    context = in_bytes(window)
    own = context.visible[..., 1::2, 1::2] > HALF
    layers, left = draw_layers(context.visible, window.boxes, own, config, generator)
    supervised = np.zeros(len(own), bool)
    if context.amodal is not None:
        supervised = context.amodal.any((-3, -2, -1))
        layers = [layer for layer in layers if not supervised[layer.at]]
        left[supervised] = own[supervised]
    whole = own if context.amodal is None else own | (context.amodal[..., 1::2, 1::2] > HALF)
    extent = tight_boxes(torch.from_numpy(whole), window.boxes)
    if config.hindsight:
        extent = extent_so_far(extent, median_motion(window.flow, own))
    tight = tight_boxes(torch.from_numpy(left), window.boxes)
    boxes = crop_boxes(tight, extent, config, generator)
    scale = patch_scale(boxes, *model.patch)

    patches = torch.empty((*boxes.shape[:2], FLOW.stop, *model.patch))
    scene, unknown = cut(context, window.boxes, boxes, patches[:, :, RGB].numpy())
    covers = lay_over(scene, layers, context.rgb, context.visible, boxes)
    vary_colours(patches[:, :, RGB], config, generator)
    make_inexact([scene.seen, scene.others], scale.flatten(2), config, generator)
    break_up(scene.seen, config, generator)
    others = times(scene.others, ~scene.seen)

    def direction(flow: Tensor, sign: float, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Flow channels with the occluders' own motion on them, and the base motion."""
        base = median_motion(flow, left)
        out = torch.empty_like(patches[:, :, FLOW]) if out is None else out
        cut_flow(flow, window.boxes, boxes, scale, out)
        move_covers(out, base, scale, covers, sign)
        return out, base

    forward, backward = (window.flow, 1.0), (window.flow_back, -1.0)
    first, second = (backward, forward) if model.same_frame else (forward, backward)
    _, base = direction(*first, patches[:, :, FLOW])
    other = direction(*second) if both and second[0] is not None else (None, None)
    show(patches, other[0], scene.seen, others, model)
    visible, pasted = to_floats(scene.visible), total(covers, unknown)
    pasted[supervised], unknown[supervised] = unknown[supervised], 0  # all is known behind others
    weight = weigh(scene.visible, unknown, pasted, config.pasted_weight)
    if config.hindsight:
        onward = median_motion(window.flow, left)
        visible, weight = with_hindsight(visible, weight, boxes, onward)
    return Targets(patches, visible, weight, boxes, base, *other)


def in_bytes(window: Window) -> Context:
    """Return colours and masks of windows as bytes."""
    parts = window.rgb, window.visible, window.others, window.scenery, window.amodal
    return Context(*(None if values is None else to_bytes(values) for values in parts))


def cut(
    context: Context, source: Tensor, boxes: Tensor, rgb: np.ndarray
) -> tuple[Scene, np.ndarray]:
    """Cut patches out of windows.

    Args:
        context: the windows.
        source: float [B, T, 4], their boxes [px].
        boxes: float [B, T, 4], of the patches [px].
        rgb: float32 [B, T, 3, h, w], where the colours go.

    Returns:
        What the patches show, and what hides the objects, uint8 [B, T, h, w]. Of windows with
        amodal masks these are the objects, and other objects all that hides them.
    """
    patch = rgb.shape[-2:]
    places = pixel_maps(source, boxes, context.visible.shape[-2:], patch)
    seen, visible, others, unknown = np.empty((4, *rgb.shape[:2], *patch), np.uint8)
    for at in np.ndindex(seen.shape[:2]):
        pixels = look(cv2.merge((*context.rgb[at], context.visible[at])), places[at], patch)
        *colours, seen[at] = cv2.split(pixels)
        visible[at] = seen[at]
        for plane, colour in zip(rgb[at], colours, strict=True):
            np.multiply(colour, UNIT, out=plane)
        unknown[at] = others[at] = look_at_mask(context.others[at], places[at], patch)
        if context.amodal is not None and context.amodal[at[0]].any():
            visible[at] = look_at_mask(context.amodal[at], places[at], patch)
        elif context.scenery is not None:
            scenery = look_at_mask(context.scenery[at], places[at], patch)
            np.maximum(unknown[at], scenery, out=unknown[at])
    return Scene(rgb, visible, seen, others), unknown


def cut_flow(flow: Tensor, source: Tensor, boxes: Tensor, scale: Tensor, out: Tensor) -> None:
    """Write flow [B, T, 2, H, W] [px] of boxes `source` as seen in patches [patch px] to `out`."""
    places = pixel_maps(source, boxes, flow.shape[-2:], out.shape[-2:])
    scaled, planes = (flow / scale).numpy(), out.numpy()
    for at in np.ndindex(places.shape[:2]):
        for axis in (0, 1):
            planes[at][axis] = look(scaled[at][axis], places[at], planes.shape[-2:])


def show(
    patches: Tensor,
    flow_back: Tensor | None,
    seen: np.ndarray,
    others: np.ndarray,
    model: ModelConfig,
) -> None:
    """Write the mask channel of patches [B, T, 6, h, w] and blank what others hide, in place.

    Args:
        patches: colours and flow.
        flow_back: float [B, T, 2, h, w], flow the other way, or None.
        seen: uint8 [B, T, h, w], visible masks that the network is shown.
        others: uint8 [B, T, h, w], what it is shown to hide them.
        model: whether others are shown, and whether colours and flow are blank there.
    """
    channel = patches[:, :, VISIBLE.start].numpy()
    for at, shown in enumerate(channel):
        np.multiply(seen[at], UNIT, out=shown)
        if not others[at].any():
            continue
        hidden = others[at] * UNIT
        if model.occluder_hint:
            shown -= hidden
        if model.blanks:
            clear = torch.from_numpy(1 - hidden)[:, None]
            for part in (patches[at, :, RGB], patches[at, :, FLOW]):
                part *= clear
            if flow_back is not None:
                flow_back[at] *= clear


def weigh(
    visible: np.ndarray, unknown: np.ndarray, pasted: np.ndarray, pasted_weight: float
) -> Tensor:
    """Return W of eq. 5, float [B, T, h, w]: masks uint8 [B, T, h, w].

    What is unknown is grown by a patch pixel, as there are gaps at its edges; the own visible mask
    is always supervised.
    """
    weight = np.ones(visible.shape, np.float32)
    for at, part in enumerate(weight):
        if pasted[at].any():
            part += pasted[at] * np.float32((pasted_weight - 1) / WHOLE)
        if unknown[at].any():
            grown = [cv2.dilate(mask, bar(3, 3)) for mask in unknown[at]]
            part *= ~np.stack(grown) * UNIT
        np.maximum(part, visible[at] * UNIT, out=part)
    return torch.from_numpy(weight)
