"""Pixels of training windows on the CPU, as bytes and by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

WHOLE = 255  # a mask's byte where it covers a pixel wholly
UNIT = np.float32(1 / WHOLE)
HALF = 127  # the byte that bounds a mask


def pixel_maps(
    source: Tensor, target: Tensor, size: tuple[int, int], patch: tuple[int, int]
) -> np.ndarray:
    """Return where the pixels of patches lie in pictures, as maps x -> a x + b of both axes.

    Args:
        source: float [..., 4], boxes that the pictures fill [px]; mirrored where x0 > x1.
        target: float [..., 4], boxes of the patches [px].
        size: rows and columns of the pictures.
        patch: rows and columns of the patches.

    Returns:
        float64 [..., 2, 3], affine maps of OpenCV.
    """
    given, wanted = source.double().numpy(), target.double().numpy()
    density = np.array(size[::-1]) / (given[..., 2:] - given[..., :2])
    step = (wanted[..., 2:] - wanted[..., :2]) / patch[::-1]
    maps = np.zeros((*step.shape, 3))
    maps[..., (0, 1), (0, 1)] = step * density
    maps[..., 2] = (wanted[..., :2] + step / 2 - given[..., :2]) * density - 0.5
    return maps


def look(
    picture: np.ndarray, place: np.ndarray, patch: tuple[int, int], *, endless: bool = False
) -> np.ndarray:
    """Return a picture [H, W] or [H, W, C], bilinear at the places of a patch: [h, w] or [h, w, C].

    Beyond the border the picture is 0, or continues as it ends where it is `endless`.
    """
    return cv2.warpAffine(
        picture,
        place,
        patch[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if endless else cv2.BORDER_CONSTANT,
    )


def look_at_mask(mask: np.ndarray, place: np.ndarray, patch: tuple[int, int]) -> np.ndarray:
    """Return `look` of a byte mask [H, W]; of an empty one without any work."""
    return look(mask, place, patch) if mask.any() else np.zeros(patch, np.uint8)


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product of byte masks [..., h, w], 255 being 1."""
    flat = (-1, a.shape[-1])
    return cv2.multiply(a.reshape(flat), b.reshape(flat), scale=1 / WHOLE).reshape(a.shape)


def to_bytes(values: Tensor) -> np.ndarray:
    """Return bytes of a tensor of bytes, or of floats in [0, 1]."""
    if values.is_floating_point():
        values = (values * WHOLE + 0.5).byte()
    return values.numpy()


def to_floats(values: np.ndarray) -> Tensor:
    """Return floats in [0, 1] of bytes."""
    return torch.from_numpy(values * UNIT)
