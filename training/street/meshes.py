"""Low-poly meshes of the street scenes, lofted from profile curves."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Quads in object axes: x forward, y left, z up [m], origin on the ground below the middle.

    Attributes:
        vertices: float64 [V, 3]; quads: int [F, 4], counter-clockwise seen from outside.
        albedo: float32 [F, 3] BGR 0..255; gloss: float32 [F], share of mirrored surroundings.
        layer: float32 [F] drawing layer, low first; farthest first within one layer.
        side, near_layer: [F]; with the camera on that side (+1 left, -1 right, 0 both), the face
            moves to that layer.
    """

    vertices: np.ndarray
    quads: np.ndarray
    albedo: np.ndarray
    gloss: np.ndarray
    layer: np.ndarray
    side: np.ndarray
    near_layer: np.ndarray

    @cached_property
    def corners(self) -> np.ndarray:
        """Return the vertices of every quad, [F, 4, 3]."""
        return self.vertices[self.quads]

    @cached_property
    def centres(self) -> np.ndarray:
        """Return the middle of every quad, [F, 3]."""
        return self.corners.mean(axis=1)

    @cached_property
    def normals(self) -> np.ndarray:
        """Return the outward unit normals [F, 3]; a quad folded to a line has normal 0."""
        c = self.corners
        normal = np.cross(c[:, 2] - c[:, 0], c[:, 3] - c[:, 1])
        return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


def make_mesh(vertices, quads, albedo, *, gloss=0.0, layer=1.0, side=0, near_layer=None) -> Mesh:
    """Build a mesh; scalars and one colour are spread over all faces."""
    quads = np.asarray(quads, dtype=np.int32).reshape(-1, 4)
    count = len(quads)
    spread = lambda value: np.full(count, value, dtype=np.float32)  # noqa: E731
    colours = np.broadcast_to(np.asarray(albedo, dtype=np.float32), (count, 3)).copy()
    near = layer if near_layer is None else near_layer
    return Mesh(
        np.asarray(vertices, dtype=np.float64).reshape(-1, 3),
        quads,
        colours,
        spread(gloss),
        spread(layer),
        np.full(count, side, dtype=np.int32),
        spread(near),
    )


def join(meshes: list[Mesh]) -> Mesh:
    """Put meshes together."""
    starts = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    names = ("vertices", "albedo", "gloss", "layer", "side", "near_layer")
    stacked = {name: np.concatenate([getattr(mesh, name) for mesh in meshes]) for name in names}
    quads = np.concatenate([m.quads + start for m, start in zip(meshes, starts, strict=True)])
    return Mesh(quads=quads, **stacked)


def curve(points: list[tuple[float, float]], rounds: int = 2) -> np.ndarray:
    """Round a polyline by cutting its corners (Chaikin); the ends stay. Returns [N, 2]."""
    line = np.array(points, dtype=np.float64)
    for _ in range(rounds):
        quarter = line[:-1] * 0.75 + line[1:] * 0.25
        three = line[:-1] * 0.25 + line[1:] * 0.75
        middle = np.stack([quarter, three], axis=1).reshape(-1, 2)
        line = np.concatenate([line[:1], middle, line[-1:]])
    return line


def at(line: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the height of a curve [N, 2] at positions x, held constant beyond its ends."""
    return np.interp(x, line[:, 0], line[:, 1])


def loft(stations: np.ndarray, rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join rings of [S, R, 2] (y, z) at positions x [S]; rings run right to left over the top.

    Returns vertices [S * R, 3] and quads [(S - 1) * (R - 1), 4], facing outwards for rising x.
    """
    count, ring = rings.shape[:2]
    x = np.broadcast_to(stations[:, None, None], (count, ring, 1))
    vertices = np.concatenate([x, rings], axis=2).reshape(-1, 3)
    index = np.arange(count * ring).reshape(count, ring)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1)
    return vertices, quads.reshape(-1, 4)


def cap(ring: int, first: int, front: bool) -> np.ndarray:
    """Return the quads that close a symmetric ring of `ring` vertices starting at index `first`."""
    low = first + np.arange((ring - 1) // 2)
    high = first + ring - 1 - np.arange((ring - 1) // 2)
    quads = np.stack([low, high, high - 1, low + 1], axis=-1)
    return quads if front else quads[:, ::-1]


def box(
    size: tuple[float, float, float], centre: tuple[float, float, float], albedo, **kwargs
) -> Mesh:
    """Return a box with sizes and centre [m]; its underside is left out (never seen from a car)."""
    half = np.array(size) / 2
    corners = np.array(
        [[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]
    ) * half + np.array(centre)
    quads = [(0, 1, 5, 4), (3, 2, 6, 7), (1, 3, 7, 5), (2, 0, 4, 6), (4, 5, 7, 6)]
    return make_mesh(corners, quads, albedo, **kwargs)


def _circle(centre: np.ndarray, radius: float, corners: int) -> np.ndarray:
    """Return the corners of an upright polygon that faces sideways, [corners, 3]."""
    angle = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    return np.stack([np.cos(angle) * radius, np.zeros(corners), np.sin(angle) * radius], 1) + centre


def disc(
    centre: np.ndarray,
    radius: float,
    out: int,
    albedo,
    floor: float = -1.0,
    corners: int = 12,
    **kwargs,
) -> Mesh:
    """Return an upright disc facing left (`out` +1) or right (-1), cut off below z = floor."""
    points = _circle(centre, radius, corners)
    points[:, 2] = np.maximum(points[:, 2], floor)
    low = np.arange(corners // 2 - 1)
    quads = np.stack([low, low + 1, corners - 2 - low, corners - 1 - low], axis=-1)
    return make_mesh(points, quads if out < 0 else quads[:, ::-1], albedo, side=out, **kwargs)


def tread(
    centre: np.ndarray, radius: float, width: float, albedo, corners: int = 12, **kwargs
) -> Mesh:
    """Return a rim of a wheel whose outer face is at `centre`; `width` is signed along y."""
    circle = _circle(centre, radius, corners)
    points = np.concatenate([circle, circle + [0.0, width, 0.0]])
    i = np.arange(corners)
    j = (i + 1) % corners
    quads = np.stack([i, j, j + corners, i + corners], axis=-1)
    return make_mesh(points, quads[:, ::-1] if width > 0 else quads, albedo, **kwargs)
