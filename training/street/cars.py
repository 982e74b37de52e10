"""Meshes of the cars: a body and a cabin lofted from the profiles of their style."""

from __future__ import annotations

import numpy as np

from training.street.car_parts import BLACK, details, lights, wheels
from training.street.meshes import Mesh, at, box, cap, curve, join, loft, make_mesh
from training.street.styles import STYLES, CarSpec, Style, half_width

GLASS = (62.0, 54.0, 48.0)
# fmt: off
# Cross-section of the body: share of the half-width, share of the height between floor and deck.
BODY_LEVELS = [(.84, 0), (.965, .1), (1, .38), (.99, .62), (.965, .82), (.90, .95), (.80, 1)]
CABIN_LEVELS = [0, .08, .45, .80, .93, .98]
# Where along the car, from the rear, cross-sections are taken.
FINE = (0, .003, .012, .03, .07, .13, .22, .35, .5, .65, .735, .8, .87, .92, .955, .98, .993, 1)
COARSE = (0, .012, .05, .2, .5, .735, .87, .955, .985, 1)
# fmt: on


def build_car(spec: CarSpec, fine: bool = True) -> Mesh:
    """Mesh of a car; `fine` False leaves out what is not seen from afar."""
    shape, rng = STYLES[spec.style], np.random.default_rng(spec.seed)

    def vary(points: list[tuple[float, float]], amount: float) -> list[tuple[float, float]]:
        return [(x, z + rng.normal(0, amount)) for x, z in points]

    roof = [shape.roof[0], *vary(shape.roof[1:-1], 0.006), shape.roof[-1]]
    deck_line, roof_line = curve(vary(shape.deck, 0.008)), curve(roof)
    parts = [_body(spec, shape, deck_line, fine), _cabin(spec, shape, deck_line, roof_line, fine)]
    parts += wheels(spec, shape, fine)
    if fine:
        parts += lights(spec, deck_line) + details(spec, shape, deck_line)
    if spec.roof_box:
        place = (-0.08 * spec.length, 0, spec.height + 0.15)
        parts.append(box((1.7, 0.7, 0.3), place, BLACK, gloss=0.3, layer=5))
    return join(parts)


def _body(spec: CarSpec, shape: Style, deck_line: np.ndarray, fine: bool) -> Mesh:
    """Lower body: bumpers, sides, bonnet, boot lid."""
    u = np.array(FINE if fine else COARSE)
    c = shape.clearance
    ends = [(0, c + 0.055), (0.015, c + 0.04), (0.06, c + 0.02), (0.2, c)]
    floor = curve([*ends, (0.8, c), (0.92, c), (0.98, c + 0.005), (1, c + 0.03)])
    low, top = at(floor, u) * spec.height, at(deck_line, u) * spec.height
    half = half_width(spec, u)
    levels = np.array(BODY_LEVELS if fine else BODY_LEVELS[::2])
    right = np.stack(
        [-half[:, None] * levels[:, 0], low[:, None] + (top - low)[:, None] * levels[:, 1]], axis=-1
    )
    crown = np.stack([0 * half, top + 0.012 * spec.height], axis=-1)[:, None]
    rings = np.concatenate([right, crown, right[:, ::-1] * [-1, 1]], axis=1)
    vertices, quads = loft((u - 0.5) * spec.length, rings)
    ring = rings.shape[1]
    last = (len(u) - 1) * ring
    quads = np.concatenate([quads, cap(ring, 0, False), cap(ring, last, True)])
    mesh = make_mesh(vertices, quads, spec.paint, gloss=0.35)
    _paint_body(spec, mesh)
    return mesh


def _paint_body(spec: CarSpec, mesh: Mesh) -> None:
    """Colour grille, sills and plastic bumpers on the faces of the lower body."""
    centre = mesh.centres
    x, z = centre[:, 0] / spec.length, centre[:, 2] / spec.height
    y = np.abs(centre[:, 1]) / (spec.width / 2)
    ends = np.abs(x) > 0.44
    sill = z < 0.22
    mesh.albedo[sill] = np.array(BLACK) + 12
    if spec.plastic_bumper:
        mesh.albedo[ends & (z < 0.40)] = (48, 47, 46)
    mesh.albedo[(x > 0.485) & (y < 0.55) & (z > 0.28) & (z < 0.42)] = np.array(BLACK) + 8
    mesh.gloss[sill] = 0


def _cabin(
    spec: CarSpec, shape: Style, deck_line: np.ndarray, roof_line: np.ndarray, fine: bool
) -> Mesh:
    """Glass house and roof above the belt line."""
    u0, u1 = roof_line[0, 0], roof_line[-1, 0]
    steps = np.linspace(0, 1, 15 if fine else 7)
    u = u0 + (u1 - u0) * steps
    pillars = np.array(shape.pillars)
    u = np.unique(
        np.concatenate(
            [u, u0 + (u1 - u0) * np.array([0.01, 0.03]), pillars - 0.012, pillars + 0.012]
        )
    )
    base = at(deck_line, u) * spec.height
    top = np.maximum(at(roof_line, u) * spec.height, base + 0.001)
    # The windscreen is curved in plan, so its foot reaches further forward in the middle.
    belt = half_width(spec, u) * np.interp(
        u, [u0, u0 + 0.08, u1 - 0.15, u1], [0.88, 0.93, 0.93, 0.86]
    )
    roof = spec.width / 2 * shape.roof_width * np.interp(u, [u0, 0.3, u1], [0.97, 1, 1.04])
    q = np.array(CABIN_LEVELS if fine else [0.0, 0.1, 0.8, 0.96])
    # The sides lean in with height, so a windscreen is wide at its foot; above 0.9 the roof edge
    # is rounded.
    rise = q * ((top - base) / (top - base).max())[:, None]
    half = belt[:, None] + (np.minimum(roof, belt) - belt)[:, None] * np.minimum(rise / 0.9, 1)
    half = half * np.where(q > 0.9, 1 - (q - 0.9) * 2, 1.0)
    right = np.stack([-half, base[:, None] + (top - base)[:, None] * q], axis=-1)
    crown = np.stack([0 * top, top], axis=-1)[:, None]
    rings = np.concatenate([right, crown, right[:, ::-1] * [-1, 1]], axis=1)
    vertices, quads = loft((u - 0.5) * spec.length, rings)
    mesh = make_mesh(vertices, quads, spec.paint, gloss=0.4, layer=4)
    _glaze(mesh, u, top, q, rings.shape[1], shape)
    return mesh


def _glaze(
    mesh: Mesh, u: np.ndarray, top: np.ndarray, q: np.ndarray, ring: int, shape: Style
) -> None:
    """Turn the windows of a cabin loft into glass."""
    level = np.concatenate([(q[1:] + q[:-1]) / 2, [0.99]])
    level = np.concatenate([level, level[::-1]])[: ring - 1]
    slope = np.diff(top) / np.diff(u)
    middle = (u[1:] + u[:-1]) / 2
    side = (level > 0.06) & (level < 0.82)
    for i, x in enumerate(middle):
        pillar = any(abs(x - p) < 0.0125 for p in shape.pillars)
        steep = abs(slope[i]) > 1.3
        row = slice(i * (ring - 1), (i + 1) * (ring - 1))
        edge = x < u[0] + 0.012 * (u[-1] - u[0]) * (1 + 6 * (i == 0))
        screen = steep & (level > 0.9) & (not edge)
        window = side & (not pillar) & (x > u[0] + 0.09 * (u[-1] - u[0]))
        glass = screen | window
        mesh.albedo[row][glass] = GLASS
        mesh.gloss[row][glass] = 0.55
