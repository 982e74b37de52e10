"""The supervised baseline: one frame's image and visible masks to amodal truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from savos_model.network.geometry_torch import resample
from training.baselines.unet import BEHIND_WEIGHT, VARIED, Batch, UNetConfig, network_input
from training.data.store import Clip
from training.learn.augment import Window, make_input
from training.learn.augment_config import plain
from training.learn.windows import Place, gather


class Known(NamedTuple):
    """Windows of one frame with the amodal truth [B, 1, H, W] in their context boxes."""

    window: Window
    truth: Tensor


@dataclass(frozen=True)
class KnownWindows:
    """Rows of stored clips whose amodal truth is known."""

    clips: list[Clip]
    places: list[Place]

    def draw(self, size: int, rng: np.random.Generator) -> Known:
        """Return a batch of `size` random rows."""
        return self.read([self.places[i] for i in rng.integers(len(self.places), size=size)])

    def read(self, places: list[Place]) -> Known:
        """Return the rows at `places`."""
        window = gather(self.clips, places, 1, np.zeros(len(places), bool))
        rows = [self.clips[place.clip].arrays["truth"][place.row] for place in places]
        return Known(window, torch.from_numpy(np.stack(rows)).float()[:, None] / 255)


def known_places(clips: list[Clip], places: list[Place]) -> list[Place]:
    """Return those of the places whose amodal truth is known."""
    arrays = [clip.arrays for clip in clips]
    return [p for p in places if "known" in arrays[p.clip] and arrays[p.clip]["known"][p.row]]


def oracle_batch(known: Known, config: UNetConfig, generator: torch.Generator) -> Batch:
    """Return the input as at inference, with noise, and truth; random by `generator` only."""
    augment = plain(**VARIED, mask_noise=0.3, noise_px=1.0, enlarge=config.enlarge)
    made = make_input(known.window, config.model, augment, generator)
    inputs = network_input(made.patches[:, 0, :3], made.patches[:, 0, 3], "oracle")
    boxes = known.window.boxes[:, 0], made.boxes[:, 0]
    truth = resample(known.truth, *boxes, config.model.patch)[:, 0].clamp(0, 1)
    weight = 1 + (BEHIND_WEIGHT - 1) * inputs[:, 4]  # where alone the prediction is used
    return Batch(inputs, truth, weight)
