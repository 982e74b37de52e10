"""Compute or read optical flow in the regions of live tracks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from savos_model.geometry import (
    NOTHING,
    WARP_ITERATIONS,
    intersect,
    sample_means,
    window,
)
from savos_model.types import Box, Frame, Instance

PAD_PX = 24  # context around a region that DIS needs; docs/departures.md row 29
MIN_SIDE_PX = 48  # DIS needs room for its pyramid
# Every region is resized to this grid: a patch needs no finer flow, an object costs the same at any
# size, and DIS keeps its buffers. (Two calls that alternate in size took 17 times as long as two
# calls of one size each.) On 48 cells, with patches 6 apart, small objects' motion is pulled
# towards their background by up to 0.7 px. What other settings cost: docs/engines.md.
GRID = (56, 56)
PATCH_STRIDE = 5  # cells between the patches of DIS, whose preset has 4
FRAME_PX = 1 << 16  # cells of one call over the whole frame, at most
# With more regions than this, one call over the frame costs less than calls per region.
MAX_REGIONS = 24
WHOLE_GREY_PX = 1 << 22  # up to this, one conversion of an image costs less than one per region
# Boxes of larger images with more than this are sampled: motion needs more pixels than a crop.
SAMPLED_PX = 1 << 17
MEDIAN_SAMPLE = 1024  # pixels that a median is taken of
PRESETS = {
    "dis_fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "dis_medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class LargeImage(NamedTuple):
    """An image whose grey form is made only of the pixels that are looked at.

    pixels: uint8 [H, W] or [H, W, 3]; code: of cv2.cvtColor, that makes colours grey.
    """

    pixels: np.ndarray
    code: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns [px]."""
        return self.pixels.shape[:2]

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]


Grey = np.ndarray | LargeImage  # uint8 [H, W]


def to_grey(frame: Frame) -> Grey:
    """Return the grey form of a frame's image, for flow."""
    code = cv2.COLOR_BGR2GRAY if frame.order == "bgr" else cv2.COLOR_RGB2GRAY
    if frame.image.shape[0] * frame.image.shape[1] > WHOLE_GREY_PX:
        return LargeImage(frame.image, code)
    return frame.image if frame.image.ndim == 2 else cv2.cvtColor(frame.image, code)


@dataclass(frozen=True, eq=False)
class FlowRegion:
    """Flow of the earlier frame's pixels inside a box, on a grid of any resolution.

    Motion in image pixels is `flow * (box size / grid size) + shift`, computed where it is read:
    fewer points are read than a grid has.

    box: integer box inside the image; flow: float32 [rows, cols, 2] (x, y) [grid cells], fills the
    box; shift: motion (x, y) that is not in `flow` [px].
    """

    box: Box
    flow: np.ndarray
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def scale(self) -> tuple[float, float]:
        """Return image pixels per grid cell (x, y)."""
        return self.box.width / self.flow.shape[1], self.box.height / self.flow.shape[0]

    def patch(
        self, box: Box, size: tuple[int, int], unit: tuple[float, float] = (1.0, 1.0)
    ) -> np.ndarray:
        """Return the flow as a patch that fills `box`: float32 [2, rows, cols].

        In units of `unit` (x, y) [px]; bilinear, zero outside the region.
        """
        scale_x, scale_y = self.scale
        step_x, step_y = box.width / size[1] / scale_x, box.height / size[0] / scale_y
        first_x = (box.x0 - self.box.x0) / scale_x + step_x / 2 - 0.5
        first_y = (box.y0 - self.box.y0) / scale_y + step_y / 2 - 0.5
        place = np.array([[step_x, 0, first_x], [0, step_y, first_y]])
        flags, patch = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, np.empty((2, *size), np.float32)
        of_axes = zip(self.planes, self.scale, self.shift, unit, patch, strict=True)
        for plane, scale, shift, one, out in of_axes:
            cv2.warpAffine(plane, place, size[::-1], out, flags, borderValue=-shift / scale)
            out *= np.float32(scale / one)
            out += np.float32(shift / one)
        return patch

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the flow of each axis, which OpenCV warps faster and more exactly than both."""
        x, y = cv2.split(self.flow)
        return x, y

    def median(self, item: Instance) -> tuple[float, float] | None:
        """Return the median motion (x, y) [px] of a visible mask; None if it is outside.

        The median replaces the mean of eq. 12: at the mask's edge flow belongs to the occluder
        (docs/departures.md row 10).
        """
        step = 1 + math.isqrt(item.mask.size // MEDIAN_SAMPLE)
        mask, (rows, cols) = item.mask[::step, ::step], self.flow.shape[:2]
        (scale_x, scale_y), (left, top) = self.scale, self.box[:2]
        x, y = (np.arange(n) * step + 0.5 for n in mask.shape[::-1])
        x = np.floor((x + item.box.x0 - left) / scale_x).astype(int)
        y = np.floor((y + item.box.y0 - top) / scale_y).astype(int)
        inner_x, inner_y = (slice(*np.searchsorted(at, (0, n))) for at, n in ((x, cols), (y, rows)))
        cells = (y[inner_y] * cols)[:, None] + x[inner_x]
        cells = cells[mask[inner_y, inner_x].view(bool)]
        if not len(cells):
            return None
        dx, dy = middle(self.flow.reshape(-1, 2).take(cells, axis=0))
        return float(dx * scale_x + self.shift[0]), float(dy * scale_y + self.shift[1])


def middle(values: np.ndarray) -> np.ndarray:
    """Return np.median of [N, C] over N, in 0.4 of its time; no value may be NaN."""
    half = len(values) // 2
    low = half if len(values) % 2 else half - 1
    ordered = np.partition(values, (low, half), axis=0)
    return (ordered[low] + ordered[half]) / 2


# Returns the flow of boxes with expected motions (x, y) [px], as FlowProvider.regions does.
Regions = Callable[[list[Box], list[tuple[float, float]]], list[FlowRegion]]


def same(region: FlowRegion) -> Regions:
    """Return one region for all boxes."""
    return lambda boxes, shifts: [region] * len(boxes)


def make_flow(method: str) -> FlowProvider:
    """Return the provider of a `flow.method`."""
    return TopicFlow() if method == "topic" else DisFlow(method)


class FlowProvider(Protocol):
    """Provides the motion of boxes' pixels from the earlier to the later frame."""

    def between(self, earlier: Grey, later: Grey, count: int) -> Regions:
        """Return `regions` of two images, for any share of `count` boxes."""
        ...

    def regions(
        self,
        earlier: Grey,
        later: Grey,
        boxes: list[Box],
        shifts: list[tuple[float, float]],
    ) -> list[FlowRegion]:
        """Return flow for each box; a region covers at least the part of its box in the image.

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
        self.dis = cv2.DISOpticalFlow.create(PRESETS[method])
        # DIS stops at a quarter of the resolution by default; on the grid of a region that pulls an
        # object's motion towards its background by 1 to 4 px, full resolution by at most 0.2 px. A
        # frame of six times as many cells takes longer at a quarter, and its motion is less exact.
        self.dis.setFinestScale(0)
        self.dis.setPatchStride(PATCH_STRIDE)
        if method == "dis_fast":  # refinement doubles the time and changes no motion
            self.dis.setVariationalRefinementIterations(0)

    def regions(
        self,
        earlier: Grey,
        later: Grey,
        boxes: list[Box],
        shifts: list[tuple[float, float]],
    ) -> list[FlowRegion]:
        """Implement FlowProvider.regions."""
        return self.between(earlier, later, len(boxes))(boxes, shifts)

    def between(self, earlier: Grey, later: Grey, count: int) -> Regions:
        """Implement FlowProvider.between."""
        rows, cols = earlier.shape
        if min(rows, cols) < MIN_SIDE_PX:  # smaller than DIS can take
            return same(FlowRegion(Box(0, 0, cols, rows), np.zeros((rows, cols, 2), np.float32)))
        if count > MAX_REGIONS:
            return same(self.frame(earlier, later))
        return lambda boxes, shifts: [
            self.region(earlier, later, padded_box(box, rows, cols), shift)
            for box, shift in zip(boxes, shifts, strict=True)
        ]

    def region(
        self, earlier: Grey, later: Grey, box: Box, shift: tuple[float, float]
    ) -> FlowRegion:
        """Return the flow of one box inside the image."""
        rows, cols = earlier.shape
        dx = int(min(max(round(shift[0]), -box.x0), cols - box.x1))
        dy = int(min(max(round(shift[1]), -box.y0), rows - box.y1))
        moved = Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)
        a, b = (shrunk(i, at, GRID) for i, at in ((earlier, box), (later, moved)))
        return FlowRegion(box, self.dis.calc(a, b, NOTHING), (dx, dy))

    def frame(self, earlier: Grey, later: Grey) -> FlowRegion:
        """Return the flow of the whole frame, downscaled to at most FRAME_PX."""
        rows, cols = earlier.shape
        shrink = min(1.0, (FRAME_PX / earlier.size) ** 0.5)
        size = (max(MIN_SIDE_PX, round(rows * shrink)), max(MIN_SIDE_PX, round(cols * shrink)))
        whole = Box(0, 0, cols, rows)
        flow = self.dis.calc(shrunk(earlier, whole, size), shrunk(later, whole, size), NOTHING)
        return FlowRegion(whole, flow)


def shrunk(image: Grey, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Return grey pixels of an integer box inside the image, resized to (rows, cols).

    Means over whole numbers of pixels, then bilinear: OpenCV's area mean by a fraction takes three
    times as long. Of a large image, means of samples.
    """
    if isinstance(image, LargeImage):
        sampled = box.width * box.height > SAMPLED_PX
        pixels = sample_means(image.pixels, box, size) if sampled else window(image.pixels, box)
        grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, image.code)
        return grey if sampled else shrunk(grey, Box(0, 0, box.width, box.height), size)
    (rows, cols), width, height = size, int(box.width), int(box.height)
    by_x, by_y = max(1, width // cols), max(1, height // rows)
    whole = -(-width // by_x), -(-height // by_y)
    pixels = window(image, Box(box.x0, box.y0, box.x0 + whole[0] * by_x, box.y0 + whole[1] * by_y))
    if by_x > 1 or by_y > 1:
        pixels = cv2.resize(pixels, whole, interpolation=cv2.INTER_AREA)
    step_x, step_y = width / by_x / cols, height / by_y / rows
    return cv2.warpAffine(
        pixels,
        np.array([[step_x, 0, (step_x - 1) / 2], [0, step_y, (step_y - 1) / 2]]),
        (cols, rows),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


class TopicFlow:
    """Flow from an external estimator, provided with the frames."""

    def __init__(self) -> None:
        self.flow: np.ndarray | None = None
        self.reverse: np.ndarray | None = None

    def use(self, here: Frame, there: Frame) -> None:
        """Set the flow between two neighbouring frames, for the motion from `here` to `there`."""
        later, onwards = (there, True) if there.stamp_ns >= here.stamp_ns else (here, False)
        both = (later.flow, later.flow_back)
        self.flow, self.reverse = both if onwards else both[::-1]

    def between(self, earlier: Grey, later: Grey, count: int) -> Regions:
        """Implement FlowProvider.between."""
        return partial(self.regions, earlier, later)

    def regions(
        self,
        earlier: Grey,
        later: Grey,
        boxes: list[Box],
        shifts: list[tuple[float, float]],
    ) -> list[FlowRegion]:
        """Implement FlowProvider.regions; `shifts` replace unknown flow.

        Unknown are missing flow, NaN, and motion beyond the size of the image: a single such pixel
        would corrupt the state of its track permanently. Flow that was provided for the opposite
        direction is inverted.
        """
        rows, cols = earlier.shape
        most = np.array((cols, rows), np.float32)
        regions = []
        for box, shift in zip(boxes, shifts, strict=True):
            box = padded_box(box, rows, cols)
            if self.flow is not None:
                given = window(self.flow, box)
            elif self.reverse is not None:
                given = inverted(self.reverse, box, shift)
            else:
                regions.append(FlowRegion(box, np.zeros((1, 1, 2), np.float32), shift))
                continue
            known = np.abs(given) <= most
            filled = np.where(known, given, np.array(shift, np.float32))
            regions.append(FlowRegion(box, filled))
        return regions


def inverted(flow: np.ndarray, box: Box, shift: tuple[float, float]) -> np.ndarray:
    """Return a box's motion by inverting the opposite flow: b(x) = -f(x + b(x)).

    Args:
        flow: float32 [H, W, 2], f of the other frame's pixels into the box's frame [px].
        box: integer box inside the image.
        shift: expected motion of the box (x, y) [px], with which the iteration starts.

    Returns:
        float32 [box.height, box.width, 2] [px]; NaN where f is unknown.
    """
    x = np.arange(box.x0, box.x1, dtype=np.float32)
    y = np.arange(box.y0, box.y1, dtype=np.float32)
    at = np.dstack(np.meshgrid(x, y))
    motion = np.broadcast_to(np.array(shift, np.float32), at.shape)
    for _ in range(WARP_ITERATIONS):
        seen = cv2.remap(
            flow, at + motion, NOTHING, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        motion = np.where(np.isfinite(seen), -seen, motion)
    return np.where(np.isfinite(seen), motion, np.nan)


def padded_box(box: Box, rows: int, cols: int) -> Box:
    """Return a box padded by PAD_PX, at least MIN_SIDE_PX a side, shifted and clipped to fit."""
    x0, x1 = padded_range(box.x0, box.x1, cols)
    y0, y1 = padded_range(box.y0, box.y1, rows)
    inside = intersect(Box(x0, y0, x1, y1), Box(0, 0, cols, rows))
    assert inside is not None  # padded_range never returns an empty range
    return inside


def padded_range(low: float, high: float, size: int) -> tuple[int, int]:
    """Return one axis of `padded_box`."""
    low, high = int(low) - PAD_PX, int(high) + PAD_PX
    low, high = max(low, 0), min(high, size)
    if high - low < MIN_SIDE_PX:
        low = max(0, min(low, size - MIN_SIDE_PX))
        high = min(size, low + MIN_SIDE_PX)
    return low, high
