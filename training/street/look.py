"""Look of one street scene: its light, its textures, its camera."""

from __future__ import annotations

import math

import cv2
import numpy as np

from training.street.backdrop import Ground, facade_texture, sky_panorama
from training.street.builder import Street
from training.street.render import TILE, Camera, Light, fractal, halvings

BANK = 3  # noise fields; shifted by random amounts they do not repeat


class Photo:
    """Develops the frames of one clip; the look drifts slowly from frame to frame.

    `strength` is 0 none .. 2 strong, `size` (height, width) [px].
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
        """Return the picture as the camera delivers it; uint8 BGR [H, W, 3] in and out."""
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
    """Return the tone curve that rolls off the highlights."""
    return np.clip(
        np.where(value < 0.75, value, 0.75 + 0.25 * (1 - np.exp(-(value - 0.75) / 0.25))), 0, 1
    )


FRONT_KINDS = ["house"] * 7 + ["wall"] * 3 + ["hedge"] * 2
FRONT_HEIGHT_M = {"house": 11.0, "wall": 2.2, "hedge": 2.0}
# Surface textures: strength, octaves, fall-off, size of one tile [m].
SURFACES = {
    "smooth": (0.05, 5, 0.7, 2.6),
    "cloth": (0.10, 6, 0.8, 0.9),
    "leaf": (0.30, 7, 0.95, 1.6),
    "rough": (0.12, 6, 0.8, 1.2),
}


def random_light(rng: np.random.Generator) -> Light:
    """Draw a sun position and the colours of sun, sky light and haze."""
    height, around = rng.uniform(0.35, 1.1), rng.uniform(0, 2 * math.pi)
    sun = np.array(
        [math.cos(height) * math.cos(around), math.cos(height) * math.sin(around), math.sin(height)]
    )
    strong = rng.uniform(0.5, 1.0) if rng.random() < 0.75 else rng.uniform(0, 0.25)
    warm = rng.uniform(0, 0.15)
    sky = np.array([1.08, 1.0, 0.94]) * (0.85 - 0.45 * strong)
    return Light(
        sun,
        np.array([1 - warm, 1.0, 1 + 0.4 * warm]) * strong,
        sky,
        sky * 0.35,
        np.array([0.86, 0.84, 0.82]),
        rng.uniform(300, 900),
    )


class Look:
    """Textures of a scene, drawn once.

    Attributes:
        ground: textured plane; panorama: far surroundings.
        fronts: textures of the house fronts with their halvings, in the order of FRONT_KINDS.
        tiles: surface textures by name, uint8 [TILE, TILE], 128 = unchanged, with halvings.
    """

    def __init__(self, rng: np.random.Generator, street: Street, light: Light, camera: Camera):
        self.ground = Ground(rng, street.half_road, street.kerb, street.shade, light)
        self.panorama = sky_panorama(rng, light, camera)
        self.fronts = [_front(rng, kind, light) for kind in FRONT_KINDS]
        self.tiles = {name: _tile(rng, *shape[:3]) for name, shape in SURFACES.items()}


def _front(rng: np.random.Generator, kind: str, light: Light) -> list[np.ndarray]:
    texture = facade_texture(rng, 14.0, FRONT_HEIGHT_M[kind], kind)
    texture = texture * (light.sky * 0.75 + light.sun_colour * rng.uniform(0.05, 0.55))
    return halvings(np.clip(texture, 0, 255).astype(np.uint8), 4)


def _tile(rng: np.random.Generator, strength: float, octaves: int, fall: float) -> list[np.ndarray]:
    grain = 128 * (1 + strength * fractal(rng, TILE, TILE, octaves, fall))
    return halvings(np.clip(grain, 0, 255).astype(np.uint8), 3)
