"""Kinds of cars: measures of the body styles, how often each is met, random choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.street.meshes import at, curve


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
    """Half the width of the lower body at shares u of the length from the rear [m]."""
    plan = 1 - (1 - at(PLAN, u)) * spec.plan_round
    return plan * spec.width / 2
