"""Optical flow in the regions of the live tracks; the provider can be swapped."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import cv2
import numpy as np

from savos_model.geometry import intersect, window
from savos_model.types import Box, Instance

PAD_PX = 24  # context around a region that DIS needs; docs/departures.md row 29
MIN_SIDE_PX = 48  # DIS needs room for its pyramid
# Larger regions are shrunk to this: a patch of some thousand pixels needs no finer flow, and the
# cost of an object no longer grows with its size.
REGION_PX = 160 * 160
FRAME_PX = 640 * 640  # the same bound for one call over the whole frame
# From this share of the frame on, one call over it costs less than calls per region.
FULL_FRAME_SHARE = 0.5
MEDIAN_SAMPLE = 2048  # pixels that a median is taken of
PRESETS = {
    "dis_fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "dis_medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class FlowRegion(NamedTuple):
    """Flow at the earlier frame's pixels, on a grid that may be coarser than the pixels.

    box: integer box inside the image; flow: float32 [rows, cols, 2] (x, y) [px], fills the box.
    """

    box: Box
    flow: np.ndarray

    def patch(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Flow [px] as a patch of (rows, cols) that fills `box`: float32 [2, rows, cols].

        Bilinear, zero outside the region.
        """
        rows, cols = self.flow.shape[:2]
        step_x = box.width / size[1] * cols / self.box.width
        step_y = box.height / size[0] * rows / self.box.height
        first_x = (box.x0 - self.box.x0) * cols / self.box.width + step_x / 2 - 0.5
        first_y = (box.y0 - self.box.y0) * rows / self.box.height + step_y / 2 - 0.5
        to_grid = np.array([[step_x, 0, first_x], [0, step_y, first_y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.flow, to_grid, size[::-1], flags=flags).transpose(2, 0, 1)

    def median(self, item: Instance) -> tuple[float, float] | None:
        """Median motion (x, y) [px] of an instance's visible mask; None when it is not inside.

        The median replaces the mean of eq. 12: at the mask's edge flow belongs to the occluder
        (docs/departures.md row 10).
        """
        on = np.flatnonzero(item.mask)
        if len(on) > MEDIAN_SAMPLE:
            on = on[:: len(on) // MEDIAN_SAMPLE]
        y, x = np.divmod(on, item.mask.shape[1])
        rows, cols = self.flow.shape[:2]
        x = np.floor((x + 0.5 + item.box.x0 - self.box.x0) * cols / self.box.width).astype(int)
        y = np.floor((y + 0.5 + item.box.y0 - self.box.y0) * rows / self.box.height).astype(int)
        inside = (x >= 0) & (x < cols) & (y >= 0) & (y < rows)
        if not inside.any():
            return None
        dx, dy = np.median(self.flow[y[inside], x[inside]], axis=0)
        return float(dx), float(dy)


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
        area = sum(min(box.width * box.height, REGION_PX) for box in padded)
        if area > FULL_FRAME_SHARE * min(rows * cols, FRAME_PX):
            whole = self.region(earlier, later, Box(0, 0, cols, rows), (0.0, 0.0), FRAME_PX)
            return [whole] * len(boxes)
        return [self.region(earlier, later, box, s) for box, s in zip(padded, shifts, strict=True)]

    def region(
        self,
        earlier: np.ndarray,
        later: np.ndarray,
        box: Box,
        shift: tuple[float, float],
        limit_px: int = REGION_PX,
    ) -> FlowRegion:
        """Flow of one box inside the image, shrunk to at most limit_px."""
        rows, cols = earlier.shape
        if box.width < MIN_SIDE_PX or box.height < MIN_SIDE_PX:  # image smaller than DIS can take
            return FlowRegion(box, np.zeros((int(box.height), int(box.width), 2), np.float32))
        dx = int(np.clip(round(shift[0]), -box.x0, cols - box.x1))
        dy = int(np.clip(round(shift[1]), -box.y0, rows - box.y1))
        moved = Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)
        a, b = window(earlier, box), window(later, moved)
        shrink = min(1.0, (limit_px / a.size) ** 0.5)
        if shrink < 1:
            size = (max(16, round(a.shape[1] * shrink)), max(16, round(a.shape[0] * shrink)))
            a, b = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (a, b))
        flow = self.calc(np.ascontiguousarray(a), np.ascontiguousarray(b))
        if shrink < 1:
            flow *= np.array((box.width / a.shape[1], box.height / a.shape[0]), np.float32)
        return FlowRegion(box, flow + np.array((dx, dy), np.float32))

    def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """DIS at half resolution for regions, at a quarter for whole frames.

        A quarter, its default, pulls thin objects towards their background: an object 30 px wide
        moving 6 px came out at 4.5 px, at half resolution at 5.9 px.
        """
        self.dis.setFinestScale(1 if a.size <= REGION_PX else 2)
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
