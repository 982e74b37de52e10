"""Decide which of two touching objects is in front, as a border pixel has only one occluder.

When completed separately, both objects of a pair often extend into each other, although only one
can be occluded there. Their claims on each other are compared over the last frames, and the weaker
one loses probability where the other object is visible. (Ordering by mutual completion is the idea
of self-supervised scene de-occlusion, Zhan et al., CVPR 2020, which compares areas in one image.)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from savos_model.geometry import pixel_map
from savos_model.types import Box, Instance

MEMORY = 0.9  # kept of the evidence per frame: the order of two objects changes slowly
FLOOR_PX = 1.0  # added to both claims: a claim of less is none
MOST = 5.0  # logits that a claim can lose
LONGEST = 1280  # longest side of the label image [px]; patches have 64 or 128


class Claim(NamedTuple):
    """The amodal mask estimated for one object.

    Attributes:
        chance: float32 [h, w], probability, fills `box`.
        box: box in the image [px], may leave it.
    """

    chance: np.ndarray
    box: Box


class Labels(NamedTuple):
    """The visible instance at every `step`-th pixel.

    Attributes:
        image: int16 [ceil(H / step), ceil(W / step)], 1 + number of the instance, 0 for none.
        step: whole number of pixels, both ways.
    """

    image: np.ndarray
    step: int

    def patch(self, box: Box, shape: tuple[int, int], outside: int = 0) -> np.ndarray:
        """Return the labels at the pixels of a patch [h, w] that fills a box."""
        place = pixel_map(Box(*(side / self.step for side in box)), shape)
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.image, place, shape[::-1], flags=flags, borderValue=outside)


def label_visible(instances: Sequence[Instance], height: int, width: int) -> Labels:
    """Draw the visible masks of a frame of height x width px; where they overlap, the last one."""
    step = max(1, -(-max(height, width) // LONGEST))
    image = np.zeros((-(-height // step), -(-width // step)), np.int16)
    for number, item in enumerate(instances, 1):
        x, y = int(item.box.x0), int(item.box.y0)
        mask = item.mask[-y % step :: step, -x % step :: step]
        top, left = -(-y // step), -(-x // step)
        view = image[top : top + mask.shape[0], left : left + mask.shape[1]]
        np.maximum(view, mask * np.int16(number), out=view)  # numbers ascend
    return Labels(image, step)


class OcclusionOrder:
    """Compares over time how much objects of each pair claim of each other.

    State: the evidence of each ordered pair of ids [px], of live tracks only.
    """

    def __init__(self) -> None:
        self.evidence: dict[tuple[str, str], float] = {}

    def clear(self) -> None:
        """Clear the state."""
        self.evidence.clear()

    def keep(self, live: Collection[str]) -> None:
        """Remove the pairs of tracks that have ended."""
        self.evidence = {
            pair: px for pair, px in self.evidence.items() if pair[0] in live and pair[1] in live
        }

    def weigh(
        self,
        instances: Sequence[Instance],
        claims: Mapping[str, Claim],
        labels: Labels,
        strength: float,
    ) -> dict[str, np.ndarray]:
        """Update with the claims of one frame.

        Args:
            instances: visible masks of the frame.
            claims: estimates by id, for some of them.
            labels: the visible masks, drawn in this order.
            strength: logits lost per natural logarithm of the ratio of two claims.

        Returns:
            For each claim that loses somewhere, float32 [h, w] in (0, 1]: factor of its odds.
        """
        numbers = {item.id: number for number, item in enumerate(instances, 1)}
        names = list(numbers)
        now: dict[tuple[str, str], float] = {}
        for name, claim in claims.items():
            # A quarter of the cells is enough for the area of a claim.
            height, width = (side // 2 for side in claim.chance.shape[:2])
            cells = cv2.resize(claim.chance, (width, height), interpolation=cv2.INTER_AREA)
            under = labels.patch(claim.box, (height, width))
            claimed = np.bincount(under.ravel(), cells.ravel(), len(names) + 1)
            claimed[[0, numbers[name]]] = 0
            pixel = claim.box.width * claim.box.height / cells.size
            for number, area in enumerate(claimed.tolist()):
                if area:
                    now[name, names[number - 1]] = pixel * area
        odds: dict[str, np.ndarray] = {}
        for first, second in {(a, b) if a < b else (b, a) for a, b in now}:
            losing = self.update((first, second), now)
            if losing is None or losing not in now:
                continue
            if loss := self.loss(*losing, strength):
                by_label = odds.setdefault(losing[0], np.ones(len(names) + 1, np.float32))
                by_label[numbers[losing[1]]] = math.exp(loss)
        return {
            name: np.take(by_label, labels.patch(claims[name].box, claims[name].chance.shape[:2]))
            for name, by_label in odds.items()
        }

    def update(
        self, pair: tuple[str, str], now: Mapping[tuple[str, str], float]
    ) -> tuple[str, str] | None:
        """Add a frame's evidence of a pair; return it, weaker claim first, None if equal."""
        back = pair[1], pair[0]
        ours, theirs = (
            MEMORY * self.evidence.get(p, 0.0) + (1 - MEMORY) * now.get(p, 0.0)
            for p in (pair, back)
        )
        self.evidence[pair], self.evidence[back] = ours, theirs
        return None if ours == theirs else pair if ours < theirs else back

    def loss(self, name: str, other: str, strength: float) -> float:
        """Return the logits, 0 or less, that a claim on pixels of another object changes by."""
        ours, theirs = (self.evidence.get(p, 0.0) for p in ((name, other), (other, name)))
        ratio = math.log((ours + FLOOR_PX) / (theirs + FLOOR_PX))
        return max(-MOST, min(0.0, strength * ratio))


def doubted(chance: np.ndarray, factor: np.ndarray | None) -> np.ndarray:
    """Return probabilities whose odds are multiplied by a factor; None changes nothing."""
    if factor is None:
        return chance
    odds = chance * factor
    return odds / (odds + 1 - chance)
