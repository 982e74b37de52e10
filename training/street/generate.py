"""Synthetic street scenes with exact amodal truth, streamed frame by frame."""

import functools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from savos_model.types import Box
from training.street.backdrop import (
    FRONT_KINDS,
    SURFACES,
    Look,
    Photo,
    draw_facade,
    draw_shadows,
    draw_sky,
    random_light,
)
from training.street.builder import UNTRACKED, Builder, Front, Thing, random_street
from training.street.cars import CarSpec, build_car
from training.street.config import StreetConfig, StreetFrame, StreetObject
from training.street.noise import MaskNoise, tight
from training.street.people import PersonSpec, riding, walking
from training.street.render import (
    TILE,
    Camera,
    Drawing,
    Hulls,
    Layer,
    composite,
    draw_hulls,
    draw_mesh,
    far_to_near,
    pose_matrix,
    rasterise,
)
from training.street.world import World

car_mesh = functools.lru_cache(maxsize=512)(build_car)


class Scene:
    """One street with its look; `render` gives a frame, `step` moves on."""

    def __init__(self, config: StreetConfig):
        self.config = config
        rng = np.random.default_rng([config.seed, 70])
        self.light = random_light(rng)
        self.street = random_street(rng, config.style, float(self.light.sun[1]))
        builder = Builder(self.street, config, FRONT_KINDS)
        self.world = World(self.street, builder, rng, config)
        look = np.random.default_rng([config.seed, 74])
        self.look = Look(look, self.street, self.light, Camera(config.width, config.height))
        self.noise = MaskNoise(config)
        self.photo = Photo(config)

    def step(self) -> None:
        """Advance to the next frame."""
        self.world.step(1 / self.config.rate_hz)
        self.noise.forget(self.alive())

    def alive(self) -> set[int]:
        """Return the numbers of the things that exist now."""
        return {thing.uid for thing in self.world.things}

    def render(self) -> tuple[np.ndarray, list[StreetObject]]:
        """Image uint8 BGR [H, W, 3] of this moment, and its tracked objects from near to far.

        The id of an object is the number of its thing in this world.
        """
        camera = self.world.camera(self.config.width, self.config.height)
        image = np.empty((camera.height, camera.width, 3), np.uint8)
        owner = np.full((camera.height, camera.width), -1, np.int16)
        draw_sky(image, camera, self.look.panorama)
        self.look.ground.draw(image, camera, self.street.middle, self.street.junctions)
        things, fronts = self._in_view(camera)
        placed = [self.world.place(thing) for thing in things]
        prints = [_footprint(thing, *place) for thing, place in zip(things, placed, strict=True)]
        self._shadows(image, camera, things, prints)
        prints += [self._front_print(front) for front in fronts]
        layers: list[tuple[Thing, Layer, Drawing, int]] = []
        for i in far_to_near(np.array(prints).reshape(-1, 4, 2), camera.position[:2]):
            if i >= len(things):
                self._draw_front(image, owner, camera, fronts[i - len(things)])
                continue
            thing, (position, heading) = things[i], placed[i]
            drawing = self._draw(thing, position, heading, camera)
            layer = rasterise(
                drawing, camera, self.look.tiles[thing.tile], self._grain(thing, position, camera)
            )
            if layer is None or not layer.mask.any():
                continue
            composite(image, owner, layer, i)
            if thing.class_id != UNTRACKED and drawing.depth <= self.config.max_range_m:
                layers.append((thing, layer, drawing, i))
        seen = [
            self._truth(owner, *entry)
            for entry in layers
            if int(entry[1].mask.sum()) >= self.config.min_full_px
        ]
        return self.photo.develop(image), sorted(seen, key=lambda entry: (entry.depth_m, entry.id))

    def _in_view(self, camera: Camera) -> tuple[list[Thing], list[Front]]:
        """Return what may reach into the image; the rest costs no time."""
        margin = camera.width / 2 / camera.focal * 1.15
        forward, right = camera.rotation[2, :2], camera.rotation[0, :2]
        things = []
        for thing in self.world.things:
            offset = self.world.place(thing)[0][:2] - camera.position[:2]
            size = math.hypot(*thing.half) + (3.5 if thing.tile == "leaf" else 0.3)
            ahead = float(offset @ forward)
            reach = margin * max(ahead, 0) + size * 1.6
            if -size < ahead < thing.far and abs(float(offset @ right)) < reach:
                things.append(thing)
        fronts = [front for front in self.world.fronts if front.start[0] < camera.x + 150]
        return things, fronts

    def _draw(self, thing: Thing, position: np.ndarray, heading: float, camera: Camera) -> Drawing:
        model, lit = thing.model, self.world.lit(thing)
        if isinstance(model, CarSpec):
            near = math.hypot(position[0] - camera.x, position[1] - camera.y) < 26
            model = car_mesh(model, near)
        elif isinstance(model, PersonSpec):
            if thing.kind == "cyclist":
                model = riding(model, thing.phase)
            else:
                model = walking(model, thing.phase, min(thing.speed / 1.5, 1.25))
        if isinstance(model, Hulls):
            return draw_hulls(
                model, position, heading, camera, self.light, lit, thing.tile == "cloth"
            )
        return draw_mesh(model, position, heading, camera, self.light, lit)

    def _grain(
        self, thing: Thing, position: np.ndarray, camera: Camera
    ) -> tuple[float, float, float]:
        """Return where the texture hangs: it moves and scales with the middle of the object."""
        point = camera.to_camera(position[None] + [0, 0, 0.8])[0]
        point[2] = max(point[2], 2.0)
        x, y = camera.project(point)
        scale = point[2] / camera.focal * TILE / SURFACES[thing.tile][3]
        # An own offset per object, so that two cars do not carry the same pattern.
        return float(x) - thing.uid * 37.7 / scale, float(y), float(scale)

    def _shadows(
        self, image: np.ndarray, camera: Camera, things: list[Thing], prints: list[np.ndarray]
    ) -> None:
        """Darken the ground below the things, and where their shadow falls."""
        throw = -self.light.sun[:2] / max(self.light.sun[2], 0.2)
        shadows = []
        for thing, base in zip(things, prints, strict=True):
            far = np.hypot(*(base.mean(axis=0) - camera.position[:2])) > 60
            if thing.half[0] < 0.2 or far:
                continue
            if self.world.lit(thing) > 0.5:
                tall = 0.95 if isinstance(thing.model, CarSpec) else 1.3
                shadows.append((np.concatenate([base, base + throw * tall]), 120))
            shadows.append((base, 200))
        draw_shadows(image, camera, shadows)

    def _front_points(self, front: Front) -> np.ndarray:
        (s0, d0), (s1, d1) = front.start, front.end
        return np.array([[s0, self.street.middle(s0) + d0], [s1, self.street.middle(s1) + d1]])

    def _front_print(self, front: Front) -> np.ndarray:
        """Return the thin footprint [4, 2], counter-clockwise."""
        a, b = self._front_points(front)
        along = (b - a) / np.linalg.norm(b - a)
        thick = np.array([-along[1], along[0]]) * 0.1
        return np.array([a - thick, b - thick, b + thick, a + thick])

    def _draw_front(
        self, image: np.ndarray, owner: np.ndarray, camera: Camera, front: Front
    ) -> None:
        a, b = self._front_points(front)
        along = (b - a) / np.linalg.norm(b - a) * 0.06  # longer: no slit between neighbours
        a, b = a - along, b + along
        quad = np.array([[*a, 0], [*b, 0], [*b, front.height], [*a, front.height]])
        draw_facade(image, owner, camera, self.look.fronts[front.texture], quad)

    def _truth(
        self, owner: np.ndarray, thing: Thing, layer: Layer, drawing: Drawing, index: int
    ) -> StreetObject:
        box = layer.box
        in_front = (owner[box.y0 : box.y1, box.x0 : box.x1] == index).astype(np.uint8)
        visible = tight(box, in_front)
        occlusion = 1 - float(in_front.sum()) / float(layer.mask.sum())
        tracked = None
        if visible is not None:
            tracked = self.noise.apply(thing.uid, *visible, owner.shape)
        return StreetObject(
            thing.uid,
            thing.class_id,
            tight(box, layer.mask),
            visible,
            tracked,
            drawing.depth,
            occlusion,
        )


def _footprint(thing: Thing, position: np.ndarray, heading: float) -> np.ndarray:
    """Return the ground corners [4, 2], counter-clockwise [m]."""
    length, width = thing.half
    corners = np.array([[-length, -width], [length, -width], [length, width], [-length, width]])
    return corners @ pose_matrix(heading)[:2, :2].T + position[:2]


CLASS_DIVISOR = 1000


def generate(config: StreetConfig) -> Iterator[StreetFrame]:
    """Stream a clip; the same config gives the same bits, memory does not grow with `frames`."""
    scene = Scene(config)
    ids: dict[int, int] = {}
    counters = {1: 0, 2: 0}
    for index in range(config.frames):
        image, seen = scene.render()
        for entry in seen:
            # An object begins when a tracker could see it, and stays until it is gone.
            if entry.id not in ids and _area(entry.visible) >= config.min_tracked_px:
                ids[entry.id] = _new_id(entry.class_id, counters, set(ids.values()))
        objects = [replace(entry, id=ids[entry.id]) for entry in seen if entry.id in ids]
        yield StreetFrame(index, round(index * 1e9 / config.rate_hz), image, objects)
        scene.step()
        alive = scene.alive()
        ids = {uid: number for uid, number in ids.items() if uid in alive}


def _area(mask: tuple[Box, np.ndarray] | None) -> int:
    return 0 if mask is None else int(mask[1].sum())


def _new_id(class_id: int, counters: dict[int, int], used: set[int]) -> int:
    """Next free number of a class; after 999 objects the numbers of those long gone come again."""
    for _ in range(CLASS_DIVISOR):
        counters[class_id] = counters[class_id] % (CLASS_DIVISOR - 1) + 1
        number = class_id * CLASS_DIVISOR + counters[class_id]
        if number not in used:
            return number
    raise RuntimeError(f"more than 999 objects of class {class_id} in a frame: reduce density")


def label_image(frame: StreetFrame) -> np.ndarray:
    """Return tracker output of a frame as label image, uint16 [H, W]: id or 0; nearer masks win."""
    labels = np.zeros(frame.image.shape[:2], dtype=np.uint16)
    for item in sorted(
        frame.objects, key=lambda entry: -entry.depth_m if math.isfinite(entry.depth_m) else 0.0
    ):
        if item.tracked is not None:
            box, mask = item.tracked
            labels[box.y0 : box.y1, box.x0 : box.x1][mask > 0] = item.id
    return labels
