"""Figures made of convex hulls around spheres: their parts and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from training.street.render import NEAR_M, Camera, Drawing, Light, hazed, pose_matrix

CIRCLE = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], axis=1)


@dataclass(frozen=True)
class Hulls:
    """Parts of a figure: each is the convex hull of some spheres.

    Attributes:
        centres: float64 [N, 3] in object axes [m]; radii: float64 [N] [m].
        parts: indices of the spheres of every part; colours: [P, 3] BGR 0..255.
    """

    centres: np.ndarray
    radii: np.ndarray
    parts: list[tuple[int, ...]]
    colours: np.ndarray

    @classmethod
    def of(cls, centres: list, radii: list, parts: list, colours: list) -> Hulls:
        """Return a figure of lists."""
        places, sizes, paints = (np.array(values, float) for values in (centres, radii, colours))
        return cls(places, sizes, parts, paints)

    @cached_property
    def index(self) -> np.ndarray:
        """Return the spheres of every part, int [P, K]; short parts repeat their spheres."""
        most = max(len(part) for part in self.parts)
        return np.array([(part * most)[:most] for part in self.parts])


class HullBuilder:
    """Collects spheres and the parts between them."""

    def __init__(self) -> None:
        self.centres, self.radii, self.parts, self.colours = [], [], [], []

    def sphere(self, centre: np.ndarray, radius: float) -> int:
        """Add a sphere [m]; returns its number."""
        self.centres.append(np.asarray(centre, dtype=np.float64))
        self.radii.append(radius)
        return len(self.radii) - 1

    def part(self, colour: tuple, *spheres: int) -> None:
        """Add the hull of some spheres."""
        self.parts.append(spheres)
        self.colours.append(colour)

    def done(self) -> Hulls:
        """Finish the figure."""
        return Hulls.of(self.centres, self.radii, self.parts, self.colours)


def draw_hulls(
    hulls: Hulls,
    position: np.ndarray,
    heading: float,
    camera: Camera,
    light: Light,
    lit: float,
    round_look: bool = True,
) -> Drawing:
    """Project a figure that stands at `position` [3] with `heading` [rad]."""
    points = camera.to_camera(hulls.centres @ pose_matrix(heading).T + position)
    depth, index = points[:, 2], hulls.index
    usable = (depth > NEAR_M + hulls.radii)[index].all(axis=1)
    if not usable.any():
        return Drawing()
    far = depth[index].mean(axis=1)
    order = np.argsort(-far, kind="stable")
    order = order[usable[order]]
    safe = np.maximum(points, [-np.inf, -np.inf, NEAR_M])
    pixels = camera.project(safe)[:, None]
    radius = (camera.focal * hulls.radii / safe[:, 2])[:, None, None]
    shells = [(pixels + CIRCLE * radius).astype(np.float32)]
    side = light.ground * 0.3 + light.sky * 0.62 + light.sun_colour * (lit * 0.15)
    paints = [hulls.colours * side]
    near = max(float(depth.min()), NEAR_M)
    if round_look and near < 20:
        # Every part is drawn again smaller, moved towards the light: a round look for little work.
        towards = CIRCLE * 0.6 + 0.35 * camera.rotation[:2] @ light.sun
        shells.append((pixels + towards * radius).astype(np.float32))
        face = light.ground * 0.2 + light.sky * 0.85 + light.sun_colour * (lit * 0.65)
        paints.append(hulls.colours * face)
    polygons, colours = [], []
    for i in order.tolist():
        part = hulls.parts[i]
        for shell, paint in zip(shells, paints, strict=True):
            if len(part) == 1:
                polygons.append(shell[part[0]])
            else:
                polygons.append(cv2.convexHull(shell[index[i]].reshape(-1, 2))[:, 0])
            colours.append(paint[i])
    return Drawing(polygons, hazed(np.array(colours), near, light), near)
