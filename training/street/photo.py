"""Camera effects: exposure, tone curve, white balance, softness, sensor noise."""

from __future__ import annotations

import cv2
import numpy as np

BANK = 3  # noise fields; shifted by random amounts they do not repeat


class Photo:
    """Develops the frames of one clip; the look drifts slowly from frame to frame.

    Args:
        seed: of the clip; strength: 0 none .. 2 strong; size: (height, width) [px].
    """

    def __init__(self, seed: int, strength: float, size: tuple[int, int]):
        self.rng = np.random.default_rng([seed, 75])
        rng, self.strength = self.rng, strength
        self.target = float(rng.uniform(80, 125))  # brightness the exposure control aims at
        self.gain = 0.0
        self.gamma = float(rng.uniform(0.75, 1.2)) if strength else 1.0
        self.contrast = float(rng.uniform(0.85, 1.35)) if strength else 1.0
        self.balance = 1 + rng.normal(0, 0.03, 3) * strength
        self.blur = float(rng.uniform(0.35, 0.75)) * strength
        self.drift = 0.0
        spread = float(rng.uniform(1.0, 4.0)) * strength
        height, width = size
        self.fields = []
        for _ in range(BANK if spread > 0 else 0):
            field = rng.normal(0, spread, (height + 64, width + 64, 3))
            field += rng.normal(0, spread * 0.5, (height + 64, width + 64, 1))
            self.fields.append(np.clip(field + 128, 0, 255).astype(np.uint8))

    def develop(self, image: np.ndarray) -> np.ndarray:
        """Picture as the camera delivers it; uint8 BGR [H, W, 3] in and out."""
        rng = self.rng
        if not self.strength:
            return image
        wanted = float(np.clip(self.target / max(image[::8, ::8].mean(), 1), 0.6, 2.5))
        self.gain = wanted if not self.gain else 0.95 * self.gain + 0.05 * wanted
        self.drift = 0.9 * self.drift + float(rng.normal(0, 0.012)) * self.strength
        value = np.arange(256) / 255
        exposed = value * self.gain * (1 + self.drift)
        exposed = np.maximum(0.4 + (exposed - 0.4) * self.contrast, exposed * 0.25)
        tables = [exposed * b for b in self.balance]
        table = np.stack([255 * _shoulder(t) ** self.gamma for t in tables], axis=-1)
        image = cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8)[None])
        if self.blur > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.fields:
            field = self.fields[rng.integers(len(self.fields))]
            y, x = rng.integers(0, 64, 2)
            grain = field[y : y + image.shape[0], x : x + image.shape[1]]
            image = cv2.addWeighted(image, 1.0, grain, 1.0, -128)
        return image


def _shoulder(value: np.ndarray) -> np.ndarray:
    """Tone curve that rolls off the highlights."""
    return np.clip(
        np.where(value < 0.75, value, 0.75 + 0.25 * (1 - np.exp(-(value - 0.75) / 0.25))), 0, 1
    )
