"""Occluders that are pasted over training windows: other objects, poles, rectangles."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from savos_model.network.geometry_torch import box_grid
from training.learn.augment_config import AugmentConfig
from training.learn.draws import choose, draw, uniform

EDGE = 0.4  # half of an object's visible box over half of its context box (1 / CONTEXT)
KEPT = 0.12  # least share of an object that is left to see in each frame: else nothing is taught
KEPT_CELLS = 6  # and least cells of the coarse view
POLE = (0.02, 0.15)  # half widths over half the context box that the pole is placed with


class Layer(NamedTuple):
    """One thing that is pasted over each of K windows of T frames.

    Attributes:
        at: int64 [K], the windows, each once.
        picture: uint8 or float [K, T, 4, H, W], colours and visible masks of other windows.
        boxes: float [K, T, 4], where these pictures come to lie [px]; mirrored where x0 > x1.
        solid: bool [K], cut out by `limits`, not by the visible mask.
        limits: float [K, 2], half width and height, in half sides of the picture.
        plain: bool [K], of one colour, that in `colour` [K, 3].
        on: float [K], 0 where it is left out after all.
        behind: bool [K], whether it lies behind the object.
        told: bool [K], whether the mask channel shows it.
        motion: float [K, 2], its drift over the object [px per frame].
    """

    at: Tensor
    picture: Tensor
    boxes: Tensor
    solid: Tensor
    limits: Tensor
    plain: Tensor
    colour: Tensor
    on: Tensor
    behind: Tensor
    told: Tensor
    motion: Tensor


def draw_layer(
    pictures: Tensor, boxes: Tensor, share: float, config: AugmentConfig, generator: torch.Generator
) -> Layer:
    """Draw what is pasted over a share of windows; the pictures are those of the other ones.

    Args:
        pictures: uint8 or float [B, T, 4, H, W], colours and visible masks in context boxes.
        boxes: float [B, T, 4], context boxes [px].
        share: of the windows.
        config: what is pasted.
        generator: lives where the windows do.
    """
    batch = len(boxes)
    at, used = choose(batch, share, generator)
    count = len(at)
    source = (at + 1 + (draw((count,), generator) * max(1, batch - 1)).long()) % batch
    kind = draw((count,), generator)
    pole = kind < config.poles
    solid = kind < config.poles + config.rectangles
    narrow = torch.where(pole, uniform((count,), *POLE, generator), EDGE)
    limits = torch.stack((narrow, torch.where(pole, torch.inf, EDGE)), -1)
    places, motion = draw_places(boxes[at], ~pole, config, generator)
    return Layer(
        at=at,
        picture=pictures[source],
        boxes=places,
        solid=solid,
        limits=limits,
        plain=solid & (draw((count,), generator) < 0.5),
        colour=draw((count, 3), generator),
        on=used.float(),
        behind=draw((count,), generator) < config.behind,
        told=draw((count,), generator) >= config.untold,
        motion=motion,
    )


def draw_places(
    boxes: Tensor, wide: Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw where pictures come to lie in context boxes [K, T, 4]: boxes [K, T, 4], drift [K, 2].

    Those that `wide` [K] names may come in from a side.
    """
    count, frames = boxes.shape[:2]
    # In half sides of the context box, whose middle the object fills to +-EDGE.
    scale = torch.exp(uniform((count, 2), -0.9, 0.5, generator))
    start = uniform((count, 2), -0.45, 0.45, generator)
    drift = uniform((count, 2), -0.06, 0.06, generator) * (draw((count, 1), generator) < 0.7)
    aside = wide & (draw((count,), generator) < config.sides)
    sign = torch.where(draw((count,), generator) < 0.5, -1.0, 1.0)
    near = sign * (EDGE * (1 + scale[:, 0]) - uniform((count,), 0.0, 0.5, generator))
    start[:, 0] = torch.where(aside, near, start[:, 0])
    drift[:, 0] = torch.where(aside, -sign * drift[:, 0].abs(), drift[:, 0])
    steps = torch.arange(frames, device=boxes.device)[None, :, None]
    corners = boxes.unflatten(-1, (2, 2))
    half, centre = (corners[:, :, 1] - corners[:, :, 0]) / 2, corners.mean(2)
    middle = centre + (start[:, None] + drift[:, None] * steps) * half
    reach = half * scale[:, None]
    reach[..., 0] *= torch.where(draw((count, 1), generator) < 0.5, -1.0, 1.0)
    return torch.cat((middle - reach, middle + reach), -1), drift * half[:, 0]


def view(layer: Layer, boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Look at a layer through boxes [K, T, 4]: colours [K, T, 3, h, w], its mask [K, T, h, w]."""
    grid = box_grid(layer.boxes.flatten(0, 1), boxes.flatten(0, 1), size)
    seen = look(layer.picture, grid)
    paint = layer.colour[:, None, :, None, None]
    colours = torch.where(layer.plain[:, None, None, None, None], paint, seen[:, :, :3])
    return colours, cut_out(layer, seen[:, :, 3], grid)


def view_mask(layer: Layer, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mask of `view` alone."""
    grid = box_grid(layer.boxes.flatten(0, 1), boxes.flatten(0, 1), size)
    return cut_out(layer, look(layer.picture[:, :, 3:], grid)[:, :, 0], grid)


def look(picture: Tensor, grid: Tensor) -> Tensor:
    """Sample pictures [K, T, C, H, W]; beyond their border, it goes on."""
    flat = picture.flatten(0, 1).float()
    seen = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    return to_unit(seen.unflatten(0, picture.shape[:2]), picture.dtype)


def cut_out(layer: Layer, mask: Tensor, grid: Tensor) -> Tensor:
    """Return what a layer covers, [K, T, h, w], by the sampled mask or by the limits."""
    mask = torch.where(layer.solid[:, None, None, None], inside(layer, grid), mask)
    return mask * layer.on[:, None, None, None]


def inside(layer: Layer, grid: Tensor) -> Tensor:
    """Share of each pixel inside the limits: grid [K*T, h, w, 2] -> float [K, T, h, w]."""
    frames = layer.boxes.shape[1]
    parts = []
    for axis, line in enumerate((grid[:, 0, :, 0], grid[:, :, 0, 1])):
        step = (line[:, 1] - line[:, 0]).abs()[:, None]
        limit = layer.limits[:, axis].repeat_interleave(frames)[:, None]
        parts.append(((limit - line.abs()) / step + 0.5).clamp(0, 1))
    across, down = parts
    return (down[:, :, None] * across[:, None]).unflatten(0, (-1, frames))


def draw_layers(
    pictures: Tensor,
    boxes: Tensor,
    own: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[list[Layer], Tensor]:
    """Draw what is pasted over windows: one thing, and over some of them another.

    Args:
        pictures: as in draw_layer.
        boxes: float [B, T, 4], context boxes [px].
        own: bool [B, T, h, w], the objects in a coarse view of their context boxes.
        config: what is pasted.
        generator: lives where the windows do.

    Returns:
        The layers, lowest first, and what they leave of the objects, bool [B, T, h, w].
    """
    layers, left = [], own
    for share in (config.paste, config.paste * config.several):
        if share:
            layer = draw_layer(pictures, boxes, share, config, generator)
            layer, left = keep_enough(layer, own, left, boxes)
            layers.append(layer)
    return layers, left


def keep_enough(layer: Layer, own: Tensor, left: Tensor, boxes: Tensor) -> tuple[Layer, Tensor]:
    """Leave a layer out where it would hide nearly all of an object.

    Args:
        layer: pasted next.
        own: bool [B, T, h, w], objects in a coarse view of their context boxes.
        left: bool [B, T, h, w], what the layers before leave of them.
        boxes: float [B, T, 4], context boxes [px].

    Returns:
        The layer, and what it leaves, bool [B, T, h, w].
    """
    at = layer.at
    mask = view_mask(layer, boxes[at], own.shape[-2:]) > 0.5
    rest = left[at] & ~(mask & ~layer.behind[:, None, None, None])
    count = rest.flatten(2).sum(-1)
    enough = ((count > KEPT * own[at].flatten(2).sum(-1)) & (count > KEPT_CELLS)).all(1)
    left = left.index_copy(0, at, torch.where(enough[:, None, None, None], rest, left[at]))
    return layer._replace(on=layer.on * enough), left


class Cover(NamedTuple):
    """What one layer hides in the patches of its windows: layer, mask float [K, T, h, w]."""

    layer: Layer
    mask: Tensor


def lay_over(
    rgb: Tensor, visible: Tensor, others: Tensor, layers: list[Layer], boxes: Tensor
) -> tuple[Tensor, Tensor, Tensor, list[Cover]]:
    """Paste layers over patches.

    Args:
        rgb: float [B, T, 3, h, w].
        visible: float [B, T, h, w] in [0, 1], the objects.
        others: like it, what hides them.
        layers: lowest first.
        boxes: float [B, T, 4], patch boxes [px].

    Returns:
        Colours, what is left to see of the objects, masks of all others that the network is shown,
        and where the layers are.
    """
    rgb, seen, others, covers = rgb.clone(), visible.clone(), others.clone(), []
    for layer in layers:
        at, (behind, told) = (
            layer.at,
            (part[:, None, None, None] for part in (layer.behind, layer.told)),
        )
        colours, mask = view(layer, boxes[at], rgb.shape[-2:])
        mask = torch.where(behind, mask * (1 - visible[at]), mask)
        rgb[at] = torch.lerp(rgb[at], colours, mask[:, :, None])
        seen[at] *= 1 - mask
        others[at] = torch.maximum(others[at] * (1 - mask), mask * told)
        covers.append(Cover(layer, mask))
    return rgb, seen, others, covers


def move_covers(
    flow: Tensor, base: Tensor, scale: Tensor, covers: list[Cover], sign: float
) -> Tensor:
    """Give pixels under pasted layers the layers' motion, in place.

    Args:
        flow: float [B, T, 2, h, w] [patch px].
        base: float [B, T, 2], motion of the objects [px].
        scale: float [B, T, 2, 1, 1], image pixels per patch pixel.
        covers: of lay_over.
        sign: -1 for flow backwards in time.
    """
    for layer, mask in covers:
        at = layer.at
        motion = (base[at] + sign * layer.motion[:, None])[..., None, None] / scale[at]
        flow[at] = torch.where(mask[:, :, None] > 0.5, motion, flow[at])
    return flow


def total(covers: list[Cover], like: Tensor) -> Tensor:
    """Masks of all covers together, float as `like` [B, T, h, w]."""
    mask = torch.zeros_like(like)
    for cover in covers:
        mask[cover.layer.at] = torch.maximum(mask[cover.layer.at], cover.mask)
    return mask


def to_unit(values: Tensor, stored: torch.dtype) -> Tensor:
    """Floats in [0, 1] from floats as stored, which bytes are 0..255 of."""
    return values / 255 if stored == torch.uint8 else values
