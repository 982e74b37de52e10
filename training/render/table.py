"""A pile of objects on a table; a bin, posts, boxes and a robot's hand only occlude."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.render.geometry import place, random_turn, turn_z
from training.render.gl import Camera, Item, Light, Renderer
from training.render.meshes import Model, Part, box, cylinder, surface
from training.render.physics import Pile, Solid
from training.render.scene import (
    SceneFrame,
    SceneObject,
    Stage,
    pick,
    posed,
    split_scenery,
    tint_of,
)

SIZE, FPS = (480, 320), 15
NEAR, FAR, BIAS = 0.05, 25.0, 0.0006
USUAL = 0.12  # median longest side [m] of the objects that all lengths below are for
ALLOWED = (0.005, 5.0)  # longest side of an object [m]
ACTIONS = ("orbit", "push", "drop")
CLEARANCE = 0.1  # around the camera, in units of the scene
TABLE_HALF = (0.6, 0.45, 0.02)


@dataclass(frozen=True)
class Stand:
    """Something that stands still: how it looks, its pose, and its box for the physics."""

    parts: tuple[Part, ...]
    pose: np.ndarray
    solid: Solid


@dataclass(frozen=True)
class TablePlan:
    """Random choices of a scene, in units of `scale` metres.

    Attributes:
        scale: size of the scene, 1 for objects of USUAL length.
        action: of ACTIONS.
        count: objects.
        centre: of the pile [2].
        spread: half a side of the square that the objects are dropped into.
        bin_rim: height of the bin's walls, None without a bin.
        yaw: of the bin.
        eyes: camera centres, [F, 3]; target: [3]; focal: over the picture's columns.
        hand: places of the hand's finger tips, [F, 3], None without a hand.
    """

    scale: float
    action: str
    count: int
    centre: np.ndarray
    spread: float
    bin_rim: float | None
    yaw: float
    eyes: np.ndarray
    target: np.ndarray
    focal: float
    hand: np.ndarray | None


def plan_table(rng: np.random.Generator, models: Sequence[Model], frames: int) -> TablePlan:
    """Draw a scene for objects of these sizes."""
    scale = float(np.median([model.size.max() for model in models])) / USUAL
    action = str(rng.choice(ACTIONS, p=[0.3, 0.4, 0.3]))
    centre, spread = rng.uniform(-0.08, 0.08, 2), float(rng.uniform(0.1, 0.17))
    rim = float(rng.uniform(0.025, 0.07)) if rng.random() < 0.3 else None
    time = np.linspace(0, 1, frames)
    steepness = (24, 55) if rim else (10, 38)
    pitch = np.radians(rng.uniform(*steepness)) + rng.uniform(-0.12, 0.12) * time
    turn = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * rng.uniform(0.1, 1.5) * time
    away = rng.uniform(0.5, 0.85) * (1 + rng.uniform(-0.2, 0.2) * time)
    shake = rng.uniform(0, 0.006, (3, 1)) * np.sin(
        rng.uniform(6, 25, (3, 1)) * time + rng.uniform(0, 6, (3, 1))
    )
    way = np.stack((np.cos(pitch) * np.cos(turn), np.cos(pitch) * np.sin(turn), np.sin(pitch)), 1)
    middle = np.array([*centre, 0.0])
    hand = None
    if action == "push" or rng.random() < 0.4:
        hand = middle + _hand_path(rng, action == "push", spread - 0.03 if rim else 0.2, frames)
    return TablePlan(
        scale,
        action,
        int(rng.integers(9, 17)),
        centre,
        spread,
        rim,
        float(rng.uniform(0, 1.5)),
        middle + away[:, None] * way + [0, 0, 0.03] + shake.T,
        middle + [*rng.normal(0, 0.02, 2), rng.uniform(0.02, 0.06)],
        float(rng.uniform(0.95, 1.35)),
        hand,
    )


def _hand_path(rng: np.random.Generator, pushes: bool, reach: float, frames: int) -> np.ndarray:
    """Return the path of the finger tips about the pile, [F, 3]: through it or above it."""
    phase = 2 * np.pi * np.arange(frames) / rng.uniform(40, 90)
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle), 0.0])
    across = np.array([-along[1], along[0], 0.0])
    if pushes:
        low = np.full(frames, rng.uniform(0.012, 0.05))
        moved = np.outer(-np.cos(phase), along) * reach
        moved += np.outer(np.sin(0.7 * phase + shift), across) * 0.06
    else:
        low = rng.uniform(0.1, 0.16) + 0.04 * np.sin(1.7 * phase)
        moved = np.outer(np.sin(phase + shift), along) * 0.2
        moved += np.outer(np.cos(1.3 * phase), across) * 0.1
    return moved + np.outer(low, [0, 0, 1])


class TableScene:
    """One random scene (see scene.Scene)."""

    def __init__(self, models: Sequence[Model], seed: int, frames: int) -> None:
        """Draw the scene and let its pile settle.

        Raises:
            SceneError: no model is an object.
            FloatingPointError: the simulation blew up.
        """
        self._rng = rng = np.random.default_rng(seed)
        labelled, scenery = split_scenery(models)
        self._plan = plan = plan_table(rng, labelled, frames)
        self._stands = [*_bin(rng, plan), *_posts(rng, plan, scenery)]
        self._hand = _hand_parts(rng, plan.scale) if plan.hand is not None else []
        self._light = _random_light(rng)
        self.objects = [
            SceneObject(model, 0.0, tint_of(rng, model))
            for model in pick(rng, labelled, plan.count)
        ]
        late = int(rng.integers(3, 7)) if plan.action == "drop" else 0
        self._pile = self._settled(late)
        # The late ones fall one by one in the first three quarters of the clip.
        times = np.sort(rng.uniform(0, 0.75, late)) * frames
        self._drops = dict(
            zip(range(plan.count - late, plan.count), times.astype(int), strict=True)
        )
        self.parameters: dict[str, Any] = {
            "action": plan.action,
            "bin": plan.bin_rim is not None,
            "hand": plan.hand is not None,
            "scale": round(plan.scale, 3),
        }

    def _settled(self, late: int) -> Pile:
        """Return the pile of all objects but the late ones, at rest."""
        plan, rng, k = self._plan, self._rng, self._plan.scale
        half = np.array(TABLE_HALF) * k
        solids = [Solid(half, (0, 0, -half[2]))] + [stand.solid for stand in self._stands]
        walls = []
        for turn in np.arange(4) * np.pi / 2:
            at = plan.centre + (plan.spread + 0.01) * np.array([np.cos(turn), np.sin(turn)])
            size = np.array([0.01, plan.spread + 0.05, 0.4]) * k
            walls.append(Solid(size, (*at * k, 0.4 * k), turn))
        bodies = [
            item.model.collision or [np.concatenate([p.vertices for p in item.model.parts])]
            for item in self.objects
        ]
        hand = []
        if plan.hand is not None:
            hand = [Solid(np.array([0.04, 0.016, 0.08]) * k, (0, 0, 0.08 * k))]
        pile = Pile(bodies, solids, walls, hand, k)
        for i in range(plan.count - late):
            pile.put(i, self._spot(0.22 + 0.01 * i), random_turn(rng))
            pile.advance(0.25)
        pile.advance(0.5)
        pile.remove_walls()
        pile.advance(0.8)
        if plan.hand is not None:
            for share in np.linspace(1, 0, 20):  # down to where its path begins
                pile.move_hand((plan.hand[0] + [0, 0, 0.4 * share]) * k)
                pile.advance(0.02)
        return pile

    def _spot(self, height: float) -> np.ndarray:
        plan = self._plan
        off = self._rng.normal(0, 0.45, 2).clip(-1, 1) * plan.spread * 0.7
        return np.array([*(plan.centre + off), height]) * plan.scale

    def frames(self, renderer: Renderer) -> Iterator[SceneFrame]:
        """Yield the frames of the clip; see scene.Scene."""
        plan, k = self._plan, self._plan.scale
        still = self._room(renderer)
        for stand in self._stands:
            still += [Item(renderer.load(part), stand.pose) for part in stand.parts]
        stage = Stage(renderer, self.objects, self._light, np.zeros(3), 0.75 * k)
        hand = [renderer.load(part) for part in self._hand]
        for frame, eye in enumerate(plan.eyes):
            if plan.hand is not None:
                self._pile.move_hand(plan.hand[frame] * k)
            for i, when in self._drops.items():
                if when == frame:
                    self._pile.put(i, self._spot(0.45), random_turn(self._rng))
            self._pile.advance(1 / FPS)
            poses = {
                i: self._pile.pose(i) for i in range(len(self.objects)) if not self._pile.is_away(i)
            }
            scenery = still + posed(hand, place(plan.hand[frame] * k) if hand else np.eye(4))
            camera = Camera(eye * k, plan.target * k, plan.focal * SIZE[0])
            yield stage.frame(scenery, poses, camera)

    def _room(self, renderer: Renderer) -> list[Item]:
        """Return the table, the floor, walls and furniture."""
        rng, k = self._rng, self._plan.scale
        top = surface(rng, ("wood", "wood", "plaster", "tiles", "cloth", "stripes", "shapes"))
        leg = surface(rng, ("plaster", "wood"))

        def solid(half: Sequence[float], texture: np.ndarray, at: Sequence[float], yaw: float = 0):
            part = box(np.array(half) * k, texture, rng.uniform(0.5, 2) / k)
            return Item(renderer.load(part), place(np.array(at) * k, turn_z(yaw)))

        items = [solid(TABLE_HALF, top, (0, 0, -TABLE_HALF[2]))]
        items += [
            solid((0.03, 0.03, 0.36), leg, (x, y, -0.4)) for x in (-0.55, 0.55) for y in (-0.4, 0.4)
        ]
        items.append(solid((5, 5, 0.02), surface(rng), (0, 0, -0.78)))
        far = rng.uniform(1.6, 3.0)
        for yaw in np.arange(4) * np.pi / 2:
            at = (-far * np.sin(yaw), far * np.cos(yaw), 1.2)
            items.append(solid((4, 0.02, 2), surface(rng), at, yaw))
        for _ in range(rng.integers(4, 10)):
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 1.5)
            half = rng.uniform([0.1, 0.1, 0.2], [0.4, 0.3, 0.9])
            at = np.array([distance * np.cos(angle), distance * np.sin(angle), half[2] - 0.76])
            if is_free(at[:2], float(np.hypot(*half[:2])), self._plan):
                items.append(solid(half, surface(rng), at, rng.uniform(0, 3)))
        return items


def is_free(spot: np.ndarray, radius: float, plan: TablePlan) -> bool:
    """Return whether a round thing at `spot` [2] stands neither at the camera nor before it.

    In units of the plan; `radius` is that of the thing.
    """
    shares = np.linspace(0, 1, 12)[:, None, None]
    line = plan.eyes[:, :2] * (1 - shares) + plan.target[:2] * shares
    return bool((np.linalg.norm(line - spot, axis=2) > radius + CLEARANCE).all())


def _bin(rng: np.random.Generator, plan: TablePlan) -> list[Stand]:
    """Return the walls of an open bin around the pile."""
    if plan.bin_rim is None:
        return []
    texture, k, wide = surface(rng, ("plaster", "wood", "cloth")), plan.scale, plan.spread + 0.03
    half = np.array([0.005, wide, plan.bin_rim / 2]) * k
    part, stands = box(half, texture, 3 / k), []
    for turn in plan.yaw + np.arange(4) * np.pi / 2:
        off = wide * np.array([np.cos(turn), np.sin(turn)])
        at = np.array([*(plan.centre + off) * k, half[2]])
        stands.append(Stand((part,), place(at, turn_z(turn)), Solid(half, at, turn)))
    return stands


def _posts(rng: np.random.Generator, plan: TablePlan, scenery: Sequence[Model]) -> list[Stand]:
    """Return posts, boxes and the user's scenery around the pile."""
    stands, k = [], plan.scale
    for _ in range(rng.integers(0, 4)):
        angle, distance = rng.uniform(0, 2 * np.pi), plan.spread + rng.uniform(0.1, 0.2)
        yaw = rng.uniform(0, 3)
        at = k * np.array([*plan.centre, 0]) + k * distance * np.array(
            [np.cos(angle), np.sin(angle), 0]
        )
        if scenery and rng.random() < 0.6:
            model = scenery[int(rng.integers(len(scenery)))]
            half, parts, base = model.size / 2, model.parts, at
        elif rng.random() < 0.5:
            radius, tall = rng.uniform(0.008, 0.035), rng.uniform(0.08, 0.35)
            half = k * np.array([radius, radius, tall / 2])
            parts = (cylinder(k * radius, k * tall, surface(rng)),)
            base = at + [0, 0, half[2]]
        else:
            half = k * rng.uniform([0.015, 0.015, 0.03], [0.06, 0.05, 0.09])
            parts, base = (box(half, surface(rng), 6 / k),), at + [0, 0, half[2]]
        reach = float(np.hypot(*half[:2])) / k + CLEARANCE
        if (np.linalg.norm(plan.eyes[:, :2] - at[:2] / k, axis=1) < reach).any():
            continue  # the camera would be in it
        solid = Solid(half, at + [0, 0, half[2]], yaw)
        stands.append(Stand(tuple(parts), place(base, turn_z(yaw)), solid))
    return stands


def _hand_parts(rng: np.random.Generator, scale: float) -> list[Part]:
    """Return a gripper whose finger tips are at the origin, with a leaning forearm."""
    dark, paint = surface(rng, ("plaster",)), surface(rng, ("plaster",))
    lean = turn_z(rng.uniform(0, 2 * np.pi)) @ np.array([rng.uniform(0.1, 0.7), 0, 1.0])
    lean /= np.linalg.norm(lean)
    side = np.cross(lean, [0, 1, 0])
    side /= np.linalg.norm(side)
    turn = np.stack((side, np.cross(lean, side), lean), 1)

    k, still = scale, np.eye(3)
    palm = box(k * np.array([0.045, 0.014, 0.05]), dark, 3 / k)
    parts = [palm.moved(still, np.array([0, 0, 0.13 * k]))]
    for x in (-0.03, 0.03):
        finger = box(k * np.array([0.008, 0.014, 0.045]), dark, 3 / k)
        parts.append(finger.moved(still, np.array([x, 0, 0.045]) * k))
    arm = cylinder(rng.uniform(0.03, 0.05) * k, 0.7 * k, paint, 0.1)
    return [*parts, arm.moved(turn, np.array([0, 0, 0.17]) * k + lean * 0.35 * k)]


def _random_light(rng: np.random.Generator) -> Light:
    angle = rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(angle), np.sin(angle), rng.uniform(0.7, 2.0)])
    warm = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.65, 1.0)])
    sky = np.array([0.7, 0.72, 0.75]) * rng.uniform(0.6, 1.3)
    colour = 1.5 * warm * rng.uniform(0.5, 1.3)
    return Light(sun / np.linalg.norm(sun), colour, sky, sky * 0.35)
