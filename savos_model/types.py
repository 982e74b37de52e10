"""Define inputs and outputs of the online stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Box(NamedTuple):
    """Half-open box [x0, x1) x [y0, y1) in image pixels; pixel i covers [i, i + 1)."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Return the number of columns [px]."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Return the number of rows [px]."""
        return self.y1 - self.y0


class Source(IntEnum):
    """Source of a published mask (the values of AmodalMask.source)."""

    VISIBLE = 0
    FORWARD = 1
    REFINED = 2
    COASTED = 3


@dataclass(frozen=True)
class Instance:
    """One tracked visible mask of a frame.

    Attributes:
        id: external track ID, never renumbered.
        box: integer box of `mask` inside the image.
        mask: uint8 [box.height, box.width], 0 or 1.
        class_id, score: passed through; score in [0, 1].
    """

    id: str
    box: Box
    mask: np.ndarray
    class_id: str = ""
    score: float = 1.0


@dataclass(frozen=True)
class Frame:
    """One camera image with its tracked visible masks.

    Attributes:
        stamp_ns: time of the image [ns].
        image: uint8 [H, W, 3] in `order`, or uint8 [H, W] grey; may be read-only.
        instances: visible masks, overlaps allowed.
        order: channel order of `image`: "bgr" or "rgb".
        flow: float32 [H, W, 2] motion (x, y) of the previous frame's pixels into this one [px], or
            None.
        flow_back: float32 [H, W, 2] motion (x, y) of this frame's pixels into the previous one
            [px], or None; for the bidirectional pass only.
    """

    stamp_ns: int
    image: np.ndarray
    instances: list[Instance]
    order: str = "bgr"
    flow: np.ndarray | None = None
    flow_back: np.ndarray | None = None


@dataclass(frozen=True)
class AmodalObject:
    """One completed object of a frame.

    Attributes:
        mask: uint8 [box.height, box.width]; 0 or 255, or the probability 0..255 (`mask_values`).
        visible: uint8 of the same shape, 0 or 1: the input mask (all 0 while coasting).
        occlusion: hidden share of the amodal area, 0..1.
        confidence: 0..1, mean probability of the published hidden pixels (1.0 without any).
        motion: mean amodal motion (x, y) [px per frame].
        cut: bool of the same shape, the pixels published with `mask_values: binary`, where `mask`
            holds probabilities; None where it does not, or where they are not known.
        extent: box of the likely part of the object, inside `box` [px]; the next crop shows it.
            None means all of `box`.
    """

    id: str
    class_id: str
    score: float
    source: Source
    box: Box
    mask: np.ndarray
    visible: np.ndarray
    occlusion: float
    confidence: float
    motion: tuple[float, float]
    cut: np.ndarray | None = None
    extent: Box | None = None

    @property
    def inside(self) -> np.ndarray:
        """Return the object's pixels, bool [box.height, box.width], for any kind of `mask`."""
        return self.mask >= 128 if self.cut is None else self.cut
