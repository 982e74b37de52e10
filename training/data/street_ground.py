"""Ground, sky and house fronts of the street scenes."""

from __future__ import annotations

import math

import cv2
import numpy as np

from training.data.street_camera import NEAR_M, Camera, clip_near
from training.data.street_render import Light

RES = 40  # ground texture [px/m]
PERIOD_M, HALF_M = (
    38.4,
    16.0,
)  # the texture repeats along the road, and ends at this distance from its middle


def fractal(
    rng: np.random.Generator, height: int, width: int, octaves: int = 5, fall: float = 0.6
) -> np.ndarray:
    """Noise with detail at several scales that wraps around; float32 [height, width], mean 0, about unit spread."""
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        step = 2 ** (octaves - 1 - octave) * 2
        coarse = rng.normal(0, 1, (max(height // step, 2), max(width // step, 2))).astype(
            np.float32
        )
        coarse = np.pad(coarse, 1, mode="wrap")
        sx, sy = width / (coarse.shape[1] - 2), height / (coarse.shape[0] - 2)
        back = np.array([[1 / sx, 0, 1.0], [0, 1 / sy, 1.0]])
        total += fall**octave * cv2.warpAffine(
            coarse,
            back,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return total / total.std()


class Ground:
    """Textured plane: lanes, kerbs, parking strips, pavements, cast shade.

    Args:
        half_road: half the carriageway without parking strips [m]; kerb: distance of the kerb from the middle [m].
        shade: (side, edge): ground left (+1) or right (-1) of `edge` [m] lies in the shade; side 0 = none.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        half_road: float,
        kerb: float,
        shade: tuple[int, float],
        light: Light,
    ):
        self.half_road = half_road
        texture = self._albedo(rng, half_road, kerb)
        texture *= self._illumination(rng, shade, light)
        texture = np.clip(texture, 0, 255).astype(np.uint8)
        self.levels = [texture]
        for _ in range(6):
            texture = cv2.resize(texture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            self.levels.append(texture)

    @staticmethod
    def _albedo(rng: np.random.Generator, half_road: float, kerb: float) -> np.ndarray:
        rows, cols = int(2 * HALF_M * RES), int(PERIOD_M * RES)
        y = (HALF_M - (np.arange(rows) + 0.5) / RES)[:, None]
        x = ((np.arange(cols) + 0.5) / RES)[None]
        coarse, fine = (
            fractal(rng, rows, cols, 8),
            rng.normal(0, 1, (rows, cols)).astype(np.float32),
        )
        tar = rng.uniform(70, 130)
        value = tar * (1 + 0.05 * coarse + 0.09 * fine)
        strip = (np.abs(y) > half_road) & (np.abs(y) <= kerb)
        joints = (np.minimum(x % 0.24, 0.24 - x % 0.24) < 0.02) | (
            np.minimum(y % 0.16, 0.16 - y % 0.16) < 0.018
        )
        cobbles = (
            tar
            * rng.uniform(0.75, 1.15)
            * (1 + 0.08 * coarse + 0.06 * fine)
            * np.where(joints, 0.78, 1)
        )
        value = np.where(strip & (rng.random() < 0.6), cobbles, value)
        slabs = (np.minimum(x % 0.5, 0.5 - x % 0.5) < 0.015) | (
            np.minimum(y % 0.5, 0.5 - y % 0.5) < 0.015
        )
        walk = rng.uniform(100, 160) * (1 + 0.06 * coarse + 0.05 * fine) * np.where(slabs, 0.8, 1)
        value = np.where(np.abs(y) > kerb, walk, value)
        value = np.where(np.abs(np.abs(y) - kerb) < 0.09, rng.uniform(130, 180) + 8 * fine, value)
        if rng.random() < 0.6:
            dash = (np.abs(y) < 0.07) & ((x % 9.6) < 4.2)
            value = np.where(dash, 215 + 12 * coarse, value)
        if rng.random() < 0.4:
            value = np.where(np.abs(np.abs(y) - half_road) < 0.06, 200 + 15 * coarse, value)
        picture = np.repeat(value[..., None], 3, axis=2) * rng.uniform(0.95, 1.05, 3)
        grass = np.stack([0.55 + 0 * coarse, 1.0 + 0.1 * coarse, 0.85 + 0.1 * coarse], axis=-1) * (
            85 + 14 * fine[..., None]
        )
        if rng.random() < 0.5:
            picture = np.where(
                (np.abs(y) > kerb + rng.uniform(1.6, 3.0))[..., None], grass, picture
            )
        for _ in range(14):  # patches, manholes, cracks
            at_x, at_y = rng.uniform(0, cols), (HALF_M - rng.uniform(-kerb, kerb)) * RES
            tone = float(rng.uniform(0.6, 1.2) * tar)
            if rng.random() < 0.5:
                cv2.ellipse(picture, (int(at_x), int(at_y)), (13, 13), 0, 0, 360, (tone,) * 3, -1)
            else:
                size = rng.uniform(0.3, 2.5, 2) * RES
                cv2.rectangle(
                    picture,
                    (int(at_x), int(at_y)),
                    (int(at_x + size[0]), int(at_y + size[1])),
                    (tone,) * 3,
                    -1,
                )
        for _ in range(10):
            steps = rng.normal(0, 12, (30, 2)).cumsum(axis=0) + [
                rng.uniform(0, cols),
                rng.uniform(0, rows),
            ]
            cv2.polylines(picture, [steps.astype(np.int32)], False, (tar * 0.6,) * 3, 2)
        return picture.astype(np.float32)

    @staticmethod
    def _illumination(
        rng: np.random.Generator, shade: tuple[int, float], light: Light
    ) -> np.ndarray:
        rows, cols = int(2 * HALF_M * RES), int(PERIOD_M * RES)
        y = (HALF_M - (np.arange(rows) + 0.5) / RES)[:, None]
        wave = fractal(rng, 2, cols, 7)[:1]
        side, edge = shade
        dark = (
            (y * side > edge * side + 0.7 * wave).astype(np.float32)
            if side
            else np.zeros((rows, cols), np.float32)
        )
        if rng.random() < 0.6:
            dark = np.maximum(
                dark, (fractal(rng, rows, cols, 7, 0.75) > rng.uniform(0.3, 1.5)).astype(np.float32)
            )
        dark = cv2.GaussianBlur(dark, (0, 0), 4)[..., None]
        return light.sky + light.sun_colour * light.sun[2] * (1 - dark)

    def draw(
        self, image: np.ndarray, camera: Camera, centre_line, junctions: list[tuple[float, float]]
    ) -> None:
        """Fill the image below the horizon.

        Args:
            image: uint8 [H, W, 3], written in place.
            centre_line: function of x [m], NumPy arrays in and out: y of the middle of the road.
            junctions: x ranges [m] where a crossing street has no kerb.
        """
        cx, cy = camera.centre
        horizon = max(math.ceil(cy - camera.focal * math.tan(camera.pitch) + 1.0), 0)
        if horizon >= camera.height:
            return
        rotation = camera.rotation.astype(np.float32)
        right = ((np.arange(camera.width, dtype=np.float32) + 0.5 - cx) / camera.focal)[None]
        down = ((np.arange(horizon, camera.height, dtype=np.float32) + 0.5 - cy) / camera.focal)[
            :, None
        ]
        fall = rotation[1, 2] * down + rotation[2, 2]  # no roll: the right axis is level
        reach = -camera.z / fall
        far = reach > 400
        reach = np.minimum(reach, 400)
        x = camera.x + reach * (right * rotation[0, 0] + down * rotation[1, 0] + rotation[2, 0])
        y = camera.y + reach * (right * rotation[0, 1] + down * rotation[1, 1] + rotation[2, 1])
        y -= centre_line(x)
        for first, last in junctions:
            inside = (x > first) & (x < last) & (np.abs(y) > self.half_road - 0.4)
            y[inside] = 0.5 + np.abs(y[inside] % 2.0 - 1.0)
        self._sample(image, camera, horizon, x, y, reach)
        del far

    def _sample(
        self,
        image: np.ndarray,
        camera: Camera,
        horizon: int,
        x: np.ndarray,
        y: np.ndarray,
        reach: np.ndarray,
    ) -> None:
        """Look the texture up, row band by row band, in the level that matches the distance."""
        metres = reach[:, 0] / camera.focal  # one pixel sideways
        level = np.clip(
            np.floor(np.log2(np.maximum(metres * RES * 1.6, 1))), 0, len(self.levels) - 1
        ).astype(int)
        x, y = np.mod(x, PERIOD_M), np.clip(HALF_M - y, 0, 2 * HALF_M - 0.1)
        for number in np.unique(level):
            rows = np.flatnonzero(level == number)
            band = slice(rows[0], rows[-1] + 1)
            res = np.float32(RES / 2**number)
            cv2.remap(
                self.levels[number],
                x[band] * res - 0.5,
                y[band] * res - 0.5,
                cv2.INTER_LINEAR,
                dst=image[horizon + band.start : horizon + band.stop],
                borderMode=cv2.BORDER_WRAP,
            )


def sky_panorama(rng: np.random.Generator, light: Light, camera: Camera) -> np.ndarray:
    """Far surroundings over all directions: clouds, hills, tree line; uint8 [2 * H, W_pan, 3], horizon at mid-height."""
    width, height = int(camera.focal * 2 * math.pi / 2), camera.height * 2
    rows = np.linspace(1, -1, height)[:, None]
    cloud = fractal(rng, height, width, 8, 0.62)
    cover = np.clip(0.5 + 0.6 * cloud + rng.uniform(-0.6, 0.8), 0, 1)[..., None]
    blue = np.array(
        rng.choice([[235, 200, 150], [240, 215, 185], [225, 222, 220]]), dtype=np.float32
    )
    picture = blue * (1 - 0.25 * rows[..., None]) * (1 - cover) + np.array([245, 243, 240]) * cover
    ridge = fractal(rng, 2, width, 7, 0.55)[0]
    line = height / 2 - (rng.uniform(0.02, 0.07) * height + ridge * 0.012 * height)
    below = np.arange(height)[:, None] > line[None]
    wood = np.array([60, 80, 66]) * (1 + 0.25 * fractal(rng, height, width, 5, 0.8)[..., None])
    wood = wood * 0.6 * light.sky + 0.4 * light.haze * 255
    return np.clip(np.where(below[..., None], wood, picture), 0, 255).astype(np.uint8)


def draw_sky(image: np.ndarray, camera: Camera, panorama: np.ndarray) -> None:
    """Fill the whole image with the panorama, turned by yaw and pitch."""
    cx, cy = camera.centre
    x0 = -camera.yaw * camera.focal - cx
    y0 = panorama.shape[0] / 2 - (cy - camera.focal * math.tan(camera.pitch))
    back = np.array([[1.0, 0, x0], [0, 1.0, y0]])
    cv2.warpAffine(
        panorama,
        back,
        (camera.width, camera.height),
        dst=image,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )


def facade_texture(
    rng: np.random.Generator, width_m: float, height_m: float, kind: str, res: int = 24
) -> np.ndarray:
    """House front, garden wall, hedge or fence; uint8 [height_m * res, width_m * res, 3]."""
    rows, cols = max(int(height_m * res), 8), max(int(width_m * res), 8)
    rough = fractal(rng, rows, cols, 5, 0.75)[..., None]
    base = np.array(
        rng.choice(
            [
                [150, 165, 175],
                [175, 185, 190],
                [120, 150, 170],
                [110, 125, 165],
                [140, 140, 140],
                [95, 105, 115],
                [200, 205, 205],
            ]
        ),
        dtype=np.float32,
    )
    if kind == "hedge":
        return np.clip(np.array([45, 82, 66]) * (1 + 0.45 * rough), 0, 255).astype(np.uint8)
    picture = np.ascontiguousarray(base * rng.uniform(0.6, 1.05) * (1 + 0.07 * rough))
    if kind == "wall":
        step = max(int(rng.uniform(0.25, 2.5) * res), 3)
        picture[:, ::step] *= 0.8
        picture[:: max(step // 2, 3)] *= 0.9
        return np.clip(picture, 0, 255).astype(np.uint8)
    floor, bay = rng.uniform(2.8, 3.6) * res, rng.uniform(1.8, 3.4) * res
    wide, tall = bay * rng.uniform(0.35, 0.6), floor * rng.uniform(0.45, 0.65)
    frame = base * rng.uniform(0.8, 1.3)
    for level in range(max(int(rows / floor), 1)):
        bottom = rows - level * floor - 0.25 * floor
        picture[int(np.clip(bottom + 0.25 * floor, 0, rows - 1)) :][:2] *= 0.7
        for i in range(int(cols / bay)):
            left = (i + 0.5) * bay - wide / 2
            corner, far = (
                (int(left), int(bottom - tall)),
                (int(left + wide), int(bottom if level else rows - 0.1 * res)),
            )
            if level == 0 and rng.random() < 0.4:
                corner = (int(left - 0.2 * wide), corner[1])
            cv2.rectangle(
                picture,
                (corner[0] - 3, corner[1] - 3),
                (far[0] + 3, far[1] + 3),
                frame.tolist(),
                -1,
            )
            glass = np.array([70, 62, 55]) * rng.uniform(0.5, 1.8)
            cv2.rectangle(picture, corner, far, glass.tolist(), -1)
            cv2.line(
                picture,
                ((corner[0] + far[0]) // 2, corner[1]),
                ((corner[0] + far[0]) // 2, far[1]),
                frame.tolist(),
                2,
            )
            if rng.random() < 0.25:
                blind = (far[0], int(corner[1] + (far[1] - corner[1]) * rng.uniform(0.2, 0.9)))
                cv2.rectangle(picture, corner, blind, (frame * 0.8).tolist(), -1)
    picture[: max(res // 3, 2)] *= 0.6
    return np.clip(picture, 0, 255).astype(np.uint8)


def draw_facade(
    image: np.ndarray, owner: np.ndarray, camera: Camera, levels: list[np.ndarray], quad: np.ndarray
) -> None:
    """Warp a front onto the image; what lies behind it is covered.

    Args:
        image: uint8 [H, W, 3]; owner: int16 [H, W], set to -1 where the front is.
        levels: the texture and its halvings; quad: corners [4, 3] in the world, from bottom left to top left.
    """
    points = camera.to_camera(quad)
    clipped = clip_near(points, NEAR_M)
    if len(clipped) < 3:
        return
    outline = camera.project(clipped)
    x0, y0 = np.maximum(np.floor(outline.min(axis=0)), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(outline.max(axis=0)), (camera.width, camera.height)).astype(int)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return
    pixel_m = max(points[:, 2].mean(), 3.0) / camera.focal
    metres = np.linalg.norm(quad[1] - quad[0])
    wanted = math.log2(max(levels[0].shape[1] / metres * pixel_m, 1))
    texture = levels[min(int(wanted + 0.5), len(levels) - 1)]
    # Plane coordinates (a, b) in [0, 1] to camera axes, then to pixels: right also where corners are behind the eye.
    span = np.stack([points[1] - points[0], points[3] - points[0], points[0]], axis=1)
    cx, cy = camera.centre
    lens = np.array([[camera.focal, 0, cx - x0], [0, camera.focal, cy - y0], [0, 0, 1]])
    size = np.array([[1 / texture.shape[1], 0, 0], [0, -1 / texture.shape[0], 1], [0, 0, 1]])
    shape = (int(x1 - x0), int(y1 - y0))
    view = cv2.warpPerspective(
        texture, lens @ span @ size, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros((shape[1], shape[0]), np.uint8)
    cv2.fillPoly(
        mask, [np.rint((outline - (x0, y0) - 0.5) * 16).astype(np.int32)], 1, cv2.LINE_8, 4
    )
    region = (slice(y0, y1), slice(x0, x1))
    cv2.copyTo(view, mask, image[region])
    owner[region][mask > 0] = -1
