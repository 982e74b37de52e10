"""The convex hull of the visible mask."""

from __future__ import annotations

import cv2
import numpy as np

from savos_model.masks import BoxedMask, tighten
from savos_model.types import Box


def convex_hull(visible: tuple[Box, np.ndarray]) -> BoxedMask:
    """Complete a visible mask to its convex hull.

    Args:
        visible: box with its mask [box.height, box.width].

    Returns:
        bool mask in the visible mask's tight box, hence inside the image; EMPTY for an empty mask.
    """
    box, mask = tighten(visible)
    hull = np.zeros(mask.shape, np.uint8)
    if mask.size:
        points = cv2.findNonZero(mask.astype(np.uint8))
        cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return BoxedMask(box, hull.astype(bool))
