"""Turns exact visible masks into what an imperfect tracker would report."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from savos_model.types import Box
from training.street.config import StreetConfig

WOBBLE = 64


@dataclass
class _Track:
    rng: np.random.Generator
    bias: float = 0.0
    lost: int = 0
    split: int = 0
    cut: tuple[float, float] = (0.0, 0.5)
    wobble: np.ndarray = field(default_factory=lambda: np.zeros((WOBBLE, WOBBLE), np.float32))


class MaskNoise:
    """Tracker noise of one scene: rim jitter, lost objects, split masks, missed small masks.

    The same masks and settings give the same result.
    """

    def __init__(self, config: StreetConfig):
        self.config = config
        self._tracks: dict[int, _Track] = {}

    def forget(self, alive: set[int]) -> None:
        """Drop the state of tracks that are not in `alive`."""
        self._tracks = {key: track for key, track in self._tracks.items() if key in alive}

    def apply(
        self, uid: int, box: Box, mask: np.ndarray, size: tuple[int, int]
    ) -> tuple[Box, np.ndarray] | None:
        """Return a noisy copy of one visible mask of this frame, None when nothing is reported.

        `uid` is the number of the object within the scene: call once per frame and object. `mask`
        is a uint8 0/1 crop of the integer `box`, `size` the (height, width) of the image [px].
        """
        track = self._tracks.setdefault(
            uid, _Track(np.random.default_rng([self.config.seed, 73, uid]))
        )
        self._advance(track)
        if track.lost or int(mask.sum()) < self.config.min_tracked_px:
            return None
        if self.config.jitter_px > 0:
            box, mask = self._jitter(track, box, mask, size)
        if track.split:
            mask = self._split(track, mask)
        return tight(box, mask) if int(mask.sum()) >= self.config.min_tracked_px else None

    def _advance(self, track: _Track) -> None:
        rng = track.rng
        draws = rng.random(4)
        track.lost, track.split = max(track.lost - 1, 0), max(track.split - 1, 0)
        if not track.lost and draws[0] < _start(self.config.lost_share, 3.5):
            track.lost = int(1 + draws[1] * 6)
        if not track.split and draws[2] < _start(self.config.split_share, 3.0):
            track.split = int(1 + draws[3] * 5)
            track.cut = float(rng.uniform(0, np.pi)), float(rng.uniform(0.25, 0.75))
        track.bias = 0.8 * track.bias + 0.6 * float(rng.normal(0, 0.5))
        fresh = cv2.GaussianBlur(
            rng.normal(0, 1, (WOBBLE, WOBBLE)).astype(np.float32),
            (0, 0),
            3,
            borderType=cv2.BORDER_REFLECT,
        )
        track.wobble = 0.7 * track.wobble + 0.7 * fresh / 0.095

    def _jitter(
        self, track: _Track, box: Box, mask: np.ndarray, size: tuple[int, int]
    ) -> tuple[Box, np.ndarray]:
        """Move the rim by a smooth random distance: up to `jitter_px` inwards or outwards."""
        pad = int(np.ceil(self.config.jitter_px)) + 1
        x0, y0 = max(box.x0 - pad, 0), max(box.y0 - pad, 0)
        x1, y1 = min(box.x1 + pad, size[1]), min(box.y1 + pad, size[0])
        around = (box.y0 - y0, y1 - box.y1, box.x0 - x0, x1 - box.x1)
        # Inside the image the added rim is background; at its border masks continue.
        wide = np.zeros((y1 - y0, x1 - x0), np.uint8)
        wide[around[0] : wide.shape[0] - around[1], around[2] : wide.shape[1] - around[3]] = mask
        frame = cv2.copyMakeBorder(wide, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        inside = cv2.distanceTransform(frame, cv2.DIST_L2, 3)
        outside = cv2.distanceTransform(1 - frame, cv2.DIST_L2, 3)
        signed = (inside - outside)[pad:-pad, pad:-pad]
        shift = (
            cv2.resize(track.wobble, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR) * 0.5
            + track.bias
        )
        # A rim on small objects must not eat them: at most an eighth of the size.
        reach = min(self.config.jitter_px, max(np.sqrt(float(mask.sum())) / 8, 0.5))
        noisy = signed + np.clip(shift, -1, 1) * reach > 0
        return Box(x0, y0, x1, y1), noisy.astype(np.uint8)

    @staticmethod
    def _split(track: _Track, mask: np.ndarray) -> np.ndarray:
        """Cut a strip out of the mask, and drop the smaller part for a steep cut."""
        height, width = mask.shape
        angle, at = track.cut
        y, x = np.mgrid[0:height, 0:width]
        along = (x / width - 0.5) * np.cos(angle) + (y / height - 0.5) * np.sin(angle) + 0.5 - at
        strip = np.abs(along) < max(0.03, 1.5 / max(width, height))
        cut = np.where(strip, 0, mask)
        if abs(np.cos(angle)) > 0.7:
            first, second = cut * (along < 0), cut * (along >= 0)
            cut = first if first.sum() >= second.sum() else second
        return cut.astype(np.uint8)


def _start(share: float, length: float) -> float:
    """Chance per frame that a spell begins, when spells of this mean length fill this share."""
    return share / (length * (1 - share) + share)


def tight(box: Box, mask: np.ndarray) -> tuple[Box, np.ndarray] | None:
    """Shrink a box and its uint8 crop to the pixels that are set; None when there are none."""
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    crop = np.ascontiguousarray(mask[y : y + height, x : x + width])
    return Box(box.x0 + x, box.y0 + y, box.x0 + x + width, box.y0 + y + height), crop
