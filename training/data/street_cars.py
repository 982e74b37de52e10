"""Cars of the street scenes: five body styles with random proportions, colours, lights, wheels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.street_meshes import (
    Mesh,
    at,
    box,
    cap,
    curve,
    disc,
    join,
    loft,
    make_mesh,
    tread,
)
from training.data.street_styles import PAINTS, PLAN, SHARES, STYLES, Style

GLASS = (62.0, 54.0, 48.0)
BLACK = (26.0, 25.0, 24.0)


PLAN_LINE = curve(PLAN)
BODY_LEVELS = [
    (0.84, 0.0),
    (0.965, 0.1),
    (1.0, 0.38),
    (0.99, 0.62),
    (0.965, 0.82),
    (0.90, 0.95),
    (0.80, 1.0),
]
CABIN_LEVELS = [0.0, 0.08, 0.45, 0.80, 0.93, 0.98]
FINE = (
    0,
    0.003,
    0.012,
    0.03,
    0.07,
    0.13,
    0.22,
    0.35,
    0.5,
    0.65,
    0.735,
    0.8,
    0.87,
    0.92,
    0.955,
    0.98,
    0.993,
    1,
)
COARSE = (0, 0.012, 0.05, 0.2, 0.5, 0.735, 0.87, 0.955, 0.985, 1)


@dataclass(frozen=True)
class CarSpec:
    """Random choices of one car; `build_car` makes its mesh."""

    style: str
    length: float
    width: float
    height: float
    paint: tuple[float, float, float]
    wheel_radius: float
    plastic_bumper: bool
    roof_rails: bool
    roof_box: bool
    lights: float
    plan_round: float
    seed: int


def random_car(rng: np.random.Generator, style: str | None = None) -> CarSpec:
    """Draw a car; `style` fixes the body style."""
    names = list(SHARES)
    name = style or names[rng.choice(len(names), p=list(SHARES.values()))]
    shape = STYLES[name]
    # One factor couples the sizes: long cars are also wide and, within a style, a little taller.
    big = rng.uniform(0, 1)
    size = lambda low_high, own: (
        low_high[0]
        + (low_high[1] - low_high[0])
        * (  # noqa: E731
            (1 - own) * big + own * rng.uniform(0, 1)
        )
    )
    colours, weights = zip(*PAINTS, strict=True)
    paint = np.array(
        colours[rng.choice(len(colours), p=np.array(weights) / sum(weights))], dtype=np.float64
    )
    paint = np.clip(paint * rng.uniform(0.8, 1.15) + rng.normal(0, 5, 3), 8, 245)
    return CarSpec(
        name,
        size(shape.length, 0.3),
        size(shape.width, 0.4),
        size(shape.height, 0.6),
        tuple(paint),
        size(shape.wheel, 0.4),
        bool(rng.random() < 0.25),
        bool(name in ("estate", "suv") and rng.random() < 0.5),
        bool(rng.random() < 0.03),
        rng.uniform(0, 1),
        rng.uniform(0.85, 1.1),
        int(rng.integers(1 << 30)),
    )


def build_car(spec: CarSpec, fine: bool = True) -> Mesh:
    """Mesh of a car; `fine` False leaves out what is not seen from afar."""
    shape, rng = STYLES[spec.style], np.random.default_rng(spec.seed)
    vary = lambda points, amount: [(x, z + rng.normal(0, amount)) for x, z in points]  # noqa: E731
    roof = [*vary(shape.roof[:1], 0.0), *vary(shape.roof[1:-1], 0.006), *shape.roof[-1:]]
    deck_line, roof_line = curve(vary(shape.deck, 0.008)), curve(roof)
    parts = [_body(spec, shape, deck_line, fine), _cabin(spec, shape, deck_line, roof_line, fine)]
    parts += _wheels(spec, shape, fine)
    if fine:
        parts += _details(spec, shape, deck_line)
    if spec.roof_box:
        parts.append(
            box(
                (1.9, 0.75, 0.36),
                (-0.05 * spec.length, 0, spec.height + 0.2),
                BLACK,
                gloss=0.3,
                layer=5,
            )
        )
    return join(parts)


def _half_width(spec: CarSpec, u: np.ndarray) -> np.ndarray:
    plan = 1 - (1 - at(PLAN_LINE, u)) * spec.plan_round
    return plan * spec.width / 2


def _body(spec: CarSpec, shape: Style, deck_line: np.ndarray, fine: bool) -> Mesh:
    """Lower body: bumpers, sides, bonnet, boot lid."""
    u = np.array(FINE if fine else COARSE)
    c = shape.clearance
    floor = curve(
        [
            (0, c + 0.09),
            (0.015, c + 0.06),
            (0.06, c + 0.03),
            (0.2, c),
            (0.8, c),
            (0.92, c),
            (0.98, c + 0.01),
            (1, c + 0.05),
        ]
    )
    low, top = at(floor, u) * spec.height, at(deck_line, u) * spec.height
    half = _half_width(spec, u)
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
    """Colour lights, grille, sills and plastic bumpers on the faces of the lower body."""
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
    belt = _half_width(spec, u) * np.interp(
        u, [u0, u0 + 0.08, u1 - 0.15, u1], [0.88, 0.93, 0.93, 0.86]
    )
    roof = spec.width / 2 * shape.roof_width * np.interp(u, [u0, 0.3, u1], [0.97, 1, 1.04])
    q = np.array(CABIN_LEVELS if fine else [0.0, 0.1, 0.8, 0.96])
    # The sides lean in with height, so a windscreen is wide at its foot; above q = 0.9 the roof edge is rounded.
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


def _wheels(spec: CarSpec, shape: Style, fine: bool) -> list[Mesh]:
    parts, r = [], spec.wheel_radius
    rim = (70, 70, 70) if spec.lights < 0.3 else (135, 135, 134)
    for axle in shape.axles:
        x = (axle - 0.5) * spec.length
        for out in (-1, 1):
            half = float(_half_width(spec, np.array(axle)))
            hub = np.array([x, out * (half - 0.02), r])
            parts.append(tread(hub + [0, out * 0.024, 0], r, -out * 0.22, BLACK, layer=0))
            parts.append(disc(hub - [0, out * 0.196, 0], r, -out, BLACK, layer=0))
            if fine:
                arch = hub + [0, out * 0.022, 0.02]
                parts.append(
                    disc(
                        arch,
                        r * 1.13,
                        out,
                        (18, 18, 18),
                        floor=shape.clearance * spec.height,
                        layer=2,
                    )
                )
            parts.append(disc(hub + [0, out * 0.024, 0], r, out, BLACK, layer=0, near_layer=3))
            parts.append(
                disc(
                    hub + [0, out * 0.026, 0],
                    r * 0.66,
                    out,
                    rim,
                    corners=10,
                    layer=0,
                    near_layer=3.3,
                )
            )
            if fine:
                parts.append(
                    disc(
                        hub + [0, out * 0.028, 0],
                        r * 0.34,
                        out,
                        (60, 60, 60),
                        corners=6,
                        layer=0,
                        near_layer=3.6,
                    )
                )
    return parts


def _surface_x(spec: CarSpec, deck_line: np.ndarray, y: float, z: float, end: int) -> float:
    """Where the front (end = 1) or rear (-1) skin is at half-width share y and height share z [m]."""
    u = np.linspace(0.5, 1, 120) if end > 0 else np.linspace(0.5, 0, 120)
    inside = (at(deck_line, u) >= z) & (_half_width(spec, u) * 0.97 >= y * spec.width / 2)
    return (
        (float(u[inside].max() if end > 0 else u[inside].min()) - 0.5) * spec.length
        if inside.any()
        else 0.0
    )


def _lights(spec: CarSpec, deck_line: np.ndarray) -> list[Mesh]:
    """Head and tail lights that wrap around the corners."""
    parts, pick = [], spec.lights
    top = float(at(deck_line, np.array(0.03))) - 0.03
    tail = (top - (0.13 if pick < 0.5 else 0.2), top)
    nose = float(at(deck_line, np.array(0.965)))
    head = (nose - 0.13, nose - 0.03)
    for end, (low, high), inner, colour in (
        (-1, tail, 0.5 + 0.25 * pick, (30, 26, 165 if pick < 0.6 else 115)),
        (1, head, 0.48 + 0.15 * pick, (215, 214, 208)),
    ):
        for out in (-1, 1):
            steps = np.linspace(inner, 0.90 if end < 0 else 0.93, 4)
            grid = [
                [
                    (
                        _surface_x(spec, deck_line, y, z, end) + end * 0.012,
                        out * (y * spec.width / 2 + 0.008),
                        z * spec.height,
                    )
                    for z in (low, high)
                ]
                for y in steps
            ]
            points = np.array(grid).reshape(-1, 3)
            quads = np.array([(0, 2, 3, 1), (2, 4, 5, 3), (4, 6, 7, 5)])
            parts.append(
                make_mesh(
                    points, quads if out * end > 0 else quads[:, ::-1], colour, gloss=0.2, layer=2
                )
            )
    return parts


def _details(spec: CarSpec, shape: Style, deck_line: np.ndarray) -> list[Mesh]:
    """Mirrors, number plates, door gaps, roof rails."""
    length, height = spec.length, spec.height
    parts = _lights(spec, deck_line)
    for end, white in ((-1, 215), (1, 225)):
        x = end * (length / 2 + 0.006)
        y, z = (
            np.array([-0.26, 0.26, 0.26, -0.26]) * end,
            np.array([-0.055, -0.055, 0.055, 0.055]) + 0.37 * height,
        )
        points = np.stack([np.full(4, x), y, z], axis=1)
        parts.append(make_mesh(points, [(0, 1, 2, 3)], (white, white, white), layer=2))
    mirror_u = shape.roof[-1][0] - 0.10
    belt = float(at(deck_line, np.array(mirror_u))) * height
    for out in (-1, 1):
        reach = spec.width / 2 * 0.93 + 0.10
        parts.append(
            box(
                (0.10, 0.18, 0.12),
                ((mirror_u - 0.5) * length, out * reach, belt + 0.08),
                spec.paint,
                gloss=0.3,
                layer=3,
                side=out,
                near_layer=6,
            )
        )
        for u in (*shape.pillars, shape.roof[-1][0] - 0.06):
            x, y = (u - 0.5) * length, out * (spec.width / 2 + 0.003)
            points = [
                (x - 0.008, y, 0.24 * height),
                (x + 0.008, y, 0.24 * height),
                (x + 0.008, y * 0.985, 0.62 * height),
                (x - 0.008, y * 0.985, 0.62 * height),
            ]
            quad = (3, 2, 1, 0) if out > 0 else (0, 1, 2, 3)
            parts.append(make_mesh(points, [quad], np.array(spec.paint) * 0.45, layer=2))
        if spec.roof_rails:
            parts.append(
                box(
                    (0.27 * length, 0.04, 0.05),
                    (-0.21 * length, out * 0.33 * spec.width, 0.995 * height),
                    (70, 70, 70),
                    layer=5,
                )
            )
    return parts
