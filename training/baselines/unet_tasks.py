"""Batches of the image-level baselines: partial completion of one frame, and the supervised oracle.

Partial completion is PCNet-M of Self-Deocclusion (Zhan et al. 2020): another object's mask, the
eraser, is laid over the visible mask. In front of it, it hides a part that has to be recovered;
behind it, it hides nothing and the mask has to stay as it is. The numbers are those of the
published code (XiaohangZhan/deocclusion, experiments/KINS/pcnet_m). The oracle learns to complete
one frame's image and visible masks from amodal truth.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from savos_model.instances import occupancy
from savos_model.network.geometry_torch import resample
from savos_model.types import Instance
from training.baselines.unet import (
    BEHIND_WEIGHT,
    VARIED,
    Batch,
    UNet,
    UNetConfig,
    network_input,
    unet_loss,
)
from training.data.store import Clip, ClipFrame, context_row, stack_rows
from training.learn.augment import Window, make_input
from training.learn.augment_config import plain
from training.learn.windows import Place, StoredWindows, gather, list_places

ERASER_BEHIND = 0.2  # share of erasers that lie behind the object
MIN_PX = 64  # smaller visible masks are not used for training


def deocclusion_batch(window: Window, config: UNetConfig, generator: torch.Generator) -> Batch:
    """Return erased masks of windows of one frame, and what they were; random by `generator` only.

    The other objects of the frame are left out, as published: the pasted one alone is the eraser,
    which with AugmentConfig's weights gives exactly the published weighting.
    """
    augment = plain(  # without a track there is no memory of the box either
        **VARIED,
        paste=1.0,
        behind=ERASER_BEHIND,
        pasted_weight=BEHIND_WEIGHT,
        enlarge=config.enlarge,
    )
    alone = window._replace(others=torch.zeros_like(window.others))
    made = make_input(alone, config.model, augment, generator)
    rgb, signed = made.patches[:, 0, :3], made.patches[:, 0, 3]
    inputs = network_input(rgb, signed, "deocclusion")
    return Batch(inputs, made.visible[:, 0], made.weight[:, 0])


def clip_rows(frames: Iterable[tuple[np.ndarray, list[Instance]]], patch: tuple[int, int]) -> Clip:
    """Return the rows of a video (BGR image and visible masks by frame) in memory, no truth."""
    rows = []
    for image, instances in frames:
        count = occupancy(instances, *image.shape[:2])
        frame = ClipFrame(image, instances)
        kept = [item for item in instances if int(item.mask.sum()) >= MIN_PX]
        rows += [context_row(frame, item, count, patch) for item in kept]
    return Clip("video", stack_rows(rows))


def adapt_unet(
    net: UNet, rows: Clip, iterations: int, learning_rate: float, *, batch: int = 32, seed: int = 0
) -> UNet:
    """Return a copy of a network trained further on the visible masks of one video (of clip_rows).

    Without any row the network itself comes back.
    """
    adapted = copy.deepcopy(net)
    source = StoredWindows([rows], list_places([rows], 1, MIN_PX), 1)
    if not source.places:
        return adapted
    adapted.train()
    optimiser = torch.optim.Adam(adapted.parameters(), lr=learning_rate)
    for step in range(iterations):
        window = source.draw(batch, np.random.default_rng((seed, step)))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        loss = unet_loss(adapted, deocclusion_batch(window, net.config, generator))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return adapted.eval()


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
