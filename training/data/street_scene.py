"""Renders the frames of one street scene together with the masks of its objects."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from savos_model.types import Box
from training.data.street_camera import NEAR_M, Camera, clip_near, pose_matrix
from training.data.street_cars import CarSpec, build_car
from training.data.street_figures import Hulls, draw_hulls
from training.data.street_ground import (
    Ground,
    draw_facade,
    draw_sky,
    facade_texture,
    fractal,
    sky_panorama,
)
from training.data.street_layout import UNTRACKED, Builder, Front, Thing, random_street
from training.data.street_meshes import Mesh
from training.data.street_noise import MaskNoise, tight
from training.data.street_people import PersonSpec, riding, walking
from training.data.street_photo import Photo
from training.data.street_render import (
    TILE,
    Drawing,
    Layer,
    Light,
    composite,
    draw_mesh,
    far_to_near,
    rasterise,
)
from training.data.street_world import AHEAD_M, World

if TYPE_CHECKING:
    from training.data.street import StreetConfig

MESHES = 512  # cars whose meshes are kept
FRONT_KINDS = ["house"] * 7 + ["wall"] * 3 + ["hedge"] * 2


@dataclass(frozen=True)
class Seen:
    """Truth of one tracked object in one frame (see StreetObject)."""

    uid: int
    class_id: int
    full: tuple[Box, np.ndarray]
    visible: tuple[Box, np.ndarray] | None
    tracked: tuple[Box, np.ndarray] | None
    depth_m: float
    occlusion: float


def random_light(rng: np.random.Generator) -> Light:
    """Draw a sun position and the colours of sun, sky light and haze."""
    height, around = rng.uniform(0.35, 1.1), rng.uniform(0, 2 * math.pi)
    sun = np.array(
        [math.cos(height) * math.cos(around), math.cos(height) * math.sin(around), math.sin(height)]
    )
    strong = rng.uniform(0.5, 1.0) if rng.random() < 0.75 else rng.uniform(0, 0.25)
    warm = rng.uniform(0, 0.15)
    sky = np.array([1.08, 1.0, 0.94]) * (0.85 - 0.45 * strong)
    return Light(
        sun,
        np.array([1 - warm, 1.0, 1 + 0.4 * warm]) * strong,
        sky,
        sky * 0.35,
        np.array([0.86, 0.84, 0.82]),
        rng.uniform(300, 900),
    )


class Scene:
    """One street with its look; `render` gives a frame, `step` moves on."""

    def __init__(self, config: StreetConfig):
        self.config = config
        rng = np.random.default_rng([config.seed, 70])
        self.light = random_light(rng)
        self.street = random_street(rng, config.style, float(self.light.sun[1]))
        builder = Builder(self.street, config.seed, config.density, FRONT_KINDS)
        self.world = World(self.street, builder, rng, config.density, config.max_speed)
        look = np.random.default_rng([config.seed, 74])
        self.ground = Ground(
            look, self.street.half_road, self.street.kerb, self.street.shade, self.light
        )
        self.panorama = sky_panorama(look, self.light, Camera(config.width, config.height))
        self.fronts = [self._front_texture(look, kind) for kind in FRONT_KINDS]
        self.tiles = {name: _tile(look, *shape) for name, shape in TILES.items()}
        self.noise = MaskNoise(
            config.seed,
            config.jitter_px,
            config.lost_share,
            config.split_share,
            config.min_tracked_px,
        )
        self.photo = Photo(config.seed, config.image_noise, (config.height, config.width))
        self._meshes: OrderedDict[tuple[CarSpec, bool], Mesh] = OrderedDict()

    def step(self) -> None:
        """Go on to the next frame."""
        self.world.step(1 / self.config.rate_hz)
        self.noise.forget(self.alive())

    def alive(self) -> set[int]:
        """Numbers of the things that exist now."""
        return {thing.uid for thing in self.world.things}

    def _front_texture(self, rng: np.random.Generator, kind: str) -> list[np.ndarray]:
        height = {"house": 11.0, "wall": 2.2, "hedge": 2.0}[kind]
        texture = facade_texture(rng, 14.0, height, kind).astype(np.float32)
        light = self.light.sky * 0.75 + self.light.sun_colour * rng.uniform(0.05, 0.55)
        levels = [np.clip(texture * light, 0, 255).astype(np.uint8)]
        for _ in range(4):
            levels.append(
                cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            )
        return levels

    def render(self) -> tuple[np.ndarray, list[Seen]]:
        """Image uint8 BGR [H, W, 3] of the present moment, and its tracked objects from near to far."""
        camera = self.world.camera(self.config.width, self.config.height)
        image = np.empty((camera.height, camera.width, 3), np.uint8)
        owner = np.full((camera.height, camera.width), -1, np.int16)
        draw_sky(image, camera, self.panorama)
        self.ground.draw(image, camera, self.street.middle, self.street.junctions)
        things, fronts = self._in_view(camera)
        placed = [self.world.place(thing) for thing in things]
        self._shadows(image, camera, things, placed)
        prints = [_footprint(thing, *place) for thing, place in zip(things, placed, strict=True)]
        prints += [self._front_print(front) for front in fronts]
        layers: list[tuple[Thing, Layer, Drawing, int]] = []
        for i in far_to_near(np.array(prints).reshape(-1, 4, 2), camera.position[:2]):
            if i >= len(things):
                self._draw_front(image, owner, camera, fronts[i - len(things)])
                continue
            thing, (position, heading) = things[i], placed[i]
            drawing = self._draw(thing, position, heading, camera)
            layer = rasterise(
                drawing, camera, self.tiles[thing.tile], self._grain(thing, position, camera)
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
        return self.photo.develop(image), sorted(seen, key=lambda entry: (entry.depth_m, entry.uid))

    def _in_view(self, camera: Camera) -> tuple[list[Thing], list[Front]]:
        """What may reach into the image; the rest costs no time."""
        margin = camera.width / 2 / camera.focal * 1.15
        forward, right = camera.rotation[2, :2], camera.rotation[0, :2]
        things = []
        for thing in self.world.things:
            offset = self.world.place(thing)[0][:2] - camera.position[:2]
            size = math.hypot(*thing.half) + (3.5 if thing.tile == "leaf" else 0.3)
            ahead = float(offset @ forward)
            if (
                -size < ahead < AHEAD_M
                and abs(float(offset @ right)) < margin * max(ahead, 0) + size * 1.6
            ):
                things.append(thing)
        fronts = [front for front in self.world.fronts if front.start[0] < camera.x + 150]
        return things, fronts

    def _draw(self, thing: Thing, position: np.ndarray, heading: float, camera: Camera) -> Drawing:
        model, lit = thing.model, self.world.lit(thing)
        if isinstance(model, CarSpec):
            near = math.hypot(position[0] - camera.x, position[1] - camera.y) < 26
            model = self._mesh(model, near)
        elif isinstance(model, PersonSpec):
            stride = min(thing.speed / 1.5, 1.25)
            model = (
                riding(model, thing.phase)
                if thing.kind == "cyclist"
                else walking(model, thing.phase, stride)
            )
        if isinstance(model, Hulls):
            return draw_hulls(
                model, position, heading, camera, self.light, lit, thing.tile == "cloth"
            )
        return draw_mesh(model, position, heading, camera, self.light, lit)

    def _mesh(self, spec: CarSpec, fine: bool) -> Mesh:
        key = (spec, fine)
        if key not in self._meshes:
            self._meshes[key] = build_car(spec, fine)
            if len(self._meshes) > MESHES:
                self._meshes.popitem(last=False)
        self._meshes.move_to_end(key)
        return self._meshes[key]

    def _grain(
        self, thing: Thing, position: np.ndarray, camera: Camera
    ) -> tuple[float, float, float]:
        """Where the surface texture hangs: it moves and scales with the middle of the object."""
        point = camera.to_camera(position[None] + [0, 0, 0.8])[0]
        point[2] = max(point[2], 2.0)
        x, y = camera.project(point)
        scale = point[2] / camera.focal * TILE / TILE_M[thing.tile]
        # An own offset per object, so that two cars do not carry the same pattern.
        return float(x) - thing.uid * 37.7 / scale, float(y), float(scale)

    def _shadows(
        self, image: np.ndarray, camera: Camera, things: list[Thing], placed: list
    ) -> None:
        """Darken the ground below and beside the things."""
        half = np.zeros(((camera.height + 1) // 2, (camera.width + 1) // 2), np.uint8)
        throw = -self.light.sun[:2] / max(self.light.sun[2], 0.2)
        for thing, (position, heading) in zip(things, placed, strict=True):
            if thing.half[0] < 0.2 or np.hypot(*(position[:2] - camera.position[:2])) > 60:
                continue
            base = _footprint(thing, position, heading)
            tall = 1.1 if isinstance(thing.model, CarSpec) else 1.5
            cast = (
                np.concatenate([base, base + throw * tall * 0.85])
                if self.world.lit(thing) > 0.5
                else base
            )
            hull = cv2.convexHull(cast.astype(np.float32))[:, 0]
            for outline, dark in ((hull, 120), (base, 200)):
                ground = camera.to_camera(
                    np.concatenate([outline, np.zeros((len(outline), 1))], axis=1)
                )
                ground = clip_near(ground, NEAR_M)
                if len(ground) > 2:
                    polygon = np.rint(camera.project(ground) / 2 * 16).astype(np.int32)
                    shape = np.zeros_like(half)
                    cv2.fillPoly(shape, [polygon], dark, cv2.LINE_8, 4)
                    np.maximum(half, shape, out=half)
        half = cv2.GaussianBlur(half, (0, 0), 1.5)
        keep = cv2.resize(255 - half, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
        top = max(int(camera.centre[1]) - 8, 0)
        cv2.multiply(
            image[top:],
            cv2.cvtColor(keep[top:], cv2.COLOR_GRAY2BGR),
            dst=image[top:],
            scale=1 / 255,
        )

    def _front_points(self, front: Front) -> np.ndarray:
        (s0, d0), (s1, d1) = front.start, front.end
        return np.array([[s0, self.street.middle(s0) + d0], [s1, self.street.middle(s1) + d1]])

    def _front_print(self, front: Front) -> np.ndarray:
        """Thin footprint [4, 2], counter-clockwise."""
        a, b = self._front_points(front)
        along = (b - a) / np.linalg.norm(b - a)
        thick = np.array([-along[1], along[0]]) * 0.1
        return np.array([a - thick, b - thick, b + thick, a + thick])

    def _draw_front(
        self, image: np.ndarray, owner: np.ndarray, camera: Camera, front: Front
    ) -> None:
        a, b = self._front_points(front)
        quad = np.array([[*a, 0], [*b, 0], [*b, front.height], [*a, front.height]])
        draw_facade(image, owner, camera, self.fronts[front.texture], quad)

    def _truth(
        self, owner: np.ndarray, thing: Thing, layer: Layer, drawing: Drawing, index: int
    ) -> Seen:
        box = layer.box
        in_front = (owner[box.y0 : box.y1, box.x0 : box.x1] == index).astype(np.uint8)
        visible = tight(box, in_front)
        occlusion = 1 - float(in_front.sum()) / float(layer.mask.sum())
        tracked = None
        if visible is not None:
            tracked = self.noise.apply(thing.uid, *visible, owner.shape)
        return Seen(
            thing.uid,
            thing.class_id,
            tight(box, layer.mask),
            visible,
            tracked,
            drawing.depth,
            occlusion,
        )


def _footprint(thing: Thing, position: np.ndarray, heading: float) -> np.ndarray:
    """Ground corners [4, 2], counter-clockwise [m]."""
    length, width = thing.half
    corners = np.array([[-length, -width], [length, -width], [length, width], [-length, width]])
    return corners @ pose_matrix(heading)[:2, :2].T + position[:2]


# Surface textures: strength, octaves, fall-off; and the size of one tile [m].
TILES = {
    "smooth": (0.05, 5, 0.7),
    "cloth": (0.10, 6, 0.8),
    "leaf": (0.30, 7, 0.95),
    "rough": (0.12, 6, 0.8),
}
TILE_M = {"smooth": 2.6, "cloth": 0.9, "leaf": 1.6, "rough": 1.2}


def _tile(rng: np.random.Generator, strength: float, octaves: int, fall: float) -> np.ndarray:
    grain = 128 * (1 + strength * fractal(rng, TILE, TILE, octaves, fall))
    tile = np.repeat(grain[..., None], 4, axis=2)
    tile[..., 3] = 128
    return np.clip(tile, 0, 255).astype(np.uint8)
