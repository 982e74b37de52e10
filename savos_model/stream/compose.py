"""Compose the published amodal mask from visible mask, prediction and occluders."""

from __future__ import annotations

import cv2
import numpy as np

from savos_model.config import ComposeConfig
from savos_model.geometry import intersect, mask_box, move, paste, union, window
from savos_model.types import AmodalObject, Box, Instance, Source

COAST_DECAY = 0.8  # confidence kept per frame without an observation


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


def occluder_mask(
    count: np.ndarray, own: np.ndarray, region: Box, margin: int
) -> np.ndarray | None:
    """Return where other objects are visible, with a rim, in an integer region of the image.

    The rim closes the gap that trackers leave between an object and its occluder.

    Args:
        count: uint8 [H, W], number of visible masks on each pixel.
        own: uint8 [region.height, region.width], the object's own mask.
        region: integer box inside the image [px].
        margin: width of the rim [px], 0 for none.

    Returns:
        uint8 0/1 of the region's shape, or None if no other object is near.
    """
    wide = intersect(
        Box(region.x0 - margin, region.y0 - margin, region.x1 + margin, region.y1 + margin),
        Box(0, 0, count.shape[1], count.shape[0]),
    )
    assert wide is not None  # it contains the region
    others = (window(count, wide) > 0).astype(np.uint8)
    inner = move(region, -wide.x0, -wide.y0)
    centre = others[int(inner.y0) : int(inner.y1), int(inner.x0) : int(inner.x1)]
    np.greater(window(count, region), own, out=centre, casting="unsafe")
    if not others.any():
        return None
    if margin:
        side = 2 * margin + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        return window(cv2.dilate(others, disc), inner)
    return window(others, inner)


def least_chance(behind: np.ndarray | None, config: ComposeConfig) -> np.ndarray | float:
    """Return the probability threshold of occluded pixels, by the evidence of an occluder.

    Args:
        behind: where other objects are visible, 0/1 from occluder_mask; None for nowhere.
        config: thresholds, and whether untracked objects may occlude.

    Returns:
        One number for all pixels, or float32 of the shape of `behind`; above 1 means never.
    """
    elsewhere = config.untracked_threshold if config.complete_into == "anything" else 2.0
    if behind is None:
        return elsewhere
    return np.where(behind != 0, np.float32(config.threshold), np.float32(elsewhere))


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
    image = Box(0, 0, count.shape[1], count.shape[0])
    inside = intersect(box, image)
    region = instance.box if inside is None else union(instance.box, inside)
    own = window(instance.mask, move(region, -instance.box.x0, -instance.box.y0))
    behind = occluder_mask(count, own, region, config.occluder_margin_px)
    anywhere = config.complete_into == "anything"
    if behind is None and not anywhere:
        hidden, chance = np.zeros_like(own, bool), None
    else:
        chance = paste(probability, box, region)
        hidden = (chance >= least_chance(behind, config)) & (own == 0)
    hidden_px, visible_px = int(np.count_nonzero(hidden)), int(np.count_nonzero(own))
    confidence = float(chance[hidden].mean()) if hidden_px and chance is not None else 1.0
    values, cut = own * np.uint8(255), None
    if chance is not None and config.mask_values == "probability":
        cut = hidden | (own != 0)
        open_to = (own == 0) if anywhere else (own == 0) & (behind != 0)
        values = np.where(open_to, np.round(chance * 255), values).astype(np.uint8)
    else:
        values[hidden] = 255
    tight = mask_box(values) or Box(0, 0, 1, 1)
    return AmodalObject(
        instance.id,
        instance.class_id,
        instance.score,
        source,
        move(tight, region.x0, region.y0),
        window(values, tight),
        window(own, tight),
        hidden_px / max(1, hidden_px + visible_px),
        confidence,
        motion,
        None if cut is None else window(cut, tight),
    )


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
