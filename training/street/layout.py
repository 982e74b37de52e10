"""Define the parts of a street scene: objects, fronts, shape of the road."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

CAR, PERSON, UNTRACKED = 1, 2, 0


@dataclass
class Thing:
    """One object, in road coordinates: s along, d left of the middle [m], turn against the road.

    Attributes:
        model: CarSpec, PersonSpec, Mesh or hulls; `kind` says how it moves:
            still, traffic, crossing, walker, crosser, cyclist.
        half: half sizes of the footprint along and across [m].
        speed: along its own heading [m/s]; cruise: wanted speed.
        far: not drawn beyond this distance [m].
        trigger: a crossing object starts when the camera is this near [m].
        uid: number that is never used again within a run.
    """

    model: Any
    class_id: int
    s: float
    d: float
    turn: float
    half: tuple[float, float]
    kind: str = "still"
    speed: float = 0.0
    cruise: float = 0.0
    trigger: float = 0.0
    phase: float = 0.0
    tile: str = "smooth"
    far: float = 90.0
    uid: int = -1


@dataclass(frozen=True)
class Front:
    """House front, wall or hedge: along the road, or across where a side street begins."""

    start: tuple[float, float]
    end: tuple[float, float]
    height: float
    texture: int


@dataclass
class Street:
    """Properties of one street."""

    style: str
    half_road: float
    park: tuple[float, float]
    pavement: float
    wave: tuple[float, float, float]
    two_way: bool
    shade: tuple[int, float]
    lot: tuple[bool, bool]
    trees: float
    junctions: list[tuple[float, float]] = field(default_factory=list)

    @property
    def kerb(self) -> float:
        """Return the distance of the kerb from the middle [m]."""
        return self.half_road + 2.1

    @property
    def lane(self) -> float:
        """Return the lateral place of the camera car's lane [m]."""
        return -self.half_road / 2 if self.two_way else 0.0

    @property
    def front(self) -> float:
        """Return the distance of the house fronts from the middle [m]."""
        return self.kerb + self.pavement

    def middle(self, s):
        """Return the y of the middle of the road at s [m]; numbers or arrays."""
        size, length, phase = self.wave
        return size * np.sin(s * (2 * math.pi / length) + phase)

    def slope(self, s: float) -> float:
        """Return the direction of the road at s [rad]."""
        size, length, phase = self.wave
        rate = 2 * math.pi / length
        return math.atan(size * rate * math.cos(s * rate + phase))

    def lit(self, d: float) -> float:
        """Return the share of the sun that reaches objects at d."""
        side, edge = self.shade
        return 0.12 if side and (d - edge) * side > 0 else 1.0

    def crossing(self, first: float, last: float) -> bool:
        """Return whether a side street touches [first, last]."""
        return any(first < b and last > a for a, b in self.junctions)


def random_street(rng: np.random.Generator, style: str, sun_y: float) -> Street:
    """Draw a street; `style` "any" draws that too. sun_y: sideways share of the sun's direction."""
    if style == "any":
        style = str(rng.choice(["city", "suburb", "works"], p=[0.45, 0.3, 0.25]))
    two_way = bool(rng.random() < (0.6 if style == "city" else 0.8))
    half_road = rng.uniform(2.6, 3.6) if two_way else rng.uniform(1.9, 2.4)
    park = tuple(rng.uniform(0.5, 0.95, 2) if style == "city" else rng.uniform(0.2, 0.8, 2))
    pavement = rng.uniform(2.2, 4.5) if style == "city" else rng.uniform(2.0, 4.0)
    wave = (rng.uniform(1.0, 7.0), rng.uniform(190, 320), rng.uniform(0, 2 * math.pi))
    shade = (0, 0.0)
    if rng.random() < (0.7 if style == "city" else 0.3):
        shade = (1 if sun_y > 0 else -1, rng.uniform(-half_road, half_road + 2))
    lot = [False, False]
    lot[rng.integers(2)] = bool(rng.random() < (0.1 if style == "city" else 0.45))
    return Street(
        style, half_road, park, pavement, wave, two_way, shade, (lot[0], lot[1]), rng.uniform(0, 1)
    )
