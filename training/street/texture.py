"""Building blocks of procedural textures."""

from __future__ import annotations

import cv2
import numpy as np


def fractal(
    rng: np.random.Generator, height: int, width: int, octaves: int = 5, fall: float = 0.6
) -> np.ndarray:
    """Noise with detail at several scales that wraps around; float32 [height, width], spread 1."""
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        step = 2 ** (octaves - 1 - octave) * 2
        coarse = rng.normal(0, 1, (max(height // step, 2), max(width // step, 2))).astype(
            np.float32
        )
        coarse = np.pad(coarse, 1, mode="wrap")
        sx, sy = width / (coarse.shape[1] - 2), height / (coarse.shape[0] - 2)
        back = np.array([[1 / sx, 0, 1.0], [0, 1 / sy, 1.0]])
        total += fall**octave * cv2.warpAffine(
            coarse,
            back,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return total / total.std()


def halvings(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the picture and `count` copies, each half as large as the one before."""
    levels = [picture]
    for _ in range(count):
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return levels
