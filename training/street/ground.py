"""Ground plane of the street scenes: lanes, kerbs, pavements, shade, soft shadows."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from training.street.render import NEAR_M, Camera, Light, clip_near, fractal, halvings


def draw_shadows(image: np.ndarray, camera: Camera, shadows: list[tuple[np.ndarray, int]]) -> None:
    """Darken an image of the bare ground in place.

    Args:
        image: uint8 [H, W, 3].
        camera: pose of the frame.
        shadows: points [N, 2] on the ground [m] whose hull lies in shadow; its darkness 0..255.
    """
    rows, cols = (camera.height + 1) // 2, (camera.width + 1) // 2
    # Lighter ones first: darker ones then simply cover them.
    dark = np.zeros((rows, cols), np.uint8)
    for points, strength in sorted(shadows, key=lambda entry: entry[1]):
        hull = cv2.convexHull(points.astype(np.float32))[:, 0]
        ground = camera.to_camera(np.concatenate([hull, np.zeros((len(hull), 1))], axis=1))
        ground = clip_near(ground, NEAR_M)
        if len(ground) > 2:
            polygon = np.rint(camera.project(ground) / 2 * 16).astype(np.int32)
            cv2.fillPoly(dark, [polygon], strength, cv2.LINE_8, 4)
    dark = cv2.GaussianBlur(dark, (0, 0), 1.5)
    keep = cv2.resize(255 - dark, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
    top = max(int(camera.centre[1]) - 8, 0)
    keep = cv2.cvtColor(keep[top:], cv2.COLOR_GRAY2BGR)
    cv2.multiply(image[top:], keep, dst=image[top:], scale=1 / 255)


RES = 40  # [px/m]
PERIOD_M = 38.4  # the texture repeats along the road
HALF_M = 16.0  # and ends at this distance from its middle


def _joints(x: np.ndarray, y: np.ndarray, length: float, width: float) -> np.ndarray:
    """Return where the joints of a paving with stones of length x width [m] are."""
    gap = 0.018
    return (np.abs(x % length - length / 2) > length / 2 - gap) | (
        np.abs(y % width - width / 2) > width / 2 - gap
    )


def _wear(rng: np.random.Generator, picture: np.ndarray, kerb: float, tar: float) -> None:
    """Add patches, manholes, cracks in place."""
    rows, cols = picture.shape[:2]
    for _ in range(14):
        x, y = int(rng.uniform(0, cols)), int((HALF_M - rng.uniform(-kerb, kerb)) * RES)
        tone = (float(rng.uniform(0.6, 1.2) * tar),) * 3
        if rng.random() < 0.5:
            cv2.ellipse(picture, (x, y), (13, 13), 0, 0, 360, tone, -1)
        else:
            wide, high = (rng.uniform(0.3, 2.5, 2) * RES).astype(int).tolist()
            cv2.rectangle(picture, (x, y), (x + wide, y + high), tone, -1)
    for _ in range(10):
        steps = rng.normal(0, 12, (30, 2)).cumsum(axis=0)
        steps += [rng.uniform(0, cols), rng.uniform(0, rows)]
        cv2.polylines(picture, [steps.astype(np.int32)], False, (tar * 0.6,) * 3, 2)


class Ground:
    """Textured plane: lanes, kerbs, parking strips, pavements, cast shade.

    Args:
        rng: draws the look.
        half_road: half the carriageway without parking strips [m].
        kerb: distance of the kerb from the middle [m].
        shade: (side, edge): left (+1) or right (-1) of `edge` [m] lies in the shade; 0 = none.
        light: of the scene.
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
        texture = self._albedo(rng, kerb)
        texture *= self._illumination(rng, shade, light)
        texture = np.clip(texture, 0, 255).astype(np.uint8)
        self.levels = halvings(texture, 6)

    def _albedo(self, rng: np.random.Generator, kerb: float) -> np.ndarray:
        rows, cols = int(2 * HALF_M * RES), int(PERIOD_M * RES)
        y = (HALF_M - (np.arange(rows, dtype=np.float32) + 0.5) / RES)[:, None]
        x = ((np.arange(cols, dtype=np.float32) + 0.5) / RES)[None]
        coarse = fractal(rng, rows, cols, 8)
        fine = rng.normal(0, 1, (rows, cols)).astype(np.float32)
        tar, side = rng.uniform(70, 130), np.abs(y)
        value = tar * (1 + 0.05 * coarse + 0.09 * fine)
        stones = tar * rng.uniform(0.75, 1.15) * (1 + 0.08 * coarse + 0.06 * fine)
        stones = stones * np.where(_joints(x, y, 0.24, 0.16), 0.78, 1)
        if rng.random() < 0.6:
            value = np.where((side > self.half_road) & (side <= kerb), stones, value)
        walk = rng.uniform(100, 160) * (1 + 0.06 * coarse + 0.05 * fine)
        value = np.where(side > kerb, walk * np.where(_joints(x, y, 0.5, 0.5), 0.8, 1), value)
        value = np.where(np.abs(side - kerb) < 0.09, rng.uniform(130, 180) + 8 * fine, value)
        if rng.random() < 0.6:
            value = np.where((side < 0.07) & ((x % 9.6) < 4.2), 215 + 12 * coarse, value)
        if rng.random() < 0.4:
            line = np.abs(side - self.half_road) < 0.06
            value = np.where(line, 200 + 15 * coarse, value)
        picture = value[..., None] * rng.uniform(0.95, 1.05, 3)
        if rng.random() < 0.5:
            grass = np.array([0.55, 1.0, 0.85]) * (85 + 8 * coarse + 14 * fine)[..., None]
            verge = np.broadcast_to(side > kerb + rng.uniform(1.6, 3.0), (rows, cols))
            picture[verge] = grass[verge]
        picture = np.ascontiguousarray(picture, dtype=np.float32)
        _wear(rng, picture, kerb, tar)
        return picture

    @staticmethod
    def _illumination(
        rng: np.random.Generator, shade: tuple[int, float], light: Light
    ) -> np.ndarray:
        rows, cols = int(2 * HALF_M * RES), int(PERIOD_M * RES)
        y = (HALF_M - (np.arange(rows) + 0.5) / RES)[:, None]
        wave = fractal(rng, 2, cols, 7)[:1]
        side, edge = shade
        dark = np.zeros((rows, cols), np.float32)
        if side:
            dark = (y * side > edge * side + 0.7 * wave).astype(np.float32)
        if rng.random() < 0.6:
            leaves = fractal(rng, rows, cols, 7, 0.75) > rng.uniform(0.3, 1.5)
            dark = np.maximum(dark, leaves.astype(np.float32))
        dark = cv2.GaussianBlur(dark, (0, 0), 4)[..., None]
        return light.sky + light.sun_colour * light.sun[2] * (1 - dark)

    def draw(
        self,
        image: np.ndarray,
        camera: Camera,
        centre_line: Callable[[np.ndarray], np.ndarray],
        junctions: list[tuple[float, float]],
    ) -> None:
        """Fill the image below the horizon.

        Args:
            image: uint8 [H, W, 3], written in place.
            camera: pose of the frame.
            centre_line: y of the middle of the road as a function of x [m].
            junctions: x ranges [m] where a crossing street has no kerb.
        """
        cx, cy = camera.centre
        horizon = max(math.ceil(cy - camera.focal * math.tan(camera.pitch) + 1.0), 0)
        if horizon >= camera.height:
            return
        rotation = camera.rotation.astype(np.float32)
        right = ((np.arange(camera.width, dtype=np.float32) + 0.5 - cx) / camera.focal)[None]
        rows = np.arange(horizon, camera.height, dtype=np.float32)[:, None]
        down = (rows + 0.5 - cy) / camera.focal
        fall = rotation[1, 2] * down + rotation[2, 2]  # no roll: the right axis is level
        reach = -camera.z / fall
        reach = np.minimum(reach, 400)
        x = camera.x + reach * (right * rotation[0, 0] + down * rotation[1, 0] + rotation[2, 0])
        y = camera.y + reach * (right * rotation[0, 1] + down * rotation[1, 1] + rotation[2, 1])
        y -= centre_line(x)
        for first, last in junctions:
            inside = (x > first) & (x < last) & (np.abs(y) > self.half_road - 0.4)
            y[inside] = 0.5 + np.abs(y[inside] % 2.0 - 1.0)
        self._sample(image, camera, horizon, x, y, reach)

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
