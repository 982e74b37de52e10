"""Frames of drifting ellipses for measuring speed: as many objects as wanted, on any image size."""

import cv2
import numpy as np

PERIOD_NS = 100_000_000  # between two frames
ROWS, COLUMNS = 5, 20  # cells of the image, one object each
STEPS = 4  # frames of a clip before it runs backwards


def scene(size: tuple[int, int], tracks: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return a clip that is shown repeatedly, forwards and then backwards.

    An object covers about 0.8 % of the image, whatever its size (rows, columns) and the number of
    tracks, 1 to 100. They come in pairs side by side, of which one hides a part of the other.
    Returns images, uint8 BGR [H, W, 3], with label images, uint16 [H, W]: number of the object from
    1. Raises ValueError: more tracks than places.
    """
    if not 1 <= tracks <= ROWS * COLUMNS:
        raise ValueError(f"tracks must be 1 to {ROWS * COLUMNS}, got {tracks}: take fewer")
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(ROWS * COLUMNS // 2)
    cells = np.stack((2 * pairs, 2 * pairs + 1), 1).ravel()[:tracks]
    cell = np.array(size) / (ROWS, COLUMNS)
    centres = (np.stack(np.divmod(cells, COLUMNS), 1) + 0.5) * cell
    drift = rng.uniform(-0.05, 0.05, (tracks, 2)) * cell
    colours = rng.integers(0, 256, (tracks + 1, 3), np.uint8)
    texture = cv2.resize(rng.integers(0, 80, (size[0] // 4, size[1] // 4, 3), np.uint8), size[::-1])
    axes = tuple(int(v) for v in (0.6 * cell[1], 0.4 * cell[0]))
    clip = []
    for step in range(STEPS):
        labels = np.zeros(size, np.uint16)
        for number, at in enumerate(centres + step * drift, start=1):
            cv2.ellipse(labels, (round(at[1]), round(at[0])), axes, 0, 0, 360, number, -1)
        clip.append((cv2.addWeighted(colours[labels], 0.7, texture, 1.0, 0), labels))
    return clip + clip[-2:0:-1]
