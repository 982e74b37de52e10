"""Matrices of the renderer: x forward, y left, z up, metres; matrices act on column vectors."""

import numpy as np
from scipy.spatial.transform import Rotation


def place(position: np.ndarray, turn: np.ndarray | None = None) -> np.ndarray:
    """Return the float32 [4, 4] pose of something at `position` [3], turned by `turn` [3, 3]."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = np.eye(3) if turn is None else turn
    matrix[:3, 3] = position
    return matrix


def turn_z(yaw: float) -> np.ndarray:
    """Return the [3, 3] rotation by `yaw` [rad] about the z axis."""
    return Rotation.from_euler("z", yaw).as_matrix()


def random_turn(rng: np.random.Generator) -> np.ndarray:
    """Return a uniformly drawn rotation [3, 3]."""
    return Rotation.from_quat(rng.normal(size=4)).as_matrix()


def perspective(focal: float, size: tuple[int, int], near: float, far: float) -> np.ndarray:
    """Return the projection of a pinhole camera that draws from `near` to `far` [m].

    `focal` is its focal length [px], `size` columns and rows of the image.
    """
    matrix = np.zeros((4, 4), np.float32)
    matrix[0, 0], matrix[1, 1] = 2 * focal / size[0], 2 * focal / size[1]
    matrix[2, 2], matrix[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
    matrix[3, 2] = -1
    return matrix


def look(eye: np.ndarray, target: np.ndarray, up: tuple = (0.0, 0.0, 1.0)) -> np.ndarray:
    """Return the pose that brings the world into a camera at `eye` that looks at `target`.

    The camera looks along its -z axis, x is right, y is up.
    """
    eye = np.asarray(eye, float)
    forward = np.asarray(target, float) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    axes = np.array([right, np.cross(right, forward), -forward])
    return place(-axes @ eye, axes)


def shadow_view(sun: np.ndarray, centre: np.ndarray, half_width: float, depth: float) -> np.ndarray:
    """Return the parallel projection along the sun (a unit vector to it) of a box around `centre`.

    `half_width` is half its side across the light, `depth` half its side along it [m].
    """
    scale = np.diag([1 / half_width, 1 / half_width, -1 / depth, 1]).astype(np.float32)
    return scale @ look(np.asarray(centre) + sun, centre, (0.0, 1.0, 0.0))


def in_view(
    pose: np.ndarray, slope: tuple[float, float], centre: np.ndarray, radius: float
) -> bool:
    """Return whether a sphere [m] reaches into the image; may be wrong for spheres near a corner.

    `pose` is that of the camera, as `look` returns it, `slope` half the picture's sides over the
    focal length.
    """
    x, y, z = pose[:3, :3] @ centre + pose[:3, 3]
    return bool(
        -z > -radius
        and abs(x) + z * slope[0] < radius * np.hypot(1, slope[0])
        and abs(y) + z * slope[1] < radius * np.hypot(1, slope[1])
    )
