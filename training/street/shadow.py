"""Soft shadows on the ground of a street scene."""

from __future__ import annotations

import cv2
import numpy as np

from training.street.camera import NEAR_M, Camera, clip_near


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
