"""People of the street scenes: walkers with a gait cycle, riders on bicycles."""

import math
from dataclasses import dataclass

import numpy as np

from training.street.render import HullBuilder, Hulls

SKINS = [(150, 175, 215), (120, 150, 200), (90, 120, 170), (60, 80, 120), (165, 190, 225)]
CLOTHES = [
    (35, 32, 30), (60, 55, 52), (90, 60, 40), (130, 95, 60), (40, 40, 110), (50, 50, 160),
    (200, 200, 205), (150, 150, 150), (110, 130, 150), (60, 90, 60), (60, 110, 170),
    (170, 140, 190),
]  # fmt: skip
HAIRS = [(25, 25, 28), (40, 50, 65), (70, 100, 130), (130, 135, 140), (60, 80, 110)]


@dataclass(frozen=True)
class PersonSpec:
    """Random choices of one person."""

    height: float
    girth: float
    skin: tuple
    hair: tuple
    top: tuple
    legs: tuple
    shoes: tuple
    coat: float
    bag: str
    hat: bool
    swing: float
    phase: float
    elbows: tuple[float, float]
    stoop: float


def random_person(rng: np.random.Generator) -> PersonSpec:
    """Draw a person; one in eight is a child."""

    def pick(options: list[tuple]) -> tuple:
        colour = np.array(options[rng.integers(len(options))])
        return tuple(np.clip(colour * rng.uniform(0.8, 1.2), 5, 240))

    height = (
        rng.uniform(1.1, 1.45)
        if rng.random() < 0.12
        else float(np.clip(rng.normal(1.71, 0.09), 1.5, 1.98))
    )
    return PersonSpec(
        height,
        rng.uniform(0.88, 1.3),
        pick(SKINS),
        pick(HAIRS),
        pick(CLOTHES),
        pick(CLOTHES),
        pick(CLOTHES[:4]),
        float(rng.choice([0, 0.18, 0.38], p=[0.6, 0.25, 0.15])),
        str(rng.choice(["", "backpack", "hand", "shoulder"], p=[0.5, 0.2, 0.15, 0.15])),
        bool(rng.random() < 0.15),
        rng.uniform(0.8, 1.15),
        rng.uniform(0, 2 * math.pi),
        tuple(rng.choice([0.0, 0.3, 1.5, 2.0], 2, p=[0.55, 0.2, 0.15, 0.1])),
        rng.uniform(0.0, 0.04),
    )


def _limb(
    start: np.ndarray, angles: tuple[float, float], lengths: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Middle and end joint of a two-part limb that hangs down; angles swing forwards [rad]."""
    step = lambda angle, length: length * np.array([math.sin(angle), 0.0, -math.cos(angle)])  # noqa: E731
    middle = start + step(angles[0], lengths[0])
    return middle, middle + step(angles[1], lengths[1])


def walking(spec: PersonSpec, phase: float, stride: float) -> Hulls:
    """Return the pose of a walker at `phase` of the gait [rad]; stride: 0 standing .. 1 brisk."""
    h, g, body = spec.height, spec.girth, HullBuilder()
    swing = 0.5 * stride * spec.swing
    hips = np.array([0, 0, 0.53 * h])
    joints = {}
    for side, shift in ((1, 0.0), (-1, math.pi)):
        p = phase + shift
        thigh = swing * math.sin(p) + 0.06 * stride
        knee = 0.06 + stride * (0.85 * max(0.0, math.cos(p)) ** 1.5 + 0.10)
        knee_at, ankle = _limb(
            hips + [0, side * 0.055 * h * g, 0], (thigh, thigh - knee), (0.245 * h, 0.24 * h)
        )
        arm = -0.85 * swing * math.sin(p)
        shoulder = np.array(
            [(spec.stoop + 0.02 * stride - 0.01) * h, side * (0.098 * h + 0.012 * g), 0.80 * h]
        )
        if spec.bag == "hand" and side < 0:
            arm *= 0.2
        elbow, wrist = _limb(
            shoulder + [0, side * 0.02 * h, 0],
            (arm - 0.05, arm + 0.25 + 0.35 * stride + spec.elbows[side > 0]),
            (0.18 * h, 0.16 * h),
        )
        joints[side] = (knee_at, ankle, elbow, wrist, shoulder)
    lift = 0.045 * h - min(joints[1][1][2], joints[-1][1][2])
    up = np.array([0, 0, lift])
    for side in (1, -1):
        _leg(
            body,
            spec,
            [hips + [0, side * 0.05 * h * g, 0] + up, joints[side][0] + up, joints[side][1] + up],
        )
        _arm(body, spec, [joints[side][4] + up, joints[side][2] + up, joints[side][3] + up], side)
    _trunk(body, spec, hips + up, np.array([(0.02 * stride + spec.stoop) * h, 0, 0]))
    return body.done()


def _leg(body: HullBuilder, spec: PersonSpec, joints: list[np.ndarray]) -> None:
    h, g = spec.height, spec.girth
    hip, knee, ankle = joints
    a, b = body.sphere(hip, 0.057 * h * g), body.sphere(knee, 0.038 * h * g)
    c = body.sphere(ankle, 0.028 * h)
    body.part(spec.legs, a, b)
    body.part(spec.legs, b, c)
    pitch = np.array([0.10 * h, 0, -0.01 * h])
    toe = body.sphere(ankle + pitch, 0.019 * h)
    heel = body.sphere(ankle + [-0.02 * h, 0, -0.018 * h], 0.023 * h)
    body.part(spec.shoes, c, toe, heel)


def _arm(body: HullBuilder, spec: PersonSpec, joints: list[np.ndarray], side: int) -> None:
    h, g = spec.height, spec.girth
    shoulder, elbow, wrist = joints
    a = body.sphere(shoulder - [0, 0, 0.012 * h], 0.040 * h * g)
    b, c = body.sphere(elbow, 0.031 * h * g), body.sphere(wrist, 0.024 * h)
    body.part(spec.top, a, b)
    body.part(spec.top, b, c)
    hand = body.sphere(wrist + [0.01 * h, 0, -0.04 * h], 0.022 * h)
    body.part(spec.skin, c, hand)
    if spec.bag == "hand" and side < 0:
        corners = [
            wrist + [dx * h, -0.01, dz * h]
            for dx, dz in ((-0.1, -0.10), (0.1, -0.10), (0.1, -0.26), (-0.1, -0.26))
        ]
        body.part(spec.shoes, *[body.sphere(corner, 0.02) for corner in corners])


def _trunk(body: HullBuilder, spec: PersonSpec, hips: np.ndarray, lean: np.ndarray) -> None:
    h, g = spec.height, spec.girth
    top = hips + lean + [0, 0, 0.27 * h]
    pelvis = [body.sphere(hips + [0, s * 0.038 * h * g, 0], 0.064 * h * g) for s in (1, -1)]
    waist = [
        body.sphere(hips + lean * 0.4 + [0, s * 0.03 * h * g, 0.11 * h], 0.062 * h * g)
        for s in (1, -1)
    ]
    chest = [body.sphere(top + [0, s * 0.055 * h, -0.07 * h], 0.068 * h * g) for s in (1, -1)]
    shoulders = [
        body.sphere(top + [-0.01 * h, s * 0.082 * h, -0.01 * h], 0.036 * h) for s in (1, -1)
    ]
    body.part(spec.legs, *pelvis)
    body.part(spec.top, *pelvis, *waist)
    body.part(spec.top, *waist, *chest)
    body.part(spec.top, *chest, *shoulders)
    if spec.coat:
        hem = [
            body.sphere(hips + [dx * h, s * 0.05 * h * g, -spec.coat * h], 0.055 * h * g)
            for s in (1, -1)
            for dx in (-0.03, 0.03)
        ]
        body.part(spec.top, *pelvis, *hem)
    # The muscle from neck to shoulder: without it the shoulders are square.
    collar = body.sphere(top + [-0.01 * h, 0, 0.045 * h], 0.034 * h)
    body.part(spec.top, collar, *shoulders)
    neck = body.sphere(top + [0.01 * h, 0, 0.04 * h], 0.032 * h)
    head = body.sphere(top + lean * 0.3 + [0.015 * h, 0, 0.125 * h], 0.055 * h)
    chin = body.sphere(top + lean * 0.3 + [0.03 * h, 0, 0.085 * h], 0.038 * h)
    body.part(spec.skin, body.sphere(top, 0.03 * h), neck, chin)
    body.part(spec.skin, head, chin)
    skull = body.sphere(top + lean * 0.3 + [0.0, 0, 0.135 * h], 0.058 * h)
    nape = body.sphere(top + lean * 0.3 + [-0.015 * h, 0, 0.1 * h], 0.045 * h)
    body.part(spec.hair, skull, nape)
    if spec.hat:
        brim = [body.sphere(top + [dx * h, 0, 0.16 * h], 0.03 * h) for dx in (-0.035, 0.07)]
        body.part(spec.shoes, skull, *brim)
    _bag(body, spec, hips, top)


def _bag(body: HullBuilder, spec: PersonSpec, hips: np.ndarray, top: np.ndarray) -> None:
    """Add what hangs on the back or from the shoulder."""
    h, g = spec.height, spec.girth
    if spec.bag == "backpack":
        pack = [
            body.sphere(top + [-0.105 * h, s * 0.05 * h, dz * h], 0.045 * h)
            for s in (1, -1)
            for dz in (-0.02, -0.2)
        ]
        body.part(spec.shoes, *pack)
    if spec.bag == "shoulder":
        bag = [
            body.sphere(hips + [dx * h, 0.115 * h * g, dz * h], 0.03 * h)
            for dx in (-0.06, 0.06)
            for dz in (0.0, 0.1)
        ]
        body.part(spec.shoes, *bag)


def riding(spec: PersonSpec, phase: float) -> Hulls:
    """Return the pose of a cyclist on a bicycle of 1.75 m; `phase` turns the pedals [rad]."""
    h, body = spec.height, HullBuilder()
    metal = spec.shoes
    for axle in (-0.52, 0.52):
        rim = [
            body.sphere([axle + 0.34 * math.cos(a), 0, 0.34 + 0.34 * math.sin(a)], 0.02)
            for a in np.arange(12) * math.pi / 6
        ]
        for i in range(12):
            body.part((25, 25, 25), rim[i], rim[(i + 1) % 12])
    node = lambda x, z, y=0.0: body.sphere([x, y, z], 0.02)  # noqa: E731
    crank, seat, steer = node(-0.05, 0.3), node(-0.2, 0.85), node(0.36, 0.85)
    rear, front = node(-0.52, 0.34), node(0.52, 0.34)
    triangle = ((crank, seat), (crank, steer), (seat, steer))
    for pair in (*triangle, (rear, crank), (rear, seat), (steer, front)):
        body.part(metal, *pair)
    grips = [node(0.38, 1.02, s * 0.26) for s in (1, -1)]
    body.part(metal, steer, *grips)
    hips = np.array([-0.2, 0, 0.97])
    lean = np.array([0.14 * h, 0, 0])
    for side, shift in ((1, 0.0), (-1, math.pi)):
        x, z = 0.17 * math.cos(phase + shift), 0.17 * math.sin(phase + shift)
        pedal = np.array([-0.05 + x, side * 0.1, 0.34 + z])
        hip = hips + [0, side * 0.05 * h, 0]
        knee = (hip + pedal) / 2 + _bend(hip, pedal, 0.245 * h, 0.24 * h)
        _leg(body, spec, [hip, knee, pedal])
        shoulder = hips + lean * 0.95 + [0, side * 0.105 * h, 0.26 * h]
        hand = np.array([0.36, side * 0.26, 1.03])
        elbow = (shoulder + hand) / 2 - _bend(shoulder, hand, 0.18 * h, 0.18 * h) * 0.5
        _arm(body, spec, [shoulder, elbow, hand], 1)
    _trunk(body, spec, hips, lean)
    return body.done()


def _bend(a: np.ndarray, b: np.ndarray, first: float, second: float) -> np.ndarray:
    """Return the offset of the middle joint forwards so that both limb parts keep their length."""
    span = np.linalg.norm(b - a)
    out = math.sqrt(max(((first + second) / 2) ** 2 - (span / 2) ** 2, 0.0))
    return np.array([out, 0.0, 0.0]) if span < first + second else np.zeros(3)
