"""Cars of the street scenes: their styles, and meshes of body, cabin, wheels and small parts."""

from dataclasses import dataclass

import numpy as np

from training.street.meshes import Mesh, at, box, cap, curve, disc, join, loft, make_mesh, tread


@dataclass(frozen=True)
class Style:
    """One body style.

    Attributes:
        length, width, height: ranges [m].
        deck: upper edge of the lower body (boot, belt, bonnet, nose): share of the length from the
            rear, share of the height.
        roof: the same for the glass house.
        clearance: lower edge as share of the height; axles: shares of the length from the rear.
        roof_width: width of the roof as share of the car's; wheel: range of the wheel radius [m].
        pillars: shares of the length from the rear.
    """

    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    deck: list[tuple[float, float]]
    roof: list[tuple[float, float]]
    clearance: float
    axles: tuple[float, float]
    roof_width: float
    wheel: tuple[float, float]
    pillars: tuple[float, ...]


# fmt: off
STYLES = {
    "sedan": Style(
        (4.35, 5.0), (1.72, 1.88), (1.40, 1.49),
        [(0, .40), (.003, .54), (.012, .655), (.04, .70), (.15, .71), (.3, .69), (.64, .665),
         (.735, .645), (.87, .585), (.95, .535), (.984, .47), (1, .37)],
        [(.12, .70), (.2, .80), (.29, .935), (.36, .985), (.45, 1.0), (.53, .99), (.6, .95),
         (.745, .645)],
        0.135, (.205, .805), .70, (.30, .34), (.47,)),
    "hatch": Style(
        (3.55, 4.3), (1.62, 1.80), (1.40, 1.54),
        [(0, .38), (.003, .50), (.01, .60), (.03, .65), (.1, .66), (.62, .635), (.745, .615),
         (.88, .56), (.955, .505), (.986, .44), (1, .35)],
        [(.012, .63), (.03, .72), (.065, .90), (.10, .965), (.2, .99), (.34, 1.0), (.46, .99),
         (.55, .95), (.765, .615)],
        .13, (.165, .815), .71, (.28, .32), (.40,)),
    "estate": Style(
        (4.4, 4.95), (1.72, 1.86), (1.43, 1.54),
        [(0, .38), (.003, .51), (.01, .61), (.03, .66), (.1, .67), (.62, .65), (.735, .635),
         (.87, .575), (.95, .52), (.984, .455), (1, .36)],
        [(.012, .64), (.035, .73), (.085, .92), (.12, .965), (.24, .99), (.4, 1.0), (.52, .985),
         (.59, .945), (.745, .635)],
        .13, (.2, .805), .71, (.30, .33), (.28, .46)),
    "suv": Style(
        (4.15, 4.85), (1.76, 1.92), (1.62, 1.80),
        [(0, .38), (.003, .51), (.01, .60), (.025, .64), (.1, .65), (.62, .635), (.74, .625),
         (.87, .60), (.955, .545), (.986, .48), (1, .38)],
        [(.01, .62), (.025, .71), (.055, .91), (.085, .96), (.2, .99), (.38, 1.0), (.5, .985),
         (.58, .945), (.75, .625)],
        .155, (.185, .81), .73, (.34, .38), (.27, .45)),
    "van": Style(
        (4.4, 5.2), (1.78, 1.90), (1.78, 2.10),
        [(0, .32), (.003, .43), (.008, .51), (.02, .545), (.1, .55), (.7, .545), (.83, .53),
         (.905, .49), (.965, .43), (.99, .375), (1, .28)],
        [(.008, .54), (.018, .68), (.035, .92), (.06, .965), (.2, .99), (.45, 1.0), (.58, .985),
         (.66, .945), (.86, .53)],
        .125, (.18, .83), .82, (.31, .34), (.33, .57)),
}
# Half-width along the car, as share of the largest.
PLAN = curve([(0, .76), (.006, .87), (.03, .94), (.1, .98), (.25, 1), (.74, 1), (.88, .98),
              (.945, .935), (.982, .86), (1, .70)])
# fmt: on
SHARES = {"sedan": 0.2, "hatch": 0.33, "estate": 0.2, "suv": 0.15, "van": 0.12}

# BGR paint with how often it is met on European streets.
PAINTS = [
    ((30, 28, 27), 0.20),
    ((70, 66, 63), 0.17),
    ((150, 148, 146), 0.17),
    ((225, 226, 226), 0.16),
    ((110, 62, 38), 0.08),
    ((60, 32, 20), 0.06),
    ((32, 30, 140), 0.08),
    ((60, 80, 45), 0.04),
    ((130, 160, 178), 0.04),
    ((45, 75, 105), 0.04),
    ((180, 160, 120), 0.04),
    ((40, 170, 215), 0.02),
]


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

    def size(low: float, high: float, own: float) -> float:
        return low + (high - low) * ((1 - own) * big + own * rng.uniform(0, 1))

    colours, weights = zip(*PAINTS, strict=True)
    shares = np.array(weights) / sum(weights)
    paint = np.array(colours[rng.choice(len(colours), p=shares)], dtype=np.float64)
    paint = np.clip(paint * rng.uniform(0.8, 1.15) + rng.normal(0, 5, 3), 8, 245)
    return CarSpec(
        name,
        size(*shape.length, 0.3),
        size(*shape.width, 0.4),
        size(*shape.height, 0.6),
        tuple(paint),
        size(*shape.wheel, 0.4),
        bool(rng.random() < 0.25),
        bool(name in ("estate", "suv") and rng.random() < 0.5),
        bool(rng.random() < 0.012),
        rng.uniform(0, 1),
        rng.uniform(0.85, 1.1),
        int(rng.integers(1 << 30)),
    )


def half_width(spec: CarSpec, u: np.ndarray) -> np.ndarray:
    """Return half the width of the lower body at shares u of the length from the rear [m]."""
    plan = 1 - (1 - at(PLAN, u)) * spec.plan_round
    return plan * spec.width / 2


BLACK = (26.0, 25.0, 24.0)


def wheels(spec: CarSpec, shape: Style, fine: bool) -> list[Mesh]:
    """Return four wheels; `fine` adds arches and hubs."""
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
    """Return head and tail lights that wrap around the corners."""
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
    """Return number plates, mirrors, door gaps and roof rails."""
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
    """Return the mesh of a car; `fine` False leaves out what is not seen from afar."""
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
    """Return a lower body: bumpers, sides, bonnet, boot lid."""
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
    """Return glass house and roof above the belt line."""
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
