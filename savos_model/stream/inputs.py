"""Write the network input of one object: colours, masks and flow of its crop box."""

from __future__ import annotations

import cv2
import numpy as np

from savos_model.config import ModelConfig
from savos_model.geometry import crop, intersect, is_sampled, move, sample_means, window
from savos_model.motion import flow_scale
from savos_model.network.layers import FLOW, RGB, VISIBLE
from savos_model.stream.flow import FlowRegion
from savos_model.types import Box, Frame, Instance

BYTE = np.uint8(255)
NO_MASK, OWN = 127, np.uint8(254)  # levels between others' visible pixels, 0, and the object's


def fill_patch(
    patch: np.ndarray,
    frame: Frame,
    count: np.ndarray,
    item: Instance,
    box: Box,
    region: FlowRegion,
    model: ModelConfig,
) -> None:
    """Write colours, visible mask and flow of one object into a patch.

    Args:
        patch: float32 [6 or 7, h, w]; a prior is left as it is.
        frame: the frame that `item` belongs to.
        count: uint8 [H, W], visible masks over each pixel.
        item: the object's visible mask in `frame`.
        box: integer crop box.
        region: flow around the box, into the frame that `model` expects.
        model: patch size and conventions.
    """
    colours = crop(frame.image, box, model.patch)
    if colours.ndim == 2:
        patch[RGB] = colours[None]
    else:
        patch[RGB] = colours.transpose(2, 0, 1)[:: -1 if frame.order == "bgr" else 1]
    patch[RGB] /= 255
    patch[VISIBLE] = mask_channel(count, item, box, model)
    patch[FLOW] = region.patch(box, model.patch, flow_scale(model, box))
    if model.blanks:
        clear = np.minimum(patch[VISIBLE] + 1, 1)  # less than 1 where other objects are visible
        np.maximum(clear, 0, out=clear)
        patch[RGB] *= clear
        patch[FLOW] *= clear


def mask_channel(count: np.ndarray, item: Instance, box: Box, model: ModelConfig) -> np.ndarray:
    """Return V in [0, 1]; with the occluder hint minus other objects' visible masks: [-1, 1].

    The hint, which the paper does not have, shows the network where occluded pixels may be.
    """
    inside = intersect(box, Box(0, 0, count.shape[1], count.shape[0])) or item.box
    if is_sampled(count.shape, box):
        return sampled_channel(count, item, box, inside, model)
    own = window(item.mask, move(inside, -item.box.x0, -item.box.y0))
    signed = own.view(np.int8)
    if model.occluder_hint:
        signed = signed - ((window(count, inside) != 0) & (own == 0))
    return crop(signed.astype(np.float32), move(box, -inside.x0, -inside.y0), model.patch)


def sampled_channel(
    count: np.ndarray, item: Instance, box: Box, inside: Box, model: ModelConfig
) -> np.ndarray:
    """Return `mask_channel` from samples; `inside` is the box cut to the image."""
    if not model.occluder_hint:
        own = sample_means(item.mask * BYTE, move(box, -item.box.x0, -item.box.y0), model.patch)
        return own / np.float32(BYTE)
    # One image of three levels: sampling costs more than drawing it.
    seen = cv2.threshold(window(count, inside), 0, NO_MASK, cv2.THRESH_BINARY_INV)[1]
    shared = intersect(item.box, inside)
    if shared is not None:
        mask = window(item.mask, move(shared, -item.box.x0, -item.box.y0))
        part = window(seen, move(shared, -inside.x0, -inside.y0))
        np.maximum(part, mask * OWN, out=part)
    means = sample_means(seen, move(box, -inside.x0, -inside.y0), model.patch, NO_MASK)
    return (means - np.float32(NO_MASK)) / np.float32(NO_MASK)
