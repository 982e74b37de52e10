"""The parts of a street, and how it is built stretch by stretch: rows, fronts, props, people."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.street import props
from training.street.cars import CarSpec, random_car
from training.street.config import StreetConfig
from training.street.meshes import Mesh
from training.street.people import PersonSpec, random_person

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


CHUNK_M = 24.0
PROPS = {
    "pole": props.pole, "sign": props.sign, "tree": props.tree, "bollard": props.bollard,
    "bin": props.bin_box, "bush": props.bush,
}  # fmt: skip


class Builder:
    """Makes the stretches of one street; every stretch has its own random numbers."""

    def __init__(self, street: Street, config: StreetConfig, textures: list[str]):
        self.street, self.seed, self.density = street, config.seed, config.density
        self.textures = textures  # kinds of the fronts that can be chosen
        self._next_junction = 40 + 60 * np.random.default_rng([config.seed, 71]).random()

    def build(self, number: int) -> tuple[list[Thing], list[Front]]:
        """Return the things and fronts of stretch `number`, [number, number + 1) * CHUNK_M."""
        rng = np.random.default_rng([self.seed, 72, number + 1000])
        first, last = number * CHUNK_M, (number + 1) * CHUNK_M
        things: list[Thing] = []
        fronts: list[Front] = []
        if self._next_junction < last:
            # Not over the row of the stretch before, which stands already.
            self._junction(rng, max(self._next_junction, first + 5.2), things)
            self._next_junction += rng.uniform(70, 140)
        open_here = rng.random() < 0.55 * min(self.density, 1.8)
        gap = rng.uniform(first + 4, last - 4) if open_here else None
        for side in (1, -1):
            self._row(rng, side, first, last, gap, things)
            self._props(rng, side, first, last, gap, things)
            self._hedge(rng, side, first, last, gap, things)
            self._people(rng, side, first, last, gap, things)
            self._fronts(rng, side, first, last, fronts)
            if self.street.lot[side > 0]:
                self._lot(rng, side, first, last, things)
        return things, fronts

    def _free(self, first: float, last: float, gap: float | None) -> bool:
        blocked = gap is not None and first < gap + 0.8 and last > gap - 0.8
        return not blocked and not self.street.crossing(first, last)

    def _row(
        self, rng, side: int, first: float, last: float, gap: float | None, things: list[Thing]
    ) -> None:
        s = first + rng.uniform(0.2, 1.0)
        share = self.street.park[side > 0] * min(0.5 + 0.5 * self.density, 1.25)
        while s < last - 3.6:
            spec = random_car(rng)
            end = s + spec.length
            if end > last - 0.2:
                break
            if not self._free(s, end, gap):
                s += 1.0
                continue
            if rng.random() < share:
                if rng.random() < 0.05:
                    lorry = props.lorry(rng)
                    span = np.ptp(lorry.vertices[:, 0])
                    if s + span < last - 0.2 and self._free(s, s + span, gap):
                        d = side * (self.street.half_road + 1.25)
                        turn = 0.0 if side < 0 else math.pi
                        things.append(self._still(lorry, s + span / 2, d, turn))
                        s += span + 0.8
                        continue
                d = side * (self.street.half_road + 1.05 + rng.normal(0, 0.12))
                with_flow = rng.random() < (0.93 if self.street.two_way else 0.97)
                ahead = (side < 0 or not self.street.two_way) == with_flow
                turn = (0.0 if ahead else math.pi) + rng.normal(0, 0.025)
                things.append(self._car(spec, s + spec.length / 2, d, turn))
            s = end + rng.gamma(2.0, 0.5) + 0.4

    def _lot(self, rng, side: int, first: float, last: float, things: list[Thing]) -> None:
        """Add cars parked across, behind the pavement."""
        s = first + 1.2
        while s < last - 1.2:
            if rng.random() < 0.38 * min(self.density, 1.5) and not self.street.crossing(
                s - 1.3, s + 1.3
            ):
                spec = random_car(rng)
                turn = side * math.pi / 2 * (1 if rng.random() < 0.6 else -1) + rng.normal(0, 0.04)
                things.append(self._car(spec, s, side * (self.street.front + 3.4), turn))
            s += rng.uniform(2.4, 2.8)

    def _props(
        self, rng, side: int, first: float, last: float, gap: float | None, things: list[Thing]
    ) -> None:
        s, street = first + rng.uniform(0.5, 5), self.street
        while s < last:
            if not street.crossing(s - 1, s + 1) and (gap is None or abs(s - gap) > 1):
                near = side * (street.kerb + rng.uniform(0.35, 0.7))
                more = 0.14 * street.trees
                shares = [0.22, 0.26, 0.1 + more, 0.22 - more, 0.12, 0.08]
                kind = rng.choice(list(PROPS), p=shares)
                model = PROPS[kind](rng)
                turn = math.pi / 2 * rng.integers(4) if kind == "bin" else 0.0
                wide = kind in ("bin", "bush")
                d = side * (street.front - 0.6) if wide and rng.random() < 0.5 else near
                tile = "leaf" if kind in ("tree", "bush") else "rough"
                half = (0.3, 0.3) if wide else (0.1, 0.1)
                far = 90.0 if kind in ("pole", "tree") else 48.0
                things.append(Thing(model, UNTRACKED, s, d, turn, half, tile=tile, far=far))
                if kind == "bollard":
                    for k in range(1, int(rng.integers(1, 5))):
                        where = (s + 1.6 * k, near, 0.0)
                        things.append(Thing(model, UNTRACKED, *where, half, tile=tile, far=far))
                    s += 6.4
            s += rng.exponential(6.5) + 1.5

    def _hedge(
        self, rng, side: int, first: float, last: float, gap: float | None, things: list[Thing]
    ) -> None:
        street = self.street
        if rng.random() < (0.1 if street.style == "city" else 0.45):
            length = rng.uniform(3, 9)
            s = rng.uniform(first + length / 2, last - length / 2)
            if self._free(s - length / 2 - 1, s + length / 2 + 1, gap):
                model = props.hedge(rng, length)
                d = side * (street.front + rng.uniform(0.2, 0.5))
                things.append(Thing(model, UNTRACKED, s, d, 0.0, (length / 2, 0.5), tile="leaf"))

    def _people(
        self, rng, side: int, first: float, last: float, gap: float | None, things: list[Thing]
    ) -> None:
        street = self.street
        mean = {"city": 1.4, "suburb": 0.8, "works": 0.6}[street.style] * self.density
        for _ in range(int(rng.poisson(mean))):
            s = rng.uniform(first, last)
            ahead = rng.random() < 0.5
            lateral = street.kerb + rng.uniform(0.9, max(street.pavement - 0.7, 1.0))
            still, turn = rng.random() < 0.15, 0.0 if ahead else math.pi
            cruise = 0.0 if still else rng.uniform(0.8, 1.7)
            things.append(self._person(rng, s, side * lateral, turn, cruise, "walker"))
            if rng.random() < 0.3:  # a companion
                other, along = side * (lateral + rng.choice([-0.65, 0.65])), s + rng.normal(0, 0.2)
                things.append(self._person(rng, along, other, turn, cruise, "walker"))
        if gap is not None and (gap * 7.3) % 1 < (0.5 if side > 0 else 1.0) and rng.random() < 0.7:
            turn = -side * math.pi / 2 + rng.normal(0, 0.03)
            crosser = self._person(
                rng, gap, side * (street.kerb + 0.8), turn, rng.uniform(1.0, 2.0), "crosser"
            )
            crosser.trigger = rng.uniform(9, 32)
            things.append(crosser)

    def _junction(self, rng, s: float, things: list[Thing]) -> None:
        half = rng.uniform(3.2, 5.0)
        self.street.junctions.append((s - half, s + half))
        del self.street.junctions[:-4]
        for side in (1, -1):
            if rng.random() < 0.55 * min(self.density, 1.5):
                spec = random_car(rng)
                car = self._car(spec, s - side * half * 0.45, side * 26.0, -side * math.pi / 2)
                car.kind, car.cruise = "crossing", rng.uniform(5, 9)
                car.trigger = rng.uniform(16, 50)
                things.append(car)

    def _fronts(self, rng, side: int, first: float, last: float, fronts: list[Front]) -> None:
        street, s = self.street, first
        while s < last - 0.5:
            end = min(s + rng.uniform(8, 20), last)
            end = last if last - end < 4 else end
            kinds = {
                "city": ["house"],
                "suburb": ["hedge", "wall", "house", "none"],
                "works": ["wall", "none", "hall", "hedge"],
            }
            kind = str(rng.choice(kinds[street.style]))
            d = side * (street.front + (0.0 if kind in ("house", "wall") else 1.4))
            if street.lot[side > 0] or kind in ("hall", "none"):
                d = side * (street.front + 9.0)
                kind = "hall" if kind != "house" else kind
            height = {
                "house": rng.uniform(7, 15),
                "hall": rng.uniform(3.5, 8),
                "wall": rng.uniform(1.2, 3),
                "hedge": rng.uniform(1, 2.6),
            }[kind]
            wanted = "house" if kind == "hall" else kind
            names = [i for i, name in enumerate(self.textures) if name == wanted]
            for a, b in self._outside(s, end):
                texture = names[rng.integers(len(names))]
                fronts.append(Front((a, d), (b, d), height, texture))
                if a > s:  # the corner house's side towards the side street
                    fronts.append(Front((a, d), (a, d + side * 14), height, texture))
            s = end

    def _outside(self, first: float, last: float) -> list[tuple[float, float]]:
        """Return [first, last] without the side streets."""
        runs = [(first, last)]
        for a, b in self.street.junctions:
            runs = [
                part
                for x, y in runs
                for part in ((x, min(y, a)), (max(x, b), y))
                if part[1] - part[0] > 0.3
            ]
        return runs

    @staticmethod
    def _still(model: Mesh, s: float, d: float, turn: float) -> Thing:
        half = (np.ptp(model.vertices[:, 0]) / 2, np.ptp(model.vertices[:, 1]) / 2)
        return Thing(model, UNTRACKED, s, d, turn, half)

    @staticmethod
    def _car(spec: CarSpec, s: float, d: float, turn: float) -> Thing:
        return Thing(spec, CAR, s, d, turn, (spec.length / 2, spec.width / 2))

    @staticmethod
    def _person(rng, s: float, d: float, turn: float, cruise: float, kind: str) -> Thing:
        spec: PersonSpec = random_person(rng)
        return Thing(
            spec, PERSON, s, d, turn, (0.25, 0.25), kind, cruise, cruise,
            phase=spec.phase, far=65.0, tile="cloth",
        )  # fmt: skip
