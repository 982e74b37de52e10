"""Pinhole camera of the street scenes, KITTI-like by default."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# KITTI colour camera 2 (rectified), relative to its 1242 x 375 image.
KITTI_WIDTH, KITTI_HEIGHT = 1242, 375
KITTI_FOCAL, KITTI_CX, KITTI_CY = 721.5, 609.6, 172.9
CAMERA_HEIGHT_M = 1.65
NEAR_M = 0.25


@dataclass(frozen=True)
class Camera:
    """Camera pose over the ground (x forward, y left, z up [m]; [rad], pitch > 0 looks down)."""

    width: int = KITTI_WIDTH
    height: int = KITTI_HEIGHT
    x: float = 0.0
    y: float = 0.0
    z: float = CAMERA_HEIGHT_M
    yaw: float = 0.0
    pitch: float = 0.0

    @property
    def focal(self) -> float:
        """Return focal length [px]; the field of view across the image is KITTI's at any size."""
        return KITTI_FOCAL * self.width / KITTI_WIDTH

    @property
    def centre(self) -> tuple[float, float]:
        """Return the principal point (x, y) [px]."""
        return KITTI_CX * self.width / KITTI_WIDTH, KITTI_CY * self.height / KITTI_HEIGHT

    @property
    def position(self) -> np.ndarray:
        """Return the camera centre, float64 [3] in the world [m]."""
        return np.array([self.x, self.y, self.z])

    @property
    def rotation(self) -> np.ndarray:
        """World to camera, float64 [3, 3]: rows are the camera's right, down, forward axes."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        cp, sp = math.cos(self.pitch), math.sin(self.pitch)
        return np.array([[s, -c, 0.0], [-c * sp, -s * sp, -cp], [c * cp, s * cp, -sp]])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Map world points [N, 3] to camera axes (right, down, forward) [m]."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project camera points [..., 3], forward > 0, to [..., 2]; pixel i covers [i, i + 1)."""
        return points[..., :2] * (self.focal / points[..., 2:3]) + self.centre


def pose_matrix(heading: float) -> np.ndarray:
    """Return the object to world rotation, float64 [3, 3], for a heading [rad] from x towards y."""
    c, s = math.cos(heading), math.sin(heading)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def clip_near(polygon: np.ndarray, near: float = NEAR_M) -> np.ndarray:
    """Cut a camera-space polygon [N, 3] at forward = near; [M, 3], M = 0 when all is behind."""
    if (polygon[:, 2] >= near).all():
        return polygon
    kept = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            kept.append(a + (b - a) * ((near - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)
