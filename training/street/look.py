"""Look of one street scene: its light, its textures."""

from __future__ import annotations

import math

import numpy as np

from training.street.backdrop import facade_texture, sky_panorama
from training.street.camera import Camera
from training.street.ground import Ground
from training.street.layout import Street
from training.street.render import TILE, Light
from training.street.texture import fractal, halvings

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
