"""Who stands, drives and walks where on a street, without touching each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from training.render.meshes import Model
from training.render.scene import pick

HALF, LANE, PARKED = 6.0, 1.9, 4.9  # half the road, middles of a lane and of a parking strip [m]
REACH = 75.0  # how far ahead things are placed [m]
MOST = 60  # objects of a clip


class Mover(NamedTuple):
    """An object of a street: its model, its speed [m/s], x, y [m] and yaw [rad] as [F, 3]."""

    model: Model
    speed: float
    poses: np.ndarray


class Crowd:
    """Footprints of all that is on a street."""

    def __init__(self) -> None:
        self._taken: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, poses: np.ndarray, size: Sequence[float]) -> bool:
        """Take a place if it is free in all frames.

        Args:
            poses: x, y, yaw in each frame, [F, 3].
            size: length along the heading and width [m].

        Returns:
            Whether it was free.
        """
        middle, half = poses[:, :2], extent(poses[:, 2], size)
        for other, reach in self._taken:
            if (np.abs(middle - other) < half + reach).all(1).any():
                return False
        self._taken.append((middle, half))
        return True


def extent(yaw: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """Return half the sides along x and y of turned rectangles, [F, 2]."""
    cos, sin = np.abs(np.cos(yaw)), np.abs(np.sin(yaw))
    return np.stack((cos * size[0] + sin * size[1], sin * size[0] + cos * size[1]), 1) / 2


def straight(x: float, y: float, yaw: float, speed: float, frames: int, step: float) -> np.ndarray:
    """Return the poses [F, 3] of a straight move at constant speed."""
    way = speed * step * np.arange(frames)[:, None] * [[np.cos(yaw), np.sin(yaw), 0.0]]
    return np.array([x, y, yaw]) + way


def is_walker(model: Model) -> bool:
    """Return whether a model is taller than long, as people are."""
    return bool(model.size[2] > model.size[:2].max())


def heading(model: Model) -> float:
    """Return the turn [rad] that lays a model's longer horizontal side along x."""
    return 0.0 if model.size[0] >= model.size[1] or is_walker(model) else np.pi / 2


def populate(
    rng: np.random.Generator,
    models: Sequence[Model],
    crowd: Crowd,
    ego_speed: float,
    frames: int,
    step: float,
) -> list[Mover]:
    """Place objects on a road along x that is seen from about x = 0.

    Models that are taller than long walk, the others drive and park. What stands there already
    (`crowd`) is extended. `ego_speed` is that of the camera [m/s], `step` the time of a frame [s].
    """
    vehicles = [model for model in models if not is_walker(model)]
    walkers = [model for model in models if is_walker(model)]
    movers: list[Mover] = []

    def add(model: Model, draw: Callable[[], np.ndarray], speed: float, tries: int = 6) -> None:
        sides = np.sort(model.size[:2])[::-1] + [0.5, 0.2]
        for _ in range(tries if len(movers) < MOST else 0):
            poses = draw()
            if crowd.add(poses, sides):
                movers.append(Mover(model, speed, poses))
                return

    if vehicles:
        _drive(rng, vehicles, add, ego_speed, frames, step)
        _park(rng, vehicles, add, frames, step)
    if walkers:
        _walk(rng, walkers, add, frames, step)
    return movers


def _drive(rng, vehicles, add, ego_speed, frames, step) -> None:
    """Let some drive ahead, some come towards the camera."""
    for model in pick(rng, vehicles, int(rng.integers(2, 7))):
        ahead = rng.random() < 0.4
        speed = max(0.5, ego_speed + rng.uniform(-2, 2)) if ahead else rng.uniform(3, 11)
        low, high = (9, 40) if ahead else (14, REACH + 10)
        lane, yaw = (-LANE, 0.0) if ahead else (LANE, np.pi)
        add(
            model,
            lambda lane=lane, yaw=yaw, speed=speed, low=low, high=high: straight(
                rng.uniform(low, high), lane + rng.normal(0, 0.15), yaw, speed, frames, step
            ),
            speed,
        )


def _park(rng, vehicles, add, frames, step) -> None:
    """Park others in rows along both kerbs, and a few across the pavement's far side."""
    density = rng.uniform(0.3, 0.95)
    for side, yaw in ((-1, 0.0), (1, np.pi)):
        x = -12.0
        while x < REACH:
            model = vehicles[int(rng.integers(len(vehicles)))]
            length = float(model.size[:2].max())
            turned = yaw + (np.pi if rng.random() < 0.1 else 0.0) + rng.normal(0, 0.02)
            spot = straight(
                x + length / 2, side * PARKED + rng.normal(0, 0.12), turned, 0.0, frames, step
            )
            if rng.random() < density:
                add(model, lambda spot=spot: spot, 0.0, 1)
            x += length + rng.uniform(0.8, 3.0)


def _walk(rng, walkers, add, frames, step) -> None:
    """Let walkers go along the pavements and over the road."""
    for model in pick(rng, walkers, int(rng.integers(5, 15))):
        pace = rng.uniform(0.7, 1.7)

        def draw(pace=pace) -> np.ndarray:
            x, way = rng.uniform(4, 38), float(rng.choice([-1, 1]))
            if rng.random() < 0.6:
                y, yaw = rng.choice([-1, 1]) * rng.uniform(6.6, 9.0), float(rng.choice([0, np.pi]))
            else:
                y, yaw = -way * rng.uniform(-1, 8.5), way * np.pi / 2
            return straight(x, y, yaw, pace, frames, step)

        add(model, draw, pace, 12)
