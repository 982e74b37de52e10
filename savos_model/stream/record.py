"""Define the records of the forward pass for the bidirectional pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from savos_model.stream.prediction import Seen
from savos_model.types import AmodalObject, Box, Instance


@dataclass
class Observed:
    """One track in one frame.

    Attributes:
        instance: its visible mask.
        box: its crop box.
        forward: float32 [h, w, 2], probability and alpha predicted for this frame in `box`; None at
            a track's birth, and until alpha is recorded.
        object: the object as published.
        linked: whether the track was observed in the previous frame too.
        age: observations since the track's birth.
        factor: float32 [h, w] of the odds lost to objects in front (OcclusionOrder.weigh), or None.
    """

    instance: Instance
    box: Box
    forward: np.ndarray | None
    object: AmodalObject
    linked: bool
    age: int
    factor: np.ndarray | None = None

    @property
    def need(self) -> float:
        """Return the possible gain from later frames, 0..1: high if young or largely occluded."""
        return max(self.object.occlusion, 1 / (1 + self.age))


@dataclass
class Record:
    """One frame: input, published objects, and the tracks completed by the network.

    `unfamiliar`: whether the scene was taken for one unlike those of the training.
    """

    seen: Seen
    objects: list[AmodalObject]
    tracks: dict[str, Observed] = field(default_factory=dict)
    unfamiliar: bool = False
