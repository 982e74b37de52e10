"""Compose the published amodal mask from visible mask, prediction and occluders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from savos_model.config import ComposeConfig
from savos_model.geometry import (
    FULL_PX,
    intersect,
    mask_box,
    move,
    paste,
    pixel_map,
    union,
    window,
)
from savos_model.masks import BoxedMask, convex_hull, look_at, slices
from savos_model.types import AmodalObject, Box, Instance, Source

COAST_DECAY = 0.8  # confidence kept per frame without an observation
LIKELY = 0.75  # probability of pixels that widen the next crop: unlikely ones would feed on it
LEAST_VALUE = 0.5 / 255  # a smaller probability is published as 0


def copy_visible(instance: Instance, motion: tuple[float, float] = (0.0, 0.0)) -> AmodalObject:
    """Return the visible mask unchanged: new tracks, small masks, tracks over the limit."""
    return AmodalObject(
        instance.id,
        instance.class_id,
        instance.score,
        Source.VISIBLE,
        instance.box,
        instance.mask * np.uint8(255),
        instance.mask,
        0.0,
        1.0,
        motion,
    )


def occluders(count: np.ndarray, instance: Instance, region: Box, margin: int) -> BoxedMask | None:
    """Return where other objects are visible, with a rim, in an integer region inside the image.

    The rim closes the gap that trackers leave between an object and its occluder.

    Args:
        count: uint8 [H, W], number of visible masks on each pixel.
        instance: the object's own mask.
        region: integer box inside the image [px].
        margin: width of the rim [px], 0 for none.

    Returns:
        uint8 0/1 in a box inside `region` that holds all of it, or None when no other object is
        near.
    """
    image = Box(0, 0, count.shape[1], count.shape[0])
    wide = intersect(widen(region, margin), image)
    assert wide is not None  # it contains the region
    others = window(count, wide) > 0
    shared = intersect(instance.box, wide)
    if shared is not None:
        own = window(instance.mask, move(shared, -instance.box.x0, -instance.box.y0))
        inner = window(others, move(shared, -wide.x0, -wide.y0))
        np.greater(window(count, shared), own, out=inner)
    found = mask_box(others.view(np.uint8), (int(wide.x0), int(wide.y0)))
    around = found and intersect(widen(found, margin), wide)
    box = around and intersect(around, region)
    if not around or not box:
        return None
    mask = window(others, move(around, -wide.x0, -wide.y0)).view(np.uint8)
    if margin:
        side = 2 * margin + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        mask = np.asarray(cv2.dilate(mask, disc), np.uint8)
    return BoxedMask(box, window(mask, move(box, -around.x0, -around.y0)))


def widen(box: Box, margin: int) -> Box:
    """Move all sides of a box outwards [px]."""
    return Box(box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin)


def reach(probability: np.ndarray, box: Box, least: float) -> Box | None:
    """Return an integer box around all pixels that `paste` gives `least` or more; None without any.

    Between the centres of two cells values are mixed, so a cell reaches half a cell beyond itself.

    Args:
        probability: float32 [h, w], fills `box`.
        box: box of the prediction [image px].
        least: above 0.
    """
    cells = mask_box(probability >= least)
    if cells is None:
        return None
    step_x, step_y = box.width / probability.shape[1], box.height / probability.shape[0]
    around = Box(
        box.x0 + math.floor((cells.x0 - 0.5) * step_x),
        box.y0 + math.floor((cells.y0 - 0.5) * step_y),
        box.x0 + math.ceil((cells.x1 + 0.5) * step_x),
        box.y0 + math.ceil((cells.y1 + 0.5) * step_y),
    )
    return intersect(around, box)


def keep_strong_regions(
    probability: np.ndarray,
    box: Box,
    own: BoxedMask,
    near: BoxedMask | None,
    area: Box,
    config: ComposeConfig,
) -> np.ndarray | None:
    """Return the prediction in and next to the connected regions that reach their peak, else 0.

    Hysteresis thresholding (Canny, 1986) of the cells that may be published: a low threshold gives
    a region its extent, a high one decides whether there is a region. Cells behind other objects
    and cells elsewhere have separate thresholds and are separate regions. With `complete_into:
    hull` all cells outside the convex hull of the visible mask are 0.

    Args:
        probability: float32 [h, w] in [0, 1], fills `box`.
        box: integer box of the prediction [image px].
        own: the visible mask; its cells belong to no region.
        near: where other objects are visible, as `occluders` gives it.
        area: integer box inside the image; cells outside belong to no region.
        config: thresholds and peaks.

    Returns:
        float32 [h, w]; None if there is no such region.
    """
    inside, covered = touched_cells(area, box, probability.shape)
    cells = probability[inside]
    own_cells = at_cells(own, covered, cells.shape)
    free = ~own_cells
    behind = at_cells(near, covered, cells.shape) if near else np.zeros_like(free)
    if config.complete_into == "hull":
        around, filled = convex_hull(own)
        free &= at_cells(BoxedMask(around, filled.view(np.uint8)), covered, cells.shape)
    kinds = [(behind & free, config.threshold, config.peak)]
    if config.complete_into != "others":
        kinds.append((~behind & free, config.untracked_threshold, config.untracked_peak))
    kept, lost = np.zeros((2, *cells.shape), bool)
    for where, least, peak in kinds:
        weak = where & (cells >= least)
        certain = weak & (cells >= peak)
        if not certain.any():
            lost |= weak
            continue
        count, labels = cv2.connectedComponents(weak.view(np.uint8), connectivity=8)
        strong = np.zeros(count, bool)
        strong[labels[certain]] = True
        strong = strong[labels]
        kept |= strong
        lost |= weak ^ strong
    if not kept.any():
        return None
    # Visible cells next to a kept region stay, as its outline is between them and the region.
    near_kept = cv2.dilate(kept.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    if config.complete_into == "hull":
        near_kept &= free | own_cells
    result = np.zeros_like(probability)
    np.copyto(result[inside], cells, where=near_kept & ~lost)
    return result


def touched_cells(area: Box, box: Box, shape: Sequence[int]) -> tuple[tuple[slice, slice], Box]:
    """Return rows and columns of the cells that an area inside `box` touches, and their box.

    The cells of a patch [h, w] fill `box`.
    """
    step_x, step_y = box.width / shape[1], box.height / shape[0]
    cells = Box(
        math.floor((area.x0 - box.x0) / step_x),
        math.floor((area.y0 - box.y0) / step_y),
        math.ceil((area.x1 - box.x0) / step_x),
        math.ceil((area.y1 - box.y0) / step_y),
    )
    x, y = (cells.x0, cells.x1), (cells.y0, cells.y1)
    (x0, x1), (y0, y1) = (box.x0 + v * step_x for v in x), (box.y0 + v * step_y for v in y)
    return slices(cells), Box(x0, y0, x1, y1)


def at_cells(mask: BoxedMask, box: Box, shape: Sequence[int]) -> np.ndarray:
    """Return a mask at the centres of the cells of a patch [h, w] that fills `box`, bool."""
    if not mask.mask.size:
        return np.zeros((shape[0], shape[1]), bool)
    place = pixel_map(move(box, -mask.box.x0, -mask.box.y0), (shape[0], shape[1]))
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(mask.mask, place, (shape[1], shape[0]), flags=flags).view(bool)


def may_be_hidden(
    chance: np.ndarray, near: BoxedMask | None, config: ComposeConfig, unit: int = 1
) -> np.ndarray:
    """Return where the probability suffices for a hidden pixel, by the evidence of an occluder.

    Args:
        chance: float32, or uint8 with a unit of 255, [rows, cols].
        near: where other objects are visible, 0/1 as `occluders` gives it, its box relative to
            `chance`; None for nowhere.
        config: thresholds, and whether untracked objects may occlude.
        unit: value of `chance` for a probability of 1.

    Returns:
        bool [rows, cols].
    """
    anywhere = config.complete_into != "others"
    kind = chance.dtype.type
    least, elsewhere = (
        kind(math.ceil(v * unit) if unit > 1 else v)
        for v in (config.threshold, config.untracked_threshold)
    )
    hidden = chance >= elsewhere if anywhere else np.zeros(chance.shape, bool)
    if near is not None:
        at = slices(near.box)
        inner, behind = hidden[at], near.mask.view(bool)
        enough = chance[at] >= least
        enough &= behind
        np.greater(inner, behind, out=inner)
        inner |= enough
    return hidden


def compose(
    instance: Instance,
    probability: np.ndarray,
    box: Box,
    count: np.ndarray,
    motion: tuple[float, float],
    config: ComposeConfig,
    source: Source = Source.FORWARD,
) -> AmodalObject:
    """Return V plus the predicted pixels that may be occluded (the paper's protocol).

    Args:
        instance: this frame's visible mask.
        probability: float32 [h, w] in [0, 1] predicted for this frame, fills `box`.
        box: box of the prediction [image px], may leave the image.
        count: uint8 [H, W] from instances.occupancy.
        motion: mean amodal motion (x, y) [px per frame].
        config: where to complete, threshold, margin and kind of mask values.
        source: where the prediction comes from.
    """
    own_box = mask_box(instance.mask, (int(instance.box.x0), int(instance.box.y0)))
    own_box = own_box or Box(*instance.box[:2], instance.box.x0 + 1, instance.box.y0 + 1)
    part = hidden_part(instance, probability, box, count, config)
    tight = own_box if part is None else union(own_box, part.box)
    visible = window(instance.mask, move(tight, -instance.box.x0, -instance.box.y0))
    values, cut, confidence = visible * np.uint8(255), None, 1.0
    hidden_px, visible_px, extent = 0, int(np.count_nonzero(instance.mask)), own_box
    if part is not None:
        extent = union(own_box, part.extent) if part.extent else own_box
        at = slices(move(part.box, -tight.x0, -tight.y0))
        values[at] |= part.values
        hidden_px = int(np.count_nonzero(part.hidden))
        confidence = part.chance if hidden_px else 1.0
        if config.mask_values == "probability":
            cut = visible != 0
            cut[at] |= part.hidden
    return AmodalObject(
        instance.id,
        instance.class_id,
        instance.score,
        source,
        tight,
        values,
        visible,
        hidden_px / max(1, hidden_px + visible_px),
        confidence,
        motion,
        cut,
        extent,
    )


class HiddenPart(NamedTuple):
    """The published part of an object beyond its visible mask.

    Attributes:
        box: integer box inside the image, tight around `values`.
        values: uint8 [box.height, box.width], the published pixels, 0 on the visible mask.
        hidden: bool of that shape, the pixels that belong to the object.
        chance: mean of their probability, 0 without any.
        extent: box of the likely ones, None without any.
    """

    box: Box
    values: np.ndarray
    hidden: np.ndarray
    chance: float
    extent: Box | None


def hidden_part(
    instance: Instance,
    probability: np.ndarray,
    box: Box,
    count: np.ndarray,
    config: ComposeConfig,
) -> HiddenPart | None:
    """Return the hidden pixels that `compose` publishes; None when there are none.

    Only that part of the box is worked on where the prediction is high enough and, with
    `complete_into: others`, another object is near.
    """
    anywhere, soft = config.complete_into != "others", config.mask_values == "probability"
    least = min(config.threshold, config.untracked_threshold) if anywhere else config.threshold
    around = reach(probability, box, LEAST_VALUE if soft else least)
    area = around and intersect(around, Box(0, 0, count.shape[1], count.shape[0]))
    near = area and occluders(count, instance, area, config.occluder_margin_px)
    if not area or not (near or anywhere):
        return None
    if near and not anywhere:
        area = near.box
    visible = BoxedMask(instance.box, instance.mask)
    strong = keep_strong_regions(probability, box, visible, near, area, config)
    around = None if strong is None else reach(strong, box, least)
    if not soft:
        area = around and intersect(around, area)
        if not area:
            return None
    if strong is None:
        strong = np.zeros_like(probability)
    others = near and BoxedMask(move(area, -area.x0, -area.y0), look_at(near, area))
    unit = 255 if count.size > FULL_PX else 1  # bytes: a quarter of the memory pasting costs
    chance = paste(in_units(strong, unit), box, area)
    own = window(instance.mask, move(area, -instance.box.x0, -instance.box.y0))
    hidden = may_be_hidden(chance, others, config, unit)
    np.greater(hidden.view(np.uint8), own, out=hidden)
    if np.count_nonzero(hidden) < config.min_hidden * np.count_nonzero(instance.mask):
        hidden[:] = False
    values = hidden.view(np.uint8) * np.uint8(255)
    mean = mean_chance(chance, hidden, values) / unit
    if soft:
        open_to = own == 0
        if others and not anywhere:
            open_to &= others.mask
        given = paste(in_units(probability, unit), box, area)
        values = np.where(open_to, np.round(given * (255 // unit)), 0).astype(np.uint8)
    tight = mask_box(values)
    if tight is None:
        return None
    # Of the hidden pixels, not of the values: a crop must not depend on what is published.
    extent = mask_box(hidden.view(np.uint8), (int(area.x0), int(area.y0)))
    likely = extent and reach(strong, box, LIKELY)
    extent = likely and extent and intersect(likely, extent)
    values, hidden = window(values, tight), window(hidden, tight)
    return HiddenPart(move(tight, area.x0, area.y0), values, hidden, mean, extent)


def in_units(probability: np.ndarray, unit: int) -> np.ndarray:
    """Return probabilities as they are (unit 1), or as uint8 whose 255 is a probability of 1."""
    return probability if unit == 1 else np.rint(probability * unit).astype(np.uint8)


def mean_chance(chance: np.ndarray, inside: np.ndarray, bits: np.ndarray) -> float:
    """Return the mean of `chance` where `inside`, 0 if that is nowhere; `bits` is 255 there."""
    if chance.dtype == np.uint8:  # a fifth of the time of picking the pixels
        total = cv2.sumElems(chance & bits)[0]
        return total / max(1, int(np.count_nonzero(inside)))
    return float(chance[inside].mean()) if inside.any() else 0.0


def compose_coasted(
    instance: Instance,
    probability: np.ndarray,
    box: Box,
    size: tuple[int, int],
    motion: tuple[float, float],
    missing: int,
    config: ComposeConfig,
) -> AmodalObject | None:
    """Return the prediction of a track without a mask; None if it has left the image.

    Args:
        instance: the last visible mask (for id, class and score).
        probability: float32 [h, w] in [0, 1] predicted for this frame, fills `box`.
        box: box of the prediction [image px], may leave the image.
        size: image rows and columns.
        motion: mean amodal motion (x, y) [px per frame].
        missing: frames since the last observation, >= 1.
        config: threshold and kind of mask values.
    """
    region = intersect(box, Box(0, 0, size[1], size[0]))
    if region is None:
        return None
    chance = paste(probability, box, region)
    on = chance >= config.threshold
    tight = mask_box(on.astype(np.uint8))
    if tight is None:
        return None
    soft = config.mask_values == "probability"
    values = np.round(chance * 255) if soft else on * 255.0
    crop = window(values.astype(np.uint8), tight)
    return AmodalObject(
        instance.id,
        instance.class_id,
        instance.score,
        Source.COASTED,
        move(tight, region.x0, region.y0),
        crop,
        np.zeros_like(crop),
        1.0,
        float(chance[on].mean()) * COAST_DECAY**missing,
        motion,
        window(on, tight) if soft else None,
    )
