"""Triangles with colours, simple shapes made of them, and random textures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

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


RGB = tuple[float, float, float]
SIDES = 24  # of a cylinder


@dataclass(frozen=True)
class Part:
    """Triangles that share a texture.

    Attributes:
        vertices, normals: float32 [V, 3], metres and unit vectors; faces: int32 [F, 3].
        uv: float32 [V, 2], place in the texture, (0, 0) at its lower left corner.
        colours: float32 [V, 3], sRGB 0..1; the texture's colours are multiplied with them.
        texture: uint8 [H, W, 4] RGBA, None for white; with `cut`, alpha below 0.4 is a hole.
        gloss: share of mirrored sky, 0..1.
    """

    vertices: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    colours: np.ndarray
    faces: np.ndarray
    texture: np.ndarray | None = None
    cut: bool = False
    gloss: float = 0.1

    def moved(self, turn: np.ndarray, shift: np.ndarray, scale: float = 1.0) -> Part:
        """Return the part scaled, turned by [3, 3] and moved by [3] m."""
        vertices = (self.vertices @ turn.T * scale + shift).astype(np.float32)
        normals = (self.normals @ turn.T).astype(np.float32)
        return dataclasses.replace(self, vertices=vertices, normals=normals)

    def painted(self, colour: RGB | np.ndarray) -> Part:
        """Return the part with its colours multiplied by one [3]."""
        colours = self.colours * np.asarray(colour, np.float32)
        return dataclasses.replace(self, colours=colours)


@dataclass(frozen=True)
class Model:
    """An object of the user; it stands on z = 0 with its box centred on the z axis.

    `category` is the name of its folder below the assets' folder, `object` without one. Where the
    file is not `painted`, each clip draws a colour. `collision` are points float32 [V, 3] of convex
    pieces; the hull of all vertices when empty.
    """

    name: str
    category: str
    parts: tuple[Part, ...]
    painted: bool
    collision: tuple[np.ndarray, ...] = ()

    @property
    def size(self) -> np.ndarray:
        """Return the sides of the box around the model, float [3], metres."""
        low, high = bounds(self.parts)
        return high - low


def bounds(parts: Iterable[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest coordinates [3] of all vertices."""
    lows, highs = zip(*((p.vertices.min(0), p.vertices.max(0)) for p in parts), strict=True)
    return np.min(lows, 0), np.max(highs, 0)


def make_part(
    vertices: np.ndarray,
    normals: np.ndarray,
    uv: np.ndarray,
    faces: np.ndarray,
    *,
    colour: RGB | np.ndarray = (1.0, 1.0, 1.0),
    texture: np.ndarray | None = None,
    cut: bool = False,
    gloss: float = 0.1,
) -> Part:
    """Return a Part with arrays of the right types; `colour` may be one or one per vertex."""
    vertices = np.asarray(vertices, np.float32).reshape(-1, 3)
    colours = np.broadcast_to(np.asarray(colour, np.float32), vertices.shape)
    return Part(
        vertices,
        np.asarray(normals, np.float32),
        np.asarray(uv, np.float32),
        np.ascontiguousarray(colours),
        np.asarray(faces, np.int32).reshape(-1, 3),
        texture,
        cut,
        gloss,
    )


def box(
    half: Iterable[float], texture: np.ndarray | None, repeat: float = 1.0, gloss: float = 0.1
) -> Part:
    """Return a box around the origin with half its sides [m].

    The texture is laid on all sides, `repeat` times over a metre; `gloss` as of Part.
    """
    half = np.asarray(tuple(half), float)
    points, normals, uv = [], [], []
    for axis in range(3):
        across = [i for i in range(3) if i != axis]
        for sign in (-1.0, 1.0):
            corners = np.empty((4, 3))
            corners[:, axis] = sign * half[axis]
            corners[:, across] = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half[across]
            points.append(corners)
            normals.append(np.tile(np.eye(3)[axis] * sign, (4, 1)))
            uv.append(corners[:, across] * repeat + 0.5)
    first = 4 * np.arange(6)[:, None, None]
    faces = (first + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    stacked = (np.concatenate(values) for values in (points, normals, uv))
    return make_part(*stacked, faces, texture=texture, gloss=gloss)


def cylinder(radius: float, height: float, texture: np.ndarray | None, gloss: float = 0.2) -> Part:
    """Return an upright cylinder around the origin with a flat top."""
    angle = np.linspace(0, 2 * np.pi, SIDES + 1)
    ring = np.stack((np.cos(angle), np.sin(angle), np.zeros_like(angle)), 1)
    low, high = ring * radius - [0, 0, height / 2], ring * radius + [0, 0, height / 2]
    around = np.stack((angle / np.pi, np.zeros_like(angle)), 1)
    points = np.concatenate((low, high, high, [[0, 0, height / 2]]))
    up = np.tile([0.0, 0.0, 1.0], (SIDES + 2, 1))
    normals = np.concatenate((ring, ring, up))
    uv = np.concatenate((around, around + [0, 3 * height], np.zeros((SIDES + 2, 2)) + 0.5))
    i, n = np.arange(SIDES), SIDES + 1
    faces = np.concatenate(
        (
            np.stack((i, i + 1, i + 1 + n), 1),
            np.stack((i, i + 1 + n, i + n), 1),
            np.stack((i + 2 * n, i + 1 + 2 * n, np.full(SIDES, 3 * n)), 1),
        )
    )
    return make_part(points, normals, uv, faces, texture=texture, gloss=gloss)
