"""Things of the street that are never tracked: poles, signs, trees, bushes, bins, lorries."""

import math

import numpy as np

from training.street.meshes import Mesh, box, cap, disc, join, loft, make_mesh, tread
from training.street.render import HullBuilder, Hulls

GREENS = [(40, 85, 62), (35, 70, 50), (50, 105, 85), (45, 90, 95), (40, 75, 110)]
GREYS = [(120, 120, 118), (70, 72, 70), (150, 152, 150), (60, 80, 60)]


def pole(rng: np.random.Generator) -> Hulls:
    """Return a lamp post or mast, 4-9 m high."""
    height, radius, body = rng.uniform(4, 9), rng.uniform(0.05, 0.13), HullBuilder()
    colour = GREYS[rng.integers(len(GREYS))]
    foot, top = body.sphere((0, 0, 0), radius), body.sphere((0, 0, height), radius * 0.7)
    body.part(colour, foot, top)
    if rng.random() < 0.6:
        arm = (0, rng.choice([-1.2, 1.2]), height + 0.15)
        body.part(colour, top, body.sphere(arm, radius * 0.6))
    return body.done()


def sign(rng: np.random.Generator) -> Hulls:
    """Return a sign post with one or two round or rectangular plates that face along the road."""
    height, colour, body = rng.uniform(2.2, 3.0), GREYS[rng.integers(len(GREYS))], HullBuilder()
    body.part(colour, body.sphere((0, 0, 0), 0.032), body.sphere((0, 0, height), 0.032))
    top = height - 0.05
    for _ in range(int(rng.integers(1, 3))):
        half = rng.uniform(0.22, 0.36)
        face = [(170, 90, 30), (40, 40, 190), (220, 220, 220), (40, 190, 220)][rng.integers(4)]
        if rng.random() < 0.5:
            body.part(face, body.sphere((-0.05, 0, top - half), half))
        else:
            corners = [(y, z) for y in (-half, half) for z in (top - 0.05, top - 2 * half)]
            body.part(face, *(body.sphere((-0.05, y, z), 0.02) for y, z in corners))
        top -= 2 * half + 0.06
    return body.done()


def bollard(rng: np.random.Generator) -> Hulls:
    """Return a post of 0.8-1.1 m with a light band."""
    height, radius, body = rng.uniform(0.8, 1.1), rng.uniform(0.04, 0.09), HullBuilder()
    colour = [(45, 45, 45), (60, 60, 150), (110, 110, 110)][rng.integers(3)]
    body.part(colour, *(body.sphere((0, 0, z), radius) for z in (0, height)))
    band = (body.sphere((-0.01, 0, height * at), radius * 1.02) for at in (0.75, 0.85))
    body.part((200, 200, 205), *band)
    return body.done()


def tree(rng: np.random.Generator) -> Hulls:
    """Return a tree with a forked trunk and a crown of leaf clusters."""
    stem, radius = rng.uniform(2.0, 3.2), rng.uniform(0.10, 0.28)
    crown, body = rng.uniform(1.4, 3.0), HullBuilder()
    top = stem + crown * 0.6
    foot, fork = body.sphere((0, 0, 0), radius * 1.15), body.sphere((0, 0, stem), radius * 0.8)
    body.part((48, 58, 68), foot, fork)
    for _ in range(3):
        end = (*rng.normal(0, crown * 0.3, 2), stem + crown * rng.uniform(0.5, 1.0))
        body.part((44, 52, 60), fork, body.sphere(end, radius * 0.35))
    green = np.array(GREENS[rng.integers(len(GREENS))], dtype=float)
    middle = np.array([0, 0, top + crown * 0.35])
    for way in ((0, 0, 0), (0.35, 0, 0.1), (-0.35, 0, 0.1), (0, 0.35, -0.1), (0, -0.35, -0.1)):
        body.part(green * 0.6, body.sphere(middle + np.array(way) * crown, crown * 0.58))
    for _ in range(60):
        way = rng.normal(0, 1, 3)
        way *= rng.uniform(0.78, 1.04) / np.linalg.norm(way)
        at = middle + way * crown * np.array([1, 1, 0.85])
        leaves = body.sphere(at, crown * rng.uniform(0.08, 0.20))
        body.part(green * rng.uniform(0.65, 1.2) * (1 + 0.2 * way[2]), leaves)
    return body.done()


def bush(rng: np.random.Generator) -> Hulls:
    """Return a round shrub of 0.5-1.4 m."""
    size, body = rng.uniform(0.5, 1.4), HullBuilder()
    green = np.array(GREENS[rng.integers(len(GREENS))], dtype=float)
    for _ in range(26):
        angle, reach = rng.uniform(0, 2 * math.pi), size * 0.5 * rng.uniform(0, 1) ** 0.5
        high = size * rng.uniform(0.12, 0.85)
        at = (reach * math.cos(angle), reach * math.sin(angle), high)
        leaves = body.sphere(at, size * rng.uniform(0.10, 0.22))
        body.part(green * rng.uniform(0.6, 1.3), leaves)
    return body.done()


def hedge(rng: np.random.Generator, length: float) -> Mesh:
    """Return a clipped hedge along x with an uneven surface."""
    height, half = rng.uniform(0.6, 1.9), rng.uniform(0.3, 0.5)
    x = np.linspace(-length / 2, length / 2, max(int(length / 0.45), 4))
    left = [(1, 0), (1.08, 0.35), (1, 0.8), (0.75, 1)]
    base = np.array([*((-y, z) for y, z in left), (0, 1.04), *left[::-1]])
    rings = base[None] * [half, height] + rng.normal(0, 0.05, (len(x), len(base), 2))
    rings[:, [0, -1], 1] = 0
    vertices, quads = loft(x, rings)
    quads = np.concatenate([quads, cap(9, 0, False), cap(9, (len(x) - 1) * 9, True)])
    mesh = make_mesh(vertices, quads, GREENS[rng.integers(len(GREENS))])
    mesh.albedo[:] *= rng.uniform(0.75, 1.2, (len(quads), 1))
    return mesh


def bin_box(rng: np.random.Generator) -> Mesh:
    """Return a wheeled bin, cabinet or container."""
    if rng.random() < 0.7:
        size = (rng.uniform(0.5, 0.75), rng.uniform(0.5, 0.65), rng.uniform(0.95, 1.2))
    else:
        size = (rng.uniform(0.4, 1.4), rng.uniform(0.4, 1.0), rng.uniform(1.0, 1.6))
    colours = [(50, 50, 48), (60, 90, 50), (120, 70, 40), (130, 130, 128), (40, 150, 190)]
    colour = colours[rng.integers(5)]
    cover, at = (size[0] * 1.06, size[1] * 1.06, 0.07), (0, 0, size[2] + 0.03)
    lid = box(cover, at, np.array(colour) * 0.8, layer=2)
    return join([box(size, (0, 0, size[2] / 2), colour), lid])


def lorry(rng: np.random.Generator) -> Mesh:
    """Return a box van or small lorry of 5.5-8 m: large, and no class of ours."""
    length, width, height = rng.uniform(5.5, 8.0), rng.uniform(2.0, 2.35), rng.uniform(2.5, 3.4)
    colours = [(40, 110, 220), (215, 215, 215), (150, 80, 30), (60, 150, 190), (90, 90, 92)]
    colour = colours[rng.integers(len(colours))]
    cab = 1.7
    load, at = (length - cab - 0.1, width, height - 0.7), (-cab / 2 - 0.05, 0, height / 2 + 0.35)
    front, before = (cab, width * 0.92, 1.6), (length / 2 - cab / 2, 0, 1.3)
    parts = [
        box(load, at, colour, layer=2, gloss=0.1),
        box((length, width * 0.8, 0.3), (0, 0, 0.6), (40, 40, 40), layer=1),
        box(front, before, (210, 210, 208), layer=2, gloss=0.2),
    ]
    front = length / 2 + 0.01
    glass = [(front, -0.8, 1.45), (front, 0.8, 1.45), (front, 0.75, 2.05), (front, -0.75, 2.05)]
    parts.append(make_mesh(glass, [(0, 1, 2, 3)], (60, 55, 50), gloss=0.5, layer=3))
    for x in (-length * 0.3, length / 2 - 0.9):
        for out in (-1, 1):
            hub = np.array([x, out * width / 2 * 0.98, 0.45])
            parts.append(tread(hub, 0.45, -out * 0.3, (28, 28, 28), layer=0))
            parts.append(
                disc(hub + [0, out * 0.01, 0], 0.45, out, (28, 28, 28), layer=0, near_layer=3)
            )
            parts.append(
                disc(hub + [0, out * 0.02, 0], 0.25, out, (120, 120, 120), layer=0, near_layer=3.5)
            )
    return join(parts)
