"""Motion of everything in a street scene, the camera car included, one frame at a time."""

import math

import numpy as np

from training.street.builder import CAR, CHUNK_M, UNTRACKED, Builder, Front, Street, Thing
from training.street.cars import random_car
from training.street.config import StreetConfig
from training.street.people import random_person
from training.street.render import Camera

AHEAD_M, BEHIND_M = 90.0, 14.0


class World:
    """A street with its traffic; `step` moves on by one frame."""

    def __init__(
        self, street: Street, builder: Builder, rng: np.random.Generator, config: StreetConfig
    ):
        self.street, self.builder, self.rng = street, builder, rng
        self.density, self.max_speed = config.density, config.max_speed
        self.things: list[Thing] = []
        self.fronts: list[Front] = []
        self.s = 0.0
        self.speed = rng.uniform(0.4, 0.9) * self.max_speed
        self._cruise, self._change_in = self.speed, rng.uniform(2, 5)
        self._wander, self._pitch, self._pitch_rate = 0.0, 0.0, 0.0
        self._base_pitch, self._chunk, self._uid = rng.normal(0, 0.004), -1, 0
        self._oncoming_in = rng.exponential(4.0) * 0.5
        self._extend()
        self._first_traffic()

    def _add(self, thing: Thing) -> None:
        thing.uid, self._uid = self._uid, self._uid + 1
        self.things.append(thing)

    def _extend(self) -> None:
        while self._chunk * CHUNK_M < self.s + AHEAD_M + 40:
            things, fronts = self.builder.build(self._chunk)
            for thing in things:
                self._add(thing)
            self.fronts += fronts
            self._chunk += 1

    def _traffic(self, s: float, d: float, turn: float, cruise: float) -> None:
        spec = random_car(self.rng)
        half = (spec.length / 2, spec.width / 2)
        self._add(Thing(spec, CAR, s, d, turn, half, "traffic", cruise, cruise))

    def _first_traffic(self) -> None:
        rng, street = self.rng, self.street
        if rng.random() < 0.5 * min(self.density, 1.5):
            s, d = rng.uniform(9, 35), street.lane + rng.normal(0, 0.15)
            self._traffic(s, d, 0.0, self.speed * rng.uniform(0.8, 1.1))
        if rng.random() < 0.45 * min(self.density, 1.5):
            self._cyclist(rng.uniform(8, 40))
        if street.two_way:
            for s in (rng.uniform(15, 40), rng.uniform(50, 90)):
                if rng.random() < 0.6 * self.density:
                    d = -street.lane + rng.normal(0, 0.15)
                    self._traffic(s, d, math.pi, rng.uniform(0.5, 1) * self.max_speed)

    def _cyclist(self, s: float) -> None:
        spec = random_person(self.rng)
        d, speed = -(self.street.half_road - 0.55), self.rng.uniform(2.5, 6)
        self._add(
            Thing(spec, UNTRACKED, s, d, 0.0, (0.9, 0.25), "cyclist", speed, speed, tile="cloth")
        )

    def step(self, dt: float) -> None:
        """Move everything on by dt [s]."""
        self._steer(dt)
        for thing in self.things:
            if thing.kind != "still":
                self._move(thing, dt)
        low, high = self.s - BEHIND_M, self.s + AHEAD_M + 60
        keep = lambda t: low < t.s < high and abs(t.d) < 40  # noqa: E731
        self.things = [thing for thing in self.things if keep(thing)]
        self.fronts = [front for front in self.fronts if front.end[0] > low]
        self._extend()
        self._spawn(dt)

    def _spawn(self, dt: float) -> None:
        self._oncoming_in -= dt * self.density
        if self._oncoming_in <= 0:
            self._oncoming_in = self.rng.exponential(5.0) + 1.0
            start = self.s + AHEAD_M
            free = all(abs(t.s - start) > 9 for t in self.things if t.kind == "traffic")
            if self.street.two_way and free:
                cruise = self.rng.uniform(0.5, 1) * self.max_speed
                d = -self.street.lane + self.rng.normal(0, 0.15)
                self._traffic(start, d, math.pi, max(cruise, 3.0))
            if self.rng.random() < 0.25:
                self._cyclist(self.s + AHEAD_M * 0.6)

    def _steer(self, dt: float) -> None:
        rng = self.rng
        self._change_in -= dt
        if self._change_in <= 0:
            self._change_in = rng.uniform(2.5, 7)
            self._cruise = 0.0 if rng.random() < 0.1 else rng.uniform(0.25, 1.0) * self.max_speed
            if self._cruise == 0.0:
                self._change_in = rng.uniform(2, 4)
        wanted = min(self._cruise, self._safe_speed(self.s, self.street.lane, 0.0, 2.2, None))
        change = float(np.clip(wanted - self.speed, -6.0 * dt, 1.8 * dt))
        self.speed = max(self.speed + change, 0.0)
        self.s += self.speed * dt
        push = rng.normal(0, 0.10) * math.sqrt(dt) * min(self.speed / 3, 1)
        self._wander += -0.5 * self._wander * dt + push
        # The body sways: a damped spring that acceleration and road bumps excite.
        bump = rng.normal(0, 0.035) * min(self.speed / 8, 1) - 0.004 * change / dt
        self._pitch_rate += dt * (-60 * self._pitch - 8 * self._pitch_rate) + bump * math.sqrt(dt)
        self._pitch += self._pitch_rate * dt

    def _safe_speed(self, s: float, d: float, turn: float, nose: float, own: Thing | None) -> float:
        """Return speed [m/s] that still stops behind whatever moves or waits in the lane ahead."""
        cos, sin, best = math.cos(turn), math.sin(turn), math.inf
        for other in self.things:
            if other is own or (other.kind == "still" and own is None and abs(other.d - d) > 1.6):
                continue
            along = (other.s - s) * cos + (other.d - d) * sin
            across = abs(-(other.s - s) * sin + (other.d - d) * cos)
            turned = other.turn - turn
            straight, askew = abs(math.cos(turned)), abs(math.sin(turned))
            reach = other.half[0] * straight + other.half[1] * askew
            wide = other.half[1] * straight + other.half[0] * askew
            if other.kind in ("crosser", "crossing") and other.trigger == 0:
                wide += 1.5
            if along > 0 and across < wide + 1.0:
                best = min(best, along - reach - nose)
        return math.sqrt(2 * 3.0 * max(best - 2.5, 0.0)) if best < math.inf else math.inf

    def _move(self, thing: Thing, dt: float) -> None:
        if thing.kind == "traffic":
            limit = self._safe_speed(thing.s, thing.d, thing.turn, thing.half[0], thing)
            ego = self.s - thing.s
            if thing.turn == 0.0 and ego > 0 and abs(self.street.lane - thing.d) < 1.5:
                limit = min(limit, math.sqrt(6 * max(ego - 6, 0)))
            change = np.clip(min(thing.cruise, limit) - thing.speed, -7 * dt, 2 * dt)
            thing.speed = max(thing.speed + float(change), 0.0)
        elif thing.trigger:  # waits for its cue
            thing.speed = 0.0
            if thing.s - self.s < thing.trigger and self._crossing_free(thing):
                thing.trigger, thing.speed = 0.0, thing.cruise
        if thing.kind == "cyclist":
            thing.phase += thing.speed * 1.3 * dt
        elif thing.class_id == 2:
            thing.phase += dt * (2 * math.pi) * 0.78 * thing.speed**0.6 if thing.speed else 0.0
        if thing.kind == "crosser" and thing.d * math.sin(thing.turn) > self.street.kerb + 1.0:
            # Over the road: continue along the pavement.
            thing.kind, thing.turn = "walker", 0.0 if thing.uid % 2 else math.pi
        thing.s += thing.speed * math.cos(thing.turn) * dt
        thing.d += thing.speed * math.sin(thing.turn) * dt

    def _crossing_free(self, thing: Thing) -> bool:
        """Whether a crossing object may start: no moving car close by, the camera car can stop."""
        if thing.s - self.s < 4 + self.speed**2 / 8:
            return False
        return not any(
            other.kind == "traffic"
            and other.speed > 0.5
            and abs(other.s - thing.s) < 6 + 1.5 * other.speed
            for other in self.things
        )

    def camera(self, width: int, height: int) -> Camera:
        """Return the camera pose of this frame."""
        y = float(self.street.middle(self.s)) + self.street.lane + self._wander * 0.4
        yaw = self.street.slope(self.s + 4) + self._wander * 0.03
        return Camera(width, height, self.s, y, yaw=yaw, pitch=self._base_pitch + self._pitch)

    def place(self, thing: Thing) -> tuple[np.ndarray, float]:
        """Return the position [3] and heading [rad] of a thing in the world."""
        y = float(self.street.middle(thing.s)) + thing.d
        return np.array([thing.s, y, 0.0]), self.street.slope(thing.s) + thing.turn

    def lit(self, thing: Thing) -> float:
        """Return the share of the sun that reaches a thing."""
        return self.street.lit(thing.d)
