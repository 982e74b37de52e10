"""A street with parked, moving and walking objects; houses, poles and hedges only occlude."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from training.render.geometry import place, turn_z
from training.render.gl import Camera, Item, Light, Renderer
from training.render.meshes import Model, Part, box, cylinder, make_part, surface
from training.render.scene import SceneFrame, SceneObject, Stage, pick, split_scenery, tint_of

SIZE, FPS = (672, 208), 10
NEAR, FAR, BIAS = 0.1, 300.0, 0.0015
ALLOWED = (0.2, 25.0)  # longest side of an object [m]
MODES = ("drive", "pavement", "stand")
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
        """Take a place if it is free in all frames, and return whether it was.

        `poses` are x, y, yaw in each frame, [F, 3], `size` length along the heading and width [m].
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


def straight(x: float, y: float, yaw: float, speed: float, frames: int) -> np.ndarray:
    """Return the poses [F, 3] of a straight move at constant speed."""
    way = speed / FPS * np.arange(frames)[:, None] * [[np.cos(yaw), np.sin(yaw), 0.0]]
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
) -> list[Mover]:
    """Place objects on a road along x that is seen from about x = 0.

    Models that are taller than long walk, the others drive and park. What stands there already
    (`crowd`) is extended. `ego_speed` is that of the camera [m/s].
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
        _drive(rng, vehicles, add, ego_speed, frames)
        _park(rng, vehicles, add, frames)
    if walkers:
        _walk(rng, walkers, add, frames)
    return movers


def _drive(rng, vehicles, add, ego_speed, frames) -> None:
    """Let some drive ahead, some come towards the camera."""
    for model in pick(rng, vehicles, int(rng.integers(2, 7))):
        ahead = rng.random() < 0.4
        speed = max(0.5, ego_speed + rng.uniform(-2, 2)) if ahead else rng.uniform(3, 11)
        low, high = (9, 40) if ahead else (14, REACH + 10)
        lane, yaw = (-LANE, 0.0) if ahead else (LANE, np.pi)
        add(
            model,
            lambda lane=lane, yaw=yaw, speed=speed, low=low, high=high: straight(
                rng.uniform(low, high), lane + rng.normal(0, 0.15), yaw, speed, frames
            ),
            speed,
        )


def _park(rng, vehicles, add, frames) -> None:
    """Park others in rows along both kerbs, and a few across the pavement's far side."""
    density = rng.uniform(0.3, 0.95)
    for side, yaw in ((-1, 0.0), (1, np.pi)):
        x = -12.0
        while x < REACH:
            model = vehicles[int(rng.integers(len(vehicles)))]
            length = float(model.size[:2].max())
            turned = yaw + (np.pi if rng.random() < 0.1 else 0.0) + rng.normal(0, 0.02)
            spot = straight(
                x + length / 2, side * PARKED + rng.normal(0, 0.12), turned, 0.0, frames
            )
            if rng.random() < density:
                add(model, lambda spot=spot: spot, 0.0, 1)
            x += length + rng.uniform(0.8, 3.0)


def _walk(rng, walkers, add, frames) -> None:
    """Let walkers go along the pavements and over the road."""
    for model in pick(rng, walkers, int(rng.integers(5, 15))):
        pace = rng.uniform(0.7, 1.7)

        def draw(pace=pace) -> np.ndarray:
            x, way = rng.uniform(4, 38), float(rng.choice([-1, 1]))
            if rng.random() < 0.6:
                y, yaw = rng.choice([-1, 1]) * rng.uniform(6.6, 9.0), float(rng.choice([0, np.pi]))
            else:
                y, yaw = -way * rng.uniform(-1, 8.5), way * np.pi / 2
            return straight(x, y, yaw, pace, frames)

        add(model, draw, pace, 12)


class Ride(NamedTuple):
    """The camera's way: mode, speed [m/s], x, y, yaw as [F, 3], height [F] and tilt, focal [px]."""

    mode: str
    speed: float
    poses: np.ndarray
    height: np.ndarray
    tilt: float
    focal: float


def plan_ride(rng: np.random.Generator, frames: int) -> Ride:
    """Draw how the camera moves: on the road, along the pavement, or standing and panning."""
    mode = str(rng.choice(MODES, p=[0.5, 0.28, 0.22]))
    time = np.arange(frames) / FPS
    wobble = rng.uniform(0, 0.05) * np.sin(time * rng.uniform(0.4, 1.2) + rng.uniform(0, 6))
    height, side = rng.uniform(1.1, 1.8), float(rng.choice([-1, 1]))
    if mode == "drive":
        speed, y, turned = rng.uniform(2, 9), -LANE, np.zeros(frames)
    elif mode == "pavement":
        speed, y, height = rng.uniform(0.5, 1.6), side * rng.uniform(6.9, 7.9), height * 0.75
        turned = -side * (rng.uniform(0.15, 0.8) + rng.uniform(-0.12, 0.12) * time)
    else:
        speed, y = 0.0, side * 7.2 if rng.random() < 0.5 else -LANE
        turned = rng.uniform(-0.35, 0.35) + side * rng.uniform(0.03, 0.14) * time
    poses = straight(0.0, y, 0.0, speed, frames)
    poses[:, 2] += turned + wobble
    bounce = rng.uniform(0, 0.015) * np.sin(time * rng.uniform(4, 9))
    focal = SIZE[0] * rng.uniform(0.48, 0.72)
    return Ride(mode, float(speed), poses, height + bounce, rng.uniform(-0.05, 0.01), focal)


class StreetScene:
    """One random scene (see scene.Scene)."""

    def __init__(self, models: Sequence[Model], seed: int, frames: int) -> None:
        """Draw the scene.

        Raises:
            SceneError: no model is an object.
        """
        self._rng = rng = np.random.default_rng(seed)
        labelled, scenery = split_scenery(models)
        self._ride = ride = plan_ride(rng, frames)
        crowd = Crowd()
        crowd.add(ride.poses * [1, 1, 0], (4.6, 1.9) if ride.mode == "drive" else (0.9, 0.9))
        self._light, weather = _random_light(rng)
        self._movers = populate(rng, labelled, crowd, ride.speed, frames)
        self.objects = [
            SceneObject(mover.model, mover.speed, tint_of(rng, mover.model))
            for mover in self._movers
        ]
        self._scenery = _place_scenery(rng, scenery, crowd, frames)
        self.parameters: dict[str, Any] = {
            "camera": ride.mode,
            "camera_speed": round(ride.speed, 2),
            "weather": weather,
        }

    def frames(self, renderer: Renderer) -> Iterator[SceneFrame]:
        """Yield the frames of the clip; see scene.Scene."""
        ride = self._ride
        scenery = self._ground(renderer)
        scenery += [Item(renderer.load(part), pose) for part, pose in self._scenery]
        middle = ride.poses[len(ride.poses) // 2]
        centre = np.array([*middle[:2], 0]) + 20 * turn_z(middle[2])[:, 0]
        stage = Stage(renderer, self.objects, self._light, centre, 44.0)
        for frame, (x, y, yaw) in enumerate(ride.poses):
            eye = np.array([x, y, ride.height[frame]])
            camera = Camera(eye, eye + [np.cos(yaw), np.sin(yaw), ride.tilt], ride.focal)
            poses = {}
            for i, mover in enumerate(self._movers):
                ahead, aside, turned = mover.poses[frame]
                turn = turn_z(turned + heading(mover.model))
                poses[i] = place(np.array([ahead, aside, 0]), turn)
            yield stage.frame(scenery, poses, camera)

    def _ground(self, renderer: Renderer) -> list[Item]:
        rng, tone = self._rng, self._rng.uniform(0.09, 0.2)
        renderer.set_roads(
            tone * rng.uniform(0.94, 1.06, 3),
            rng.uniform(0.22, 0.4) * rng.uniform(0.92, 1.08, 3),
            np.array([0.1, 0.17, 0.05]) * rng.uniform(0.7, 1.5, 3),
            HALF,
        )
        corners = np.array([[-80, -160, 0], [250, -160, 0], [250, 160, 0], [-80, 160, 0]])
        up = np.tile([0.0, 0.0, 1.0], (4, 1))
        part = make_part(corners, up, np.zeros((4, 2)), [[0, 1, 2], [0, 2, 3]], gloss=0.0)
        return [Item(renderer.load(part, road=True), place(np.zeros(3)))]


Placed = list[tuple[Part, np.ndarray]]


def _place_scenery(
    rng: np.random.Generator, models: Sequence[Model], crowd: Crowd, frames: int
) -> Placed:
    """Return houses, poles, trees, hedges and boxes, and the user's scenery, with their poses."""
    placed = _houses(rng)
    texture = {name: surface(rng, kinds) for name, kinds in _LOOKS.items()}
    for side in (-1, 1):
        for x in np.arange(-10.0, REACH + 20, rng.uniform(5, 11)):
            kind = str(rng.choice([*_LOOKS, "none"], p=[0.25, 0.25, 0.15, 0.15, 0.2]))
            if kind == "none":
                continue
            spot = (x + rng.uniform(-2, 2), side * rng.uniform(6.5, 9.5))
            if models and rng.random() < 0.5:
                model = models[int(rng.integers(len(models)))]
                parts, size, yaw = model.parts, model.size, rng.uniform(0, 2 * np.pi)
                if size[:2].max() > 4:  # a house of the user stands further back
                    spot, yaw = (spot[0], side * (HALF + 6 + size[:2].max() / 2)), 0.0
            else:
                parts, size = _SHAPES[kind](rng, texture[kind])
                yaw = 0.0
            reach = np.hypot(*size[:2]) if yaw else size[0], np.hypot(*size[:2]) if yaw else size[1]
            if crowd.add(straight(*spot, 0.0, 0.0, frames), reach):
                pose = place(np.array([*spot, 0.0]), turn_z(yaw))
                placed += [(part, pose) for part in parts]
    return placed


def _houses(rng: np.random.Generator) -> Placed:
    """Return rows of plain houses on both sides."""
    placed = []
    looks = [surface(rng, ("plaster", "tiles", "stripes")) for _ in range(5)]
    for side in (-1, 1):
        x = -25.0
        while x < 130:
            half = np.array([rng.uniform(4, 9), rng.uniform(3, 6), rng.uniform(2.5, 6.5)])
            at = np.array([x + half[0], side * (HALF + 6 + rng.uniform(0, 4) + half[1]), half[2]])
            if rng.random() < 0.85:
                look = looks[int(rng.integers(len(looks)))]
                placed.append((box(half, look, rng.uniform(0.1, 0.4), 0.0), place(at)))
            x += 2 * half[0] + rng.uniform(0.3, 5)
    return placed


def _pole(rng: np.random.Generator, texture: np.ndarray) -> tuple[list[Part], np.ndarray]:
    radius, tall = rng.uniform(0.04, 0.16), rng.uniform(1.0, 6.0)
    return [_raised(cylinder(radius, tall, texture), tall / 2)], np.array([0.4, 0.4])


def _tree(rng: np.random.Generator, texture: np.ndarray) -> tuple[list[Part], np.ndarray]:
    """Return a trunk with a crown of turned boxes."""
    stem, wide = rng.uniform(1.8, 2.8), rng.uniform(0.8, 1.6)
    bark = surface(rng, ("wood",))
    parts = [_raised(cylinder(rng.uniform(0.08, 0.2), stem, bark, 0.0), stem / 2)]
    for _ in range(9):
        half = wide * rng.uniform(0.25, 0.6, 3)
        turn = turn_z(rng.uniform(0, 1.5))
        off = np.array([*rng.normal(0, wide * 0.35, 2), stem + wide * rng.uniform(0.2, 1.4)])
        leaf = box(half, texture, 1.0, 0.0)
        green = np.array([0.3, 0.5, 0.2]) * rng.uniform(0.6, 1.3)
        parts.append(leaf.moved(turn, off).painted(green))
    return parts, np.array([0.8, 0.8])


def _hedge(rng: np.random.Generator, texture: np.ndarray) -> tuple[list[Part], np.ndarray]:
    half = rng.uniform([0.8, 0.25, 0.3], [2.5, 0.45, 0.9])
    part = box(half, texture, 2.0, 0.0)
    leafy = dataclasses.replace(part.painted((0.4, 0.6, 0.3)), texture=None, gloss=0.1)
    return [_raised(leafy, half[2])], 2 * half[:2]


def _crate(rng: np.random.Generator, texture: np.ndarray) -> tuple[list[Part], np.ndarray]:
    half = rng.uniform([0.25, 0.25, 0.3], [0.9, 0.6, 1.0])
    return [_raised(box(half, texture, 1.5), half[2])], 2 * half[:2]


def _raised(part: Part, height: float) -> Part:
    return part.moved(np.eye(3), np.array([0, 0, height]))


_SHAPES = {"pole": _pole, "tree": _tree, "hedge": _hedge, "crate": _crate}
_LOOKS = {
    "pole": ("plaster", "stripes"),
    "tree": ("cloth", "plaster"),
    "hedge": ("cloth", "plaster"),
    "crate": ("wood", "plaster", "stripes"),
}


def _random_light(rng: np.random.Generator) -> tuple[Light, str]:
    """Return sun and sky, and the name of the weather."""
    angle, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.3)
    weather = str(rng.choice(["sunny", "pale", "overcast", "evening"], p=[0.45, 0.25, 0.18, 0.12]))
    colour, sky = np.array([2.1, 1.95, 1.7]), np.array([0.62, 0.72, 0.85])
    ambient, zenith = np.array([0.2, 0.19, 0.18]), np.array([0.25, 0.45, 0.8])
    cover, haze = rng.uniform(0.35, 0.6), rng.uniform(0.001, 0.005)
    if weather == "pale":
        colour, sky, haze = colour * 0.75, np.array([0.78, 0.8, 0.82]), rng.uniform(0.003, 0.009)
    elif weather == "overcast":
        colour, sky, cover = colour * 0.22, np.array([0.85, 0.87, 0.9]), 0.15
        zenith, ambient = np.array([0.6, 0.64, 0.7]), np.array([0.4, 0.4, 0.4])
    elif weather == "evening":
        colour, sky = np.array([2.0, 1.35, 0.8]), np.array([0.8, 0.65, 0.55])
        up = rng.uniform(0.25, 0.45)
    gain, sun = rng.uniform(0.85, 1.2), np.array([np.cos(angle), np.sin(angle), up])
    light = Light(
        sun / np.linalg.norm(sun),
        colour * gain,
        sky * gain,
        ambient * gain,
        haze,
        tuple(zenith * gain),
        (float(cover), float(rng.uniform(0, 90))),
    )
    return light, weather
