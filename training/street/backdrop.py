"""Look of a street scene: light, camera, ground, sky, far surroundings and house fronts."""

import math
from collections.abc import Callable

import cv2
import numpy as np

from training.street.builder import Street
from training.street.config import StreetConfig
from training.street.render import NEAR_M, TILE, Camera, Light, clip_near, fractal, halvings


def draw_shadows(image: np.ndarray, camera: Camera, shadows: list[tuple[np.ndarray, int]]) -> None:
    """Darken an image of the bare ground, uint8 [H, W, 3], in place.

    Shadows are points [N, 2] on the ground [m] whose hull lies in shadow, and its darkness 0..255.
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

    `half_road` is half the carriageway without parking strips, `kerb` the distance of the kerb from
    the middle [m]. `shade` is (side, edge): left (+1) or right (-1) of `edge` [m] lies in the
    shade; 0 = none.
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
        """Fill an image, uint8 [H, W, 3], below the horizon in place.

        `centre_line` gives y of the middle of the road as a function of x [m]; in the x ranges
        `junctions` [m] a crossing street has no kerb.
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


FRONT_RES = 24  # texture of a front [px/m]
PLASTERS = [(150, 165, 175), (175, 185, 190), (120, 150, 170), (110, 125, 165), (140, 140, 140),
            (95, 105, 115), (200, 205, 205)]  # fmt: skip


def sky_panorama(rng: np.random.Generator, light: Light, camera: Camera) -> np.ndarray:
    """Clouds, hills, tree line over half a turn; uint8 [2 * H, W_pan, 3], horizon at mid-height."""
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
    """Fill the image down to just below the horizon with the panorama, turned by yaw and pitch."""
    cx, cy = camera.centre
    horizon = cy - camera.focal * math.tan(camera.pitch)
    rows = min(max(int(horizon) + 4, 1), camera.height)
    back = np.array(
        [[1.0, 0, -camera.yaw * camera.focal - cx], [0, 1.0, panorama.shape[0] / 2 - horizon]]
    )
    cv2.warpAffine(
        panorama,
        back,
        (camera.width, rows),
        dst=image[:rows],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )


def facade_texture(
    rng: np.random.Generator, width_m: float, height_m: float, kind: str
) -> np.ndarray:
    """Return a house front, garden wall or hedge; float32 [rows, cols, 3] BGR 0..255."""
    rows, cols = max(int(height_m * FRONT_RES), 8), max(int(width_m * FRONT_RES), 8)
    rough = fractal(rng, rows, cols, 5, 0.75)[..., None]
    if kind == "hedge":
        return (np.array([45, 82, 66]) * (1 + 0.45 * rough)).astype(np.float32)
    base = np.array(PLASTERS[rng.integers(len(PLASTERS))], dtype=np.float32)
    picture = base * np.float32(rng.uniform(0.6, 1.05)) * (1 + 0.07 * rough)
    if kind == "wall":
        step = max(int(rng.uniform(0.25, 2.5) * FRONT_RES), 3)
        picture[:, ::step] *= 0.8
        picture[:: max(step // 2, 3)] *= 0.9
        return picture
    floor, bay = rng.uniform(2.8, 3.6) * FRONT_RES, rng.uniform(1.8, 3.4) * FRONT_RES
    window = (bay * rng.uniform(0.35, 0.6), floor * rng.uniform(0.45, 0.65))
    frame = base * rng.uniform(0.8, 1.3)
    for level in range(max(int(rows / floor), 1)):
        foot = rows - level * floor
        picture[int(np.clip(foot, 0, rows - 1)) :][:2] *= 0.7
        for i in range(int(cols / bay)):
            _window(rng, picture, ((i + 0.5) * bay, foot - 0.25 * floor), window, frame, level == 0)
    picture[: FRONT_RES // 3] *= 0.6
    return picture


def _window(
    rng: np.random.Generator,
    picture: np.ndarray,
    foot: tuple[float, float],
    size: tuple[float, float],
    frame: np.ndarray,
    ground_floor: bool,
) -> None:
    """Paint a window (or a door or shop window on the ground floor) above the point `foot` [px]."""
    left, right = int(foot[0] - size[0] / 2), int(foot[0] + size[0] / 2)
    top, bottom = int(foot[1] - size[1]), int(foot[1])
    if ground_floor:
        bottom = picture.shape[0] - 3
        if rng.random() < 0.4:
            left -= int(0.2 * size[0])
    edge = frame.tolist()
    cv2.rectangle(picture, (left - 3, top - 3), (right + 3, bottom + 3), edge, -1)
    glass = np.array([70, 62, 55]) * rng.uniform(0.5, 1.8)
    cv2.rectangle(picture, (left, top), (right, bottom), glass.tolist(), -1)
    cv2.line(picture, ((left + right) // 2, top), ((left + right) // 2, bottom), edge, 2)
    if rng.random() < 0.25:
        blind = int(top + (bottom - top) * rng.uniform(0.2, 0.9))
        cv2.rectangle(picture, (left, top), (right, blind), (frame * 0.8).tolist(), -1)


def draw_facade(
    image: np.ndarray, owner: np.ndarray, camera: Camera, levels: list[np.ndarray], quad: np.ndarray
) -> None:
    """Warp a front onto the image, uint8 [H, W, 3], in place; what lies behind it is covered.

    `owner` int16 [H, W] is set to -1 where the front is. `levels` are the texture and its halvings,
    `quad` its corners [4, 3] in the world, from the foot of one end round to its top.
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
    # Plane coordinates in [0, 1] to camera axes to pixels: right also for corners behind the eye.
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


BANK = 3  # noise fields; shifted by random amounts they do not repeat


class Photo:
    """Develops the frames of one clip; the look drifts slowly from frame to frame."""

    def __init__(self, config: StreetConfig):
        self.rng = rng = np.random.default_rng([config.seed, 75])
        self.strength = strength = config.image_noise
        self.target = float(rng.uniform(80, 125))  # brightness the exposure control aims at
        self.gain = 0.0
        self.gamma = float(rng.uniform(0.75, 1.2)) if strength else 1.0
        self.contrast = float(rng.uniform(0.85, 1.35)) if strength else 1.0
        self.balance = 1 + rng.normal(0, 0.03, 3) * strength
        self.blur = float(rng.uniform(0.35, 0.75)) * strength
        self.drift = 0.0
        spread = float(rng.uniform(1.0, 4.0)) * strength
        size = config.height + 64, config.width + 64
        self.fields = []
        for _ in range(BANK if spread > 0 else 0):
            field = rng.normal(0, spread, (*size, 3))
            field += rng.normal(0, spread * 0.5, (*size, 1))
            self.fields.append(np.clip(field + 128, 0, 255).astype(np.uint8))

    def develop(self, image: np.ndarray) -> np.ndarray:
        """Return the picture as the camera delivers it; uint8 BGR [H, W, 3] in and out."""
        rng = self.rng
        if not self.strength:
            return image
        wanted = float(np.clip(self.target / max(image[::8, ::8].mean(), 1), 0.6, 2.5))
        self.gain = wanted if not self.gain else 0.95 * self.gain + 0.05 * wanted
        self.drift = 0.9 * self.drift + float(rng.normal(0, 0.012)) * self.strength
        value = np.arange(256) / 255
        exposed = value * self.gain * (1 + self.drift)
        exposed = np.maximum(0.4 + (exposed - 0.4) * self.contrast, exposed * 0.25)
        tables = [exposed * b for b in self.balance]
        table = np.stack([255 * _shoulder(t) ** self.gamma for t in tables], axis=-1)
        image = cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8)[None])
        if self.blur > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.fields:
            field = self.fields[rng.integers(len(self.fields))]
            y, x = rng.integers(0, 64, 2)
            grain = field[y : y + image.shape[0], x : x + image.shape[1]]
            image = cv2.addWeighted(image, 1.0, grain, 1.0, -128)
        return image


def _shoulder(value: np.ndarray) -> np.ndarray:
    """Return the tone curve that rolls off the highlights."""
    return np.clip(
        np.where(value < 0.75, value, 0.75 + 0.25 * (1 - np.exp(-(value - 0.75) / 0.25))), 0, 1
    )


FRONT_KINDS = ["house"] * 7 + ["wall"] * 3 + ["hedge"] * 2
FRONT_HEIGHT_M = {"house": 11.0, "wall": 2.2, "hedge": 2.0}
# Surface textures: strength, octaves, fall-off, size of one tile [m].
SURFACES = {
    "smooth": (0.05, 5, 0.7, 2.6),
    "cloth": (0.10, 6, 0.8, 0.9),
    "leaf": (0.30, 7, 0.95, 1.6),
    "rough": (0.12, 6, 0.8, 1.2),
}


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


class Look:
    """Textures of a scene, drawn once.

    Attributes:
        ground: textured plane; panorama: far surroundings.
        fronts: textures of the house fronts with their halvings, in the order of FRONT_KINDS.
        tiles: surface textures by name, uint8 [TILE, TILE], 128 = unchanged, with halvings.
    """

    def __init__(self, rng: np.random.Generator, street: Street, light: Light, camera: Camera):
        self.ground = Ground(rng, street.half_road, street.kerb, street.shade, light)
        self.panorama = sky_panorama(rng, light, camera)
        self.fronts = [_front(rng, kind, light) for kind in FRONT_KINDS]
        self.tiles = {name: _tile(rng, *shape[:3]) for name, shape in SURFACES.items()}


def _front(rng: np.random.Generator, kind: str, light: Light) -> list[np.ndarray]:
    texture = facade_texture(rng, 14.0, FRONT_HEIGHT_M[kind], kind)
    texture = texture * (light.sky * 0.75 + light.sun_colour * rng.uniform(0.05, 0.55))
    return halvings(np.clip(texture, 0, 255).astype(np.uint8), 4)


def _tile(rng: np.random.Generator, strength: float, octaves: int, fall: float) -> list[np.ndarray]:
    grain = 128 * (1 + strength * fractal(rng, TILE, TILE, octaves, fall))
    return halvings(np.clip(grain, 0, 255).astype(np.uint8), 3)
