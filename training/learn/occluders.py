"""Occluders that are pasted over training windows: other objects, poles, rectangles."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from training.learn.augment_config import AugmentConfig
from training.learn.draws import choose, draw, uniform
from training.learn.pixels import HALF, WHOLE, look, pixel_maps, times, to_floats

EDGE = 0.4  # half of an object's visible box over half of its context box (1 / CONTEXT)
KEPT = 0.12  # least share of an object that is left to see in each frame: else nothing is taught
KEPT_CELLS = 6  # and least cells of the coarse view
DRIFT = 0.06  # most that a picture drifts per frame [half sides of the context box]
TRIES = 3  # how often an occluder that hides too little or too much is drawn
SWEEP_UPRIGHT = 0.25  # share of sweeps from above or below
SWEEP_LEAVES = 0.25  # share of sweeps that end clear of the object
POLE = (0.02, 0.15)  # half widths over half the context box that the pole is placed with


@dataclass(frozen=True)
class Layer:
    """One thing that is pasted over a window of T frames.

    Attributes:
        at: the window.
        source: the window whose colours and visible masks it shows.
        boxes: float [T, 4], where these pictures come to lie [px]; mirrored where x0 > x1.
        limits: half width and height, in half sides of the picture, that it is cut out by; None
            by the visible mask.
        colour: float [3, 1, 1], where it is of one colour.
        behind: whether it lies behind the object.
        marked: whether the mask channel shows it.
        motion: float [T, 2], its drift over the object to the next frame [px].
    """

    at: int
    source: int
    boxes: Tensor
    limits: tuple[float, float] | None
    colour: Tensor | None
    behind: bool
    marked: bool
    motion: Tensor


def draw_layer(
    at: Tensor, behind: Tensor, boxes: Tensor, config: AugmentConfig, generator: torch.Generator
) -> list[Layer]:
    """Draw what is pasted over windows; the pictures are those of other windows.

    Args:
        at: int64 [K], the windows.
        behind: bool [K], whether what is pasted lies behind the object.
        boxes: float [B, T, 4], context boxes of all windows [px].
        config: what is pasted.
        generator: of the CPU.
    """
    batch, count = len(boxes), len(at)
    source = (at + 1 + (draw((count,), generator) * max(1, batch - 1)).long()) % batch
    kind = draw((count,), generator)
    pole = kind < config.poles
    solid = kind < config.poles + config.rectangles
    narrow = torch.where(pole, uniform((count,), *POLE, generator), EDGE)
    limits = torch.stack((narrow, torch.where(pole, torch.inf, EDGE)), -1).tolist()
    places, motion = draw_places(boxes[at], ~pole, config, generator)
    plain = (solid & (draw((count,), generator) < 0.5)).tolist()
    colour = draw((count, 3, 1, 1), generator)
    marked = draw((count,), generator) >= config.untold
    cut = solid.tolist()
    return [
        Layer(
            at=int(at[k]),
            source=int(source[k]),
            boxes=places[k],
            limits=tuple(limits[k]) if cut[k] else None,
            colour=colour[k] if plain[k] else None,
            behind=bool(behind[k]),
            marked=bool(marked[k]),
            motion=motion[k],
        )
        for k in range(count)
    ]


def draw_places(
    boxes: Tensor, wide: Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw where pictures come to lie in context boxes [K, T, 4].

    Those that `wide` [K] names may come in from a side, and sweep up and down.

    Returns:
        Boxes [K, T, 4] and drift to the next frame [K, T, 2], both [px].
    """
    count, frames = boxes.shape[:2]
    # In half sides of the context box, whose middle the object fills to +-EDGE.
    scale = torch.exp(uniform((count, 2), -0.9, 0.5, generator))
    start = uniform((count, 2), -0.45, 0.45, generator)
    drift = uniform((count, 2), -DRIFT, DRIFT, generator) * (draw((count, 1), generator) < 0.7)
    aside = wide & (draw((count,), generator) < config.sides)
    sign = torch.where(draw((count,), generator) < 0.5, -1.0, 1.0)
    near = sign * (EDGE * (1 + scale[:, 0]) - uniform((count,), 0.0, 0.5, generator))
    start[:, 0] = torch.where(aside, near, start[:, 0])
    drift[:, 0] = torch.where(aside, -sign * drift[:, 0].abs(), drift[:, 0])
    mirror = torch.where(draw((count, 1), generator) < 0.5, -1.0, 1.0)
    away = draw_sweeps(start, scale, wide, frames, config, generator)
    steps = torch.arange(frames, device=boxes.device)[None, :, None]
    place = start[:, None] + drift[:, None] * steps + away
    corners = boxes.unflatten(-1, (2, 2))
    half, centre = (corners[:, :, 1] - corners[:, :, 0]) / 2, corners.mean(2)
    middle = centre + place * half
    reach = half * scale[:, None]
    reach[..., 0] *= mirror
    moved = place.diff(dim=1, append=place[:, -1:] + drift[:, None])
    return torch.cat((middle - reach, middle + reach), -1), moved * half[:, :1]


def draw_sweeps(
    place: Tensor,
    scale: Tensor,
    wide: Tensor,
    frames: int,
    config: AugmentConfig,
    generator: torch.Generator,
) -> Tensor:
    """Draw how far pictures are from their place in each frame, [K, T, 2]; 0 where they rest there.

    Pictures that sweep are clear of the object at first, come over it within the window and stay
    (or start on it and leave), so that other frames show what they hide. Where they only drift,
    they hide the same part in all frames of a window, and memory is useless.

    Args:
        place: float [K, 2], their places [half sides of the context box].
        scale: float [K, 2], their half sides over those of the context box.
        wide: bool [K], those that may come from above and below.
        frames: T.
        config: what is pasted.
        generator: of the CPU.
    """
    count = len(place)
    sweeps = draw((count,), generator) < (config.sweeps if frames > 1 else 0.0)
    upright = wide & (draw((count,), generator) < SWEEP_UPRIGHT)
    sign = torch.where(draw((count, 1), generator) < 0.5, -1.0, 1.0)
    clear = sign * (EDGE * (1 + scale) + DRIFT * frames) - place
    along = torch.stack((~upright, upright), -1) & sweeps[:, None]
    first = (draw((count, 1), generator) * (frames - 1)).floor()  # last frame at the far place
    takes = 1 + (draw((count, 1), generator) ** 2 * max(frames - 2, 0)).round()
    left = 1 - ((torch.arange(frames, device=place.device) - first) / takes).clamp(0, 1)
    leaves = draw((count, 1), generator) < SWEEP_LEAVES
    left = torch.where(leaves, left.flip(1), left)
    return torch.where(along, clear, 0.0)[:, None] * left[..., None]


def find_places(
    layers: list[Layer], boxes: Tensor, size: tuple[int, int], patch: tuple[int, int]
) -> np.ndarray:
    """Return where the pixels of patches lie in the pictures of the layers over them.

    Args:
        layers: K of them.
        boxes: float [B, T, 4], of the windows' patches [px].
        size: rows and columns of the pictures.
        patch: rows and columns of the patches.

    Returns:
        float64 [K, T, 2, 3], as pixel_maps.
    """
    if not layers:
        return np.empty((0, boxes.shape[1], 2, 3))
    pictures = torch.stack([layer.boxes for layer in layers])
    return pixel_maps(pictures, boxes[[layer.at for layer in layers]], size, patch)


def cut_out(
    layer: Layer, masks: np.ndarray, places: np.ndarray, patch: tuple[int, int]
) -> np.ndarray:
    """Return what a layer covers of patches: uint8 [T, h, w].

    Args:
        layer: pasted over them.
        masks: uint8 [T, H, W], the visible masks of its source.
        places: float [T, 2, 3], of find_places.
        patch: rows and columns of the patches.
    """
    if layer.limits is not None:
        return within(layer.limits, places, masks.shape[-2:], patch)
    pairs = zip(masks, places, strict=True)
    return np.stack([look(mask, place, patch, endless=True) for mask, place in pairs])


def within(
    limits: tuple[float, float], places: np.ndarray, size: tuple[int, int], patch: tuple[int, int]
) -> np.ndarray:
    """Return the shares of pixels within limits about the middle of pictures: uint8 [T, h, w].

    Args:
        limits: half width and height, in half sides of the pictures.
        places: float [T, 2, 3], as pixel_maps returns them.
        size: rows and columns of the pictures.
        patch: rows and columns of the patches.
    """
    across, down = (
        inside(places[:, axis, axis], places[:, axis, 2], size[1 - axis], cells, limit)
        for axis, (cells, limit) in enumerate(zip(patch[::-1], limits, strict=True))
    )
    return (WHOLE * down[:, :, None] * across[:, None] + 0.5).astype(np.uint8)


def inside(
    steps: np.ndarray, starts: np.ndarray, pixels: int, cells: int, limit: float
) -> np.ndarray:
    """Return the shares of cells inside a limit about the middle of a picture: float32 [T, cells].

    Args:
        steps: float [T], pixels of the picture from cell to cell.
        starts: float [T], pixel of the first cell.
        pixels: of the picture along this axis.
        cells: how many.
        limit: in half sides of the picture.
    """
    at = starts[:, None] + steps[:, None] * np.arange(cells)
    off = np.abs((at + 0.5) * 2 / pixels - 1)
    share = (limit - off) * pixels / (2 * np.abs(steps[:, None])) + 0.5
    return share.clip(0, 1).astype(np.float32)


def draw_layers(
    masks: np.ndarray,
    boxes: Tensor,
    own: np.ndarray,
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[list[Layer], np.ndarray]:
    """Draw what is pasted over windows: one thing, and over some of them another.

    Most random places hide little or nothing, or so much that they have to be rejected. What is in
    front of an object is therefore drawn again, up to TRIES times, until it hides enough.

    Args:
        masks: uint8 [B, T, H, W], visible masks in context boxes.
        boxes: float [B, T, 4], context boxes [px].
        own: bool [B, T, h, w], the objects in a coarse view of their context boxes.
        config: what is pasted.
        generator: of the CPU.

    Returns:
        The layers, lowest first, and what they leave of the objects, bool [B, T, h, w].
    """
    layers, left = [], own.copy()
    area = own.sum((-2, -1))
    least = np.maximum(KEPT * area, KEPT_CELLS)
    for share in (config.paste, config.paste * config.several):
        if not share:
            continue
        at, used = choose(len(boxes), share, generator)
        at = at[used]
        behind = draw((len(at),), generator) < config.behind
        for attempt in range(TRIES):
            enough = config.hide if attempt + 1 < TRIES else 0.0
            again = torch.zeros(len(at), dtype=torch.bool)
            drawn = draw_layer(at, behind, boxes, config, generator)
            places = find_places(drawn, boxes, masks.shape[-2:], own.shape[-2:])
            for k, layer in enumerate(drawn):
                rest = left[layer.at]
                if not layer.behind:
                    hidden = cut_out(layer, masks[layer.source], places[k], own.shape[-2:])
                    rest = rest & (hidden <= HALF)
                lost = (left[layer.at] & ~rest).sum((-2, -1))
                hides = layer.behind or (lost >= enough * area[layer.at]).any()
                again[k] = not (hides and (rest.sum((-2, -1)) > least[layer.at]).all())
                if not again[k]:
                    left[layer.at] = rest
                    layers.append(layer)
            at, behind = at[again], behind[again]
    return layers, left


@dataclass(frozen=True)
class Cover:
    """Pixels that a layer hides in the patches of its window: uint8 [T, h, w]."""

    layer: Layer
    mask: np.ndarray


@dataclass(frozen=True)
class Scene:
    """Contents of patches: colours float32 [B, T, 3, h, w] in [0, 1], masks uint8 [B, T, h, w].

    Attributes:
        rgb: colours.
        visible: the objects, whatever is pasted over them.
        seen: what is left to see of them.
        others: what hides them, as far as the network is shown it.
    """

    rgb: np.ndarray
    visible: np.ndarray
    seen: np.ndarray
    others: np.ndarray


def lay_over(
    scene: Scene, layers: list[Layer], rgb: np.ndarray, masks: np.ndarray, boxes: Tensor
) -> list[Cover]:
    """Paste layers over patches, in place; return what they cover.

    Args:
        scene: the patches.
        layers: lowest first.
        rgb: uint8 [B, T, 3, H, W], colours of the windows in context boxes.
        masks: uint8 [B, T, H, W], visible masks like them.
        boxes: float [B, T, 4], patch boxes [px].
    """
    covers, patch = [], scene.seen.shape[-2:]
    for layer, places in zip(
        layers, find_places(layers, boxes, masks.shape[-2:], patch), strict=True
    ):
        at = layer.at
        colours, mask = view(layer, rgb[layer.source], masks[layer.source], places, patch)
        if layer.behind:
            mask = times(mask, ~scene.visible[at])
        covers.append(Cover(layer, mask))
        torch.from_numpy(scene.rgb[at]).lerp_(colours, to_floats(mask)[:, None])
        scene.seen[at] = times(scene.seen[at], ~mask)
        if scene.others[at].any():
            scene.others[at] = times(scene.others[at], ~mask)
        if layer.marked:
            np.maximum(scene.others[at], mask, out=scene.others[at])
    return covers


def view(
    layer: Layer, rgb: np.ndarray, masks: np.ndarray, places: np.ndarray, patch: tuple[int, int]
) -> tuple[Tensor, np.ndarray]:
    """Look at a layer through patches.

    Args:
        layer: what is looked at.
        rgb: uint8 [T, 3, H, W], colours of its source.
        masks: uint8 [T, H, W], visible masks of its source.
        places: float [T, 2, 3], of find_places.
        patch: rows and columns of the patches.

    Returns:
        Colours, float [T, 3, h, w] or [3, 1, 1], and what it covers, uint8 [T, h, w].
    """
    if layer.colour is not None:
        return layer.colour, cut_out(layer, masks, places, patch)
    seen = np.empty((len(masks), 4, *patch), np.uint8)
    for t, place in enumerate(places):
        cv2.split(look(cv2.merge((*rgb[t], masks[t])), place, patch, endless=True), list(seen[t]))
    mask = seen[:, 3]
    if layer.limits is not None:
        mask = within(layer.limits, places, masks.shape[-2:], patch)
    return to_floats(seen[:, :3]), mask


def move_covers(
    flow: Tensor, base: Tensor, scale: Tensor, covers: list[Cover], sign: float
) -> None:
    """Give pixels under pasted layers the layers' motion, in place.

    Args:
        flow: float [B, T, 2, h, w] [patch px].
        base: float [B, T, 2], motion of the objects [px].
        scale: float [B, T, 2, 1, 1], image pixels per patch pixel.
        covers: of lay_over.
        sign: -1 for flow backwards in time.
    """
    for cover in covers:
        at = cover.layer.at
        drift = cover.layer.motion
        if sign < 0:  # to the previous frame: the drift that led here
            drift = torch.cat((drift[:1], drift[:-1]))
        motion = (base[at] + sign * drift)[..., None, None] / scale[at]
        under = torch.from_numpy((cover.mask > HALF).astype(np.float32))[:, None]
        flow[at].lerp_(motion, under)


def total(covers: list[Cover], like: np.ndarray) -> np.ndarray:
    """Return the masks of all covers together, uint8 as `like` [B, T, h, w]."""
    mask = np.zeros_like(like)
    for cover in covers:
        at = mask[cover.layer.at]
        np.maximum(at, cover.mask, out=at)
    return mask
