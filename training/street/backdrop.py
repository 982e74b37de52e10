"""Sky, far surroundings, house fronts of the street scenes."""

from __future__ import annotations

import math

import cv2
import numpy as np

from training.street.render import NEAR_M, Camera, Light, clip_near, fractal

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
    """Warp a front onto the image; what lies behind it is covered.

    Args:
        image: uint8 [H, W, 3], written in place.
        owner: int16 [H, W], set to -1 where the front is.
        camera: pose of the frame.
        levels: the texture and its halvings.
        quad: corners [4, 3] in the world, from the foot of one end round to its top.
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
