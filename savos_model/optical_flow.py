"""Optical flow in the regions of the live tracks; the provider can be swapped."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import cv2
import numpy as np

from savos_model.geometry import intersect, window
from savos_model.types import Box

PAD_PX = 24  # context around a region that DIS needs; savos_facts section 3
MIN_SIDE_PX = 48  # DIS needs room for its pyramid
# DIS works at 1/4 of the resolution by default and then pulls thin objects towards their
# background: an object 30 px wide moving 6 px came out at 4.5 px, at half resolution at 5.9 px.
FINE_REGION_PX = 160 * 160
FULL_FRAME_SHARE = (
    0.6  # from this share of the image on, one full-frame call costs less than regions
)
PRESETS = {
    "dis_fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "dis_medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class FlowRegion(NamedTuple):
    """Flow at the earlier frame's pixels: float32 [box.height, box.width, 2] (x, y) [px]."""

    box: Box
    flow: np.ndarray


class FlowProvider(Protocol):
    """Gives the motion of the pixels of some boxes from the earlier to the later frame."""

    def regions(
        self,
        earlier: np.ndarray,
        later: np.ndarray,
        boxes: list[Box],
        shifts: list[tuple[float, float]],
    ) -> list[FlowRegion]:
        """Flow for each box; a region covers at least the part of its box inside the image.

        Args:
            earlier: grey uint8 [H, W].
            later: grey uint8 [H, W].
            boxes: integer boxes, may leave the image.
            shifts: expected motion (x, y) of each box [px].
        """
        ...


class DisFlow:
    """OpenCV's DIS, per region with the later window moved as expected, or once for the frame."""

    def __init__(self, method: str = "dis_fast") -> None:
        self.dis = cv2.DISOpticalFlow_create(PRESETS[method])

    def regions(
        self,
        earlier: np.ndarray,
        later: np.ndarray,
        boxes: list[Box],
        shifts: list[tuple[float, float]],
    ) -> list[FlowRegion]:
        """As FlowProvider.regions."""
        rows, cols = earlier.shape
        padded = [padded_box(box, rows, cols) for box in boxes]
        area = sum(box.width * box.height for box in padded)
        if area > FULL_FRAME_SHARE * rows * cols and min(rows, cols) >= MIN_SIDE_PX:
            whole = self.calc(earlier, later)
            return [FlowRegion(box, window(whole, box)) for box in padded]
        return [self.region(earlier, later, box, s) for box, s in zip(padded, shifts, strict=True)]

    def region(
        self, earlier: np.ndarray, later: np.ndarray, box: Box, shift: tuple[float, float]
    ) -> FlowRegion:
        """Flow of one box inside the image."""
        rows, cols = earlier.shape
        if box.width < MIN_SIDE_PX or box.height < MIN_SIDE_PX:  # image smaller than DIS can take
            return FlowRegion(box, np.zeros((int(box.height), int(box.width), 2), np.float32))
        dx = int(np.clip(round(shift[0]), -box.x0, cols - box.x1))
        dy = int(np.clip(round(shift[1]), -box.y0, rows - box.y1))
        moved = Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)
        a = np.ascontiguousarray(window(earlier, box))
        b = np.ascontiguousarray(window(later, moved))
        return FlowRegion(box, self.calc(a, b) + np.array((dx, dy), np.float32))

    def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """DIS at half resolution for small images, at a quarter for large ones."""
        self.dis.setFinestScale(1 if a.size <= FINE_REGION_PX else 2)
        return self.dis.calc(a, b, None)


class TopicFlow:
    """Flow that came with the frame from an outside estimator."""

    def __init__(self) -> None:
        self.flow: np.ndarray | None = None

    def regions(
        self,
        earlier: np.ndarray,
        later: np.ndarray,
        boxes: list[Box],
        shifts: list[tuple[float, float]],
    ) -> list[FlowRegion]:
        """Regions of `self.flow`, float32 [H, W, 2]; without it, the expected motion stands in."""
        rows, cols = earlier.shape
        regions = []
        for box, shift in zip(boxes, shifts, strict=True):
            box = padded_box(box, rows, cols)
            if self.flow is None:
                held = np.empty((int(box.height), int(box.width), 2), np.float32)
                held[:] = shift
                regions.append(FlowRegion(box, held))
            else:
                regions.append(FlowRegion(box, window(self.flow, box)))
        return regions


def padded_box(box: Box, rows: int, cols: int) -> Box:
    """A box with PAD_PX around it, at least MIN_SIDE_PX a side, moved and cut to fit the image."""
    x0, x1 = padded_range(box.x0, box.x1, cols)
    y0, y1 = padded_range(box.y0, box.y1, rows)
    inside = intersect(Box(x0, y0, x1, y1), Box(0, 0, cols, rows))
    assert inside is not None  # padded_range never returns an empty range
    return inside


def padded_range(low: float, high: float, size: int) -> tuple[int, int]:
    """One axis of `padded_box`."""
    low, high = int(low) - PAD_PX, int(high) + PAD_PX
    low, high = max(low, 0), min(high, size)
    if high - low < MIN_SIDE_PX:
        low = max(0, min(low, size - MIN_SIDE_PX))
        high = min(size, low + MIN_SIDE_PX)
    return low, high


def visible_motion(flow: np.ndarray, mask: np.ndarray) -> tuple[float, float] | None:
    """Median flow (x, y) [px] over a visible mask, None when it is empty.

    The median replaces the mean of eq. 12: at the mask's edge flow belongs to the occluder
    (savos_facts section 3: error 1.2 to 7 times smaller).

    Args:
        flow: float32 [h, w, 2] [px].
        mask: uint8 [h, w], non-zero on the object.
    """
    values = flow[mask != 0]
    if len(values) == 0:
        return None
    if len(values) > 4096:  # a median of some thousands is exact enough
        values = values[:: len(values) // 2048]
    x, y = np.median(values, axis=0)
    return float(x), float(y)
