"""Convert network output to a moving mask: the prediction for a neighbouring frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from savos_model.backends.interface import StepOutput
from savos_model.config import ModelConfig
from savos_model.geometry import move, warp_patch
from savos_model.motion import amodal_motion, flow_scale, pair
from savos_model.network.layers import FLOW, PRIOR, UNKNOWN, VISIBLE, input_channels
from savos_model.stream.flow import FlowRegion, Grey
from savos_model.stream.inputs import fill_patch
from savos_model.types import Box, Frame, Instance


@dataclass(frozen=True)
class Seen:
    """A frame as later steps need it: image, grey image and occupancy of its masks."""

    frame: Frame
    grey: Grey
    count: np.ndarray


@dataclass
class Guess:
    """The amodal mask predicted for a neighbouring frame, before it is moved there.

    Attributes:
        values: float32 [h, w, 1 or 2], fills `box`: probability and, for the bi-directional merge,
            alpha.
        motion: float32 [2, h, w] motion into the neighbouring frame [px].
        mean_motion: mean of `motion` over the mask (x, y) [px per frame].
        held: frames since then without a new prediction, in which all moved by the mean.
    """

    values: np.ndarray
    motion: np.ndarray
    box: Box
    mean_motion: tuple[float, float]
    held: int = 0

    @property
    def probability(self) -> np.ndarray:
        """Return the probability, float32 [h, w]."""
        return self.values[..., 0]

    @property
    def drift(self) -> tuple[float, float]:
        """Return the motion while it was held (x, y) [px]."""
        return self.held * self.mean_motion[0], self.held * self.mean_motion[1]

    def warped(self, box: Box) -> np.ndarray:
        """Return the values in a box of the next frame (eq. 2), sampled once after any hold."""
        x, y = self.drift
        return warp_patch(self.values, self.motion, self.box, move(box, -x, -y))

    def moved_on(self) -> Box:
        """Return the box that it fills in the next frame, on whole pixels."""
        return move(
            self.box,
            *(float(round(d + v)) for d, v in zip(self.drift, self.mean_motion, strict=True)),
        )


class Cue(NamedTuple):
    """One object as network input: mask, crop box, flow and base motion (x, y) [px]."""

    instance: Instance
    box: Box
    region: FlowRegion
    base: tuple[float, float]


def network_inputs(seen: Seen, cues: list[Cue], model: ModelConfig) -> np.ndarray:
    """Return patches of objects of a frame, float32 [N, 6 or 7, h, w]; priors are UNKNOWN."""
    patches = np.empty((len(cues), input_channels(model), *model.patch), np.float32)
    patches[:, PRIOR] = UNKNOWN
    for patch, cue in zip(patches, cues, strict=True):
        fill_patch(patch, seen.frame, seen.count, cue.instance, cue.box, cue.region, model)
    return patches


def set_priors(patches: np.ndarray, values: list[np.ndarray | None], model: ModelConfig) -> None:
    """Write the masks predicted for the patches' frame into the prior channel, if there is one.

    `values` are Guess.values warped into each patch's box; None at a track's birth.
    """
    if not model.prior_mask:
        return
    for patch, given in zip(patches, values, strict=True):
        if given is not None:
            patch[PRIOR] = given[..., 0]


def output_values(out: StepOutput, with_alpha: bool) -> np.ndarray:
    """Return Guess.values of N objects: float32 [N, h, w, 1 or 2]."""
    chances = 1 / (1 + np.exp(-out.mask_logits))
    return np.stack((chances, out.alpha) if with_alpha else (chances,), -1)


def calibrated(chance: np.ndarray, temperature: float) -> np.ndarray:
    """Return a probability with its logit divided by the temperature; 0.5 stays 0.5.

    Only for published masks: priors and merges need the probabilities of the training.
    """
    if temperature == 1.0:
        return chance
    power = 1 / np.float32(temperature)
    sure, unsure = chance**power, (1 - chance) ** power
    return sure / (sure + unsure)


def moving(
    values: np.ndarray, residual: np.ndarray, patch: np.ndarray, cue: Cue, model: ModelConfig
) -> Guess:
    """Return the guess of an object with known motion: residual [2, h, w], network input."""
    flow, visible = patch[FLOW], patch[VISIBLE][0]
    scale = flow_scale(model, cue.box)
    motion = amodal_motion(residual, flow, visible, cue.base, scale, model.motion_base)
    return Guess(values, motion, cue.box, mean_inside(motion, values[..., 0], cue.base))


def mean_inside(
    motion: np.ndarray, chance: np.ndarray, otherwise: tuple[float, float]
) -> tuple[float, float]:
    """Return the mean motion (x, y) of a mask's pixels; `otherwise` if it has none."""
    on = chance > 0.5
    pixels = int(np.count_nonzero(on))
    if not pixels:
        return otherwise
    # As a product in a ninth of the time of means under a mask.
    sums = motion.reshape(2, -1) @ on.ravel().astype(motion.dtype)
    return float(sums[0]) / pixels, float(sums[1]) / pixels


def moving_whole(values: np.ndarray, box: Box, motion: tuple[float, float]) -> Guess:
    """Return a guess that moves rigidly, for a track without a new observation."""
    return Guess(values, np.broadcast_to(pair(motion), (2, *values.shape[:2])), box, motion)
