"""Wheels, lights, mirrors and other small parts of the cars."""

from __future__ import annotations

import numpy as np

from training.street.meshes import Mesh, at, box, disc, make_mesh, tread
from training.street.styles import CarSpec, Style, half_width

BLACK = (26.0, 25.0, 24.0)


def wheels(spec: CarSpec, shape: Style, fine: bool) -> list[Mesh]:
    """Four wheels; `fine` adds arches and hubs."""
    parts, r = [], spec.wheel_radius
    rim = (70, 70, 70) if spec.lights < 0.3 else (135, 135, 134)
    sill = shape.clearance * spec.height
    for axle in shape.axles:
        half = float(half_width(spec, np.array(axle)))
        for out in (-1, 1):
            side = np.array([0, out, 0])
            hub = np.array([(axle - 0.5) * spec.length, out * half, r])
            # Tyres lie behind the body, the outer faces before it when the camera is on that side.
            parts.append(tread(hub, r, -out * 0.22, BLACK, layer=0))
            parts.append(disc(hub - side * 0.22, r, -out, BLACK, layer=0))
            parts.append(disc(hub, r, out, BLACK, layer=0, near_layer=3))
            parts.append(
                disc(hub + side * 0.002, r * 0.66, out, rim, corners=10, layer=0, near_layer=3.3)
            )
            if fine:
                arch = hub + [0, 0, 0.02]
                parts.append(disc(arch, r * 1.13, out, (18, 18, 18), floor=sill, layer=2))
                dark = hub + side * 0.004
                parts.append(
                    disc(dark, r * 0.34, out, (60, 60, 60), corners=6, layer=0, near_layer=3.6)
                )
    return parts


def _surface_x(spec: CarSpec, deck_line: np.ndarray, y: float, z: float, end: int) -> float:
    """Place of the front (end = 1) or rear (-1) skin at half-width share y, height share z [m]."""
    u = np.linspace(0.5, 1, 120) if end > 0 else np.linspace(0.5, 0, 120)
    inside = (at(deck_line, u) >= z) & (half_width(spec, u) * 0.97 >= y * spec.width / 2)
    last = u[inside][-1] if inside.any() else 0.5
    return (float(last) - 0.5) * spec.length


def lights(spec: CarSpec, deck_line: np.ndarray) -> list[Mesh]:
    """Head and tail lights that wrap around the corners."""
    parts, pick = [], spec.lights
    top = float(at(deck_line, np.array(0.03))) - 0.03
    nose = float(at(deck_line, np.array(0.965))) - 0.03
    red = (30, 26, 165 if pick < 0.6 else 115)
    tail = (-1, top - (0.13 if pick < 0.5 else 0.2), top, 0.5 + 0.25 * pick, red)
    head = (1, nose - 0.1, nose, 0.48 + 0.15 * pick, (215, 214, 208))
    for end, low, high, inner, colour in (tail, head):
        for out in (-1, 1):
            points = [
                (
                    _surface_x(spec, deck_line, y, z, end) + end * 0.012,
                    out * (y * spec.width / 2 + 0.008),
                    z * spec.height,
                )
                for y in np.linspace(inner, 0.84, 4)
                for z in (low, high)
            ]
            quads = np.array([(0, 2, 3, 1), (2, 4, 5, 3), (4, 6, 7, 5)])
            quads = quads if out * end > 0 else quads[:, ::-1]
            parts.append(make_mesh(points, quads, colour, gloss=0.2, layer=2))
    return parts


def details(spec: CarSpec, shape: Style, deck_line: np.ndarray) -> list[Mesh]:
    """Number plates, mirrors, door gaps, roof rails."""
    length, height = spec.length, spec.height
    parts = []
    for end, white in ((-1, 215), (1, 225)):
        y = np.array([-0.26, 0.26, 0.26, -0.26]) * end
        z = np.array([-0.055, -0.055, 0.055, 0.055]) + 0.37 * height
        points = np.stack([np.full(4, end * (length / 2 + 0.006)), y, z], axis=1)
        parts.append(make_mesh(points, [(0, 1, 2, 3)], (white, white, white), layer=2))
    screen = shape.roof[-1][0]
    belt = float(at(deck_line, np.array(screen - 0.1))) * height
    for out in (-1, 1):
        mirror = ((screen - 0.6) * length, out * (spec.width / 2 * 0.93 + 0.055), belt + 0.08)
        size = (0.10, 0.25, 0.12)
        parts.append(box(size, mirror, spec.paint, gloss=0.3, layer=3, side=out, near_layer=6))
        for u in (*shape.pillars, screen - 0.06):
            parts.append(
                _door_gap((u - 0.5) * length, out * (spec.width / 2 + 0.003), height, spec)
            )
        if spec.roof_rails:
            rail = (-0.21 * length, out * 0.33 * spec.width, 0.995 * height)
            parts.append(box((0.27 * length, 0.04, 0.05), rail, (70, 70, 70), layer=5))
    return parts


def _door_gap(x: float, y: float, height: float, spec: CarSpec) -> Mesh:
    low, high = 0.24 * height, 0.62 * height
    left, right, top = x - 0.008, x + 0.008, y * 0.985
    points = [(left, y, low), (right, y, low), (right, top, high), (left, top, high)]
    quad = (3, 2, 1, 0) if y > 0 else (0, 1, 2, 3)
    return make_mesh(points, [quad], np.array(spec.paint) * 0.45, layer=2)
