"""Synthetic scenes with known truth: textured shapes that move over a textured ground."""

from __future__ import annotations

import cv2
import numpy as np

from savos_model.geometry import mask_box
from savos_model.types import Box, Frame, Instance


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth random colours, uint8 [H, W, 3], that optical flow can follow."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for sigma in (2, 5, 12):
        noise = cv2.GaussianBlur(
            rng.uniform(-1, 1, (height, width, 3)).astype(np.float32), (0, 0), sigma
        )
        total += noise / noise.std()
    return np.clip(rng.uniform(60, 190, 3) + 22 * total, 0, 255).astype(np.uint8)


def instance(track_id: str, mask: np.ndarray) -> Instance:
    """Instance of a full-size 0/1 mask."""
    box = mask_box(mask)
    assert box is not None
    x0, y0, x1, y1 = (int(v) for v in box)
    return Instance(
        track_id, Box(x0, y0, x1, y1), np.ascontiguousarray(mask[y0:y1, x0:x1], np.uint8)
    )


def rectangle(shape: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """Full-size 0/1 mask of a rectangle (x0, y0, x1, y1), cut at the border."""
    mask = np.zeros(shape, np.uint8)
    x0, y0, x1, y1 = box
    mask[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = 1
    return mask


def crossing(frames: int = 8, shape: tuple[int, int] = (120, 200), speed: int = 5) -> list[Frame]:
    """A wide still object (id 7) behind a tall one (id 9) crossing it at `speed` px per frame."""
    ground = texture(*shape, seed=0)
    skins = [texture(*shape, seed=1), texture(*shape, seed=2)]
    result = []
    for t in range(frames):
        x = 40 + speed * t
        behind = rectangle(shape, (60, 40, 140, 80))
        front = rectangle(shape, (x, 20, x + 30, 110))
        image = ground.copy()
        image[behind > 0] = skins[0][behind > 0]
        image[front > 0] = np.roll(skins[1], speed * t, axis=1)[front > 0]
        masks = [instance("7", behind * (1 - front)), instance("9", front)]
        result.append(Frame(t * 100_000_000, image, masks))
    return result
