"""Random textures of tables, walls and boxes."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 256  # [px]
KINDS = ("wood", "plaster", "tiles", "stripes", "cloth", "shapes")


def noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return soft noise in [0, 1] with that many spots, float32 [SIDE, SIDE]."""
    spots = rng.random((rows, columns)).astype(np.float32)
    return np.clip(cv2.resize(spots, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), 0, 1)


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Return an RGB colour [3] in 0..1, mostly muted."""
    grey, full = rng.uniform(0.1, 0.92), rng.uniform(0.08, 0.95, 3)
    return grey + (full - grey) * rng.uniform(0.05, 0.75)


def surface(rng: np.random.Generator, kinds: tuple[str, ...] = KINDS) -> np.ndarray:
    """Return a random texture, uint8 [SIDE, SIDE, 4] RGBA, of one of `kinds`."""
    a, b = random_colour(rng), random_colour(rng)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    image = np.tile(a, (SIDE, SIDE, 1))
    match str(rng.choice(kinds)):
        case "wood":
            image = _wood(rng, x)
        case "tiles":
            count = int(rng.integers(2, 9))
            odd = (np.floor(x * count) + np.floor(y * count)) % 2 > 0
            image[odd] = (a + b) / 2
            image[(x * count % 1 < 0.04) | (y * count % 1 < 0.04)] = 0.6
        case "stripes":
            image[x * rng.integers(3, 20) % 1 < rng.uniform(0.2, 0.8)] = b
        case "cloth":
            image *= (0.8 + 0.2 * np.sin(x * 400) * np.sin(y * 400))[..., None]
        case "shapes":
            for _ in range(rng.integers(4, 14)):
                image[_blob(rng, x, y)] = random_colour(rng)
    grain = noise(rng, 64, 64) * 0.5 + noise(rng, 16, 16) * 0.5
    image = np.clip(image * (0.88 + 0.24 * grain[..., None]), 0, 1)
    return np.dstack((255 * image, np.full((SIDE, SIDE), 255))).astype(np.uint8)


def _wood(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    base = np.array([0.75, 0.55, 0.35]) * rng.uniform(0.4, 1.2) * rng.uniform(0.9, 1.1, 3)
    rings = 0.5 + 0.5 * np.sin(40 * (noise(rng, 6, 2) + 0.3 * x) + 6 * noise(rng, 128, 3))
    image = base * (0.75 + 0.25 * (0.6 * rings + 0.4 * noise(rng, 200, 5))[..., None])
    image[x % 0.25 < 0.006] *= 0.7
    return image


def _blob(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across, down, radius = rng.random(), rng.random(), rng.uniform(0.03, 0.22)
    if rng.random() < 0.5:
        return np.hypot(x - across, y - down) < radius
    return np.maximum(abs(x - across), abs(y - down) * rng.uniform(0.5, 3)) < radius
