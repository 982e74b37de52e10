"""Compute the self-supervised losses in patch space: L_M (eq. 3-5) and L_C (eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from savos_model.config import ModelConfig
from savos_model.network.geometry_torch import pull_patch, warp_patch
from savos_model.network.layers import ALPHA_SCALE, FLOW, RGB, UNKNOWN, VISIBLE
from savos_model.network.motion_torch import amodal_motion, observed_motion
from savos_model.network.net import Prediction
from savos_model.network.presets import Net
from savos_model.settings import Settings, setting

PROBABILITY_EPS = 1e-6  # clamps probabilities before the logarithm, as in the released code


@dataclass(frozen=True)
class LossConfig(Settings):
    """Weights and options of the loss; the defaults train online and offline use."""

    mask: float = setting(1.0, "lambda 1, weight of L_M", minimum=0.0)
    consistency: float = setting(0.1, "lambda 2, weight of L_C", minimum=0.0)
    direct: float = setting(1.0, "weight of the same-frame term", minimum=0.0)
    photometric: float = setting(
        0.0, "weight of the photometric term (warped colours)", minimum=0.0
    )
    detach_motion: bool = setting(False, "L_C trains no motion, as in the released code")
    both_directions: bool = setting(True, "train both directions and their merge by alpha")


class Targets(NamedTuple):
    """Targets of the losses, for windows of T frames of B tracks.

    Flow and base motion lead to the next frame if a step estimates the mask of that frame, and to
    the previous one if it estimates its own (ModelConfig.same_frame).

    Attributes:
        patches: float [B, T, 6, h, w], the network's input without the prior.
        visible: float [B, T, h, w] in [0, 1], the true visible mask V in the patch of its frame.
        weight: float [B, T, h, w], W of eq. 5: 0 where another object hides the truth.
        boxes: float [B, T, 4] patch boxes [px].
        base: float [B, T, 2] base motion [px].
        flow_back: float [B, T, 2, h, w], flow channels of the windows reversed in time, or None.
        base_back: float [B, T, 2] base motion of the windows reversed in time [px], or None.
    """

    patches: Tensor
    visible: Tensor
    weight: Tensor
    boxes: Tensor
    base: Tensor
    flow_back: Tensor | None = None
    base_back: Tensor | None = None

    def to(self, device: torch.device | str) -> Targets:
        """Return the same targets on a device; a GPU gets them while the CPU does other things."""
        if torch.device(device).type == "cpu":
            return self
        return Targets._make(
            None if part is None else part.pin_memory().to(device, non_blocking=True)
            for part in self
        )

    def reversed(self) -> Targets:
        """Return the windows reversed in time; needs `flow_back` and `base_back`."""
        if self.flow_back is None or self.base_back is None:
            raise ValueError("targets must have flow_back and base_back to be reversed")
        back = torch.cat((self.patches[:, :, : FLOW.start], self.flow_back), 2)
        flow = self.patches[:, :, FLOW]
        parts = (back, self.visible, self.weight, self.boxes, self.base_back, flow, self.base)
        return Targets(*(part.flip(1) for part in parts))


class Losses(NamedTuple):
    """Means over valid frames: L_M, L_C, same-frame term, colour term, L_M of the merge."""

    mask: Tensor
    consistency: Tensor
    direct: Tensor
    photometric: Tensor
    merged: Tensor


class Estimate(NamedTuple):
    """Estimate of one direction for frames, [B, T, h, w] each: mask and alpha."""

    mask: Tensor
    alpha: Tensor


def weighted_bce(probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return W * BCE (eq. 4), averaged over the pixels of a patch."""
    p = probability.clamp(PROBABILITY_EPS, 1 - PROBABILITY_EPS)
    # On CPUs, logarithms of whole tensors are faster than PyTorch's cross-entropy.
    return -(weight * torch.lerp((1 - p).log(), p.log(), target)).mean((-2, -1))


def diff_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 - soft IoU of masks [..., h, w] (the paper's d_C)."""
    both = a * b
    return 1 - both.sum((-2, -1)) / (a + b - both).sum((-2, -1)).clamp_min(PROBABILITY_EPS)


def warp_forward(values: Tensor, motion: Tensor, boxes: Tensor) -> Tensor:
    """Warp values of frames 0..T-2 into the boxes of frames 1..T-1 (eq. 2).

    Args:
        values: float [B, T-1, C, h, w].
        motion: float [B, T-1, 2, h, w] [px per frame].
        boxes: float [B, T, 4] [px].
    """
    source, target = boxes[:, :-1].flatten(0, 1), boxes[:, 1:].flatten(0, 1)
    flat = warp_patch(values.flatten(0, 1), motion.flatten(0, 1), source, target)
    return flat.unflatten(0, values.shape[:2])


def carry_forward(
    prediction: Prediction, targets: Targets, model: ModelConfig, *, detach: bool = False
) -> Tensor:
    """Return M^ [B, T-1, h, w] of frames 1..T-1, from M~ of 0..T-2 along the amodal motion (eq. 2).

    `detach` lets no gradient flow into the motion.
    """
    values = prediction.mask_logits[:, :-1, None].sigmoid()
    residual = prediction.residual[:, :-1]
    return carry(values, residual.detach() if detach else residual, targets, model)[:, :, 0]


def carry_with_alpha(prediction: Prediction, targets: Targets, model: ModelConfig) -> Estimate:
    """Return M^ as carry_forward does, and alpha moved along."""
    values = torch.stack((prediction.mask_logits.sigmoid(), prediction.alpha), 2)[:, :-1]
    return Estimate(*carry(values, prediction.residual[:, :-1], targets, model).unbind(2))


def carry(values: Tensor, residual: Tensor, targets: Targets, model: ModelConfig) -> Tensor:
    """Move values of frames 0..T-2 into the patches of frames 1..T-1.

    Args:
        values: float [B, T-1, C, h, w].
        residual: float [B, T-1, 2, h, w] of the same frames [patch px].
        targets: of all T frames.
        model: whether flow and base motion are those of the earlier or of the later frame.
    """
    part = slice(1, None) if model.same_frame else slice(None, -1)
    given = targets.patches[:, part], targets.boxes[:, part], targets.base[:, part]
    if model.same_frame:
        motion = observed_motion(*given, model.motion_base)
        parts = (values, motion, residual, targets.boxes[:, :-1], targets.boxes[:, 1:])
        return pull_patch(*(p.flatten(0, 1) for p in parts)).unflatten(0, values.shape[:2])
    motion = amodal_motion(residual, *given, model.motion_base)
    return warp_forward(values, motion, targets.boxes)


def estimates(prediction: Prediction, targets: Targets, model: ModelConfig) -> Tensor:
    """Return the masks that would be published for frames 1..T-1: float [B, T-1, h, w]."""
    if model.same_frame:
        return prediction.mask_logits[:, 1:].sigmoid()
    return carry_forward(prediction, targets, model)


def merge(forward: Estimate, backward: Estimate) -> Tensor:
    """Merge both directions' masks of the same frames by the softmax of their alphas (eq. 8)."""
    share = torch.sigmoid(ALPHA_SCALE * (forward.alpha - backward.alpha))
    return share * forward.mask + (1 - share) * backward.mask


def merge_estimates(prediction: Prediction) -> Tensor:
    """Merge a stack of forward windows and the same windows reversed, of steps of the same frame.

    Returns float [B, T, h, w], all frames.
    """
    parts = (prediction.mask_logits.sigmoid(), prediction.alpha)
    forward, backward = zip(*(part.chunk(2) for part in parts), strict=True)
    return merge(Estimate(*forward), Estimate(*(part.flip(1) for part in backward)))


def merge_windows(warped: Estimate) -> Tensor:
    """Merge a stack of forward windows and the same windows reversed, [2B, T-1, h, w] each.

    The forward half estimates frames 1..T-1, the other half T-2..0; both know frames 1..T-2.
    Returns float [B, T-2, h, w], frames 1..T-2.
    """
    forward, reverse = zip(*(part.chunk(2) for part in warped), strict=True)
    backward = (part.flip(1) for part in reverse)  # now frames 0..T-2
    return merge(Estimate(*(f[:, :-1] for f in forward)), Estimate(*(b[:, 1:] for b in backward)))


def photometric(prediction: Prediction, targets: Targets, model: ModelConfig) -> Tensor:
    """Return L1 of warped and next colours where the warped V overlaps the next V: [B, T-1]."""
    patches = targets.patches
    seen = (patches[:, :, VISIBLE] > 0.5).to(patches.dtype)
    given = torch.cat((patches[:, :-1, RGB], seen[:, :-1]), 2)
    warped = carry(given, prediction.residual[:, :-1], targets, model)
    overlap = warped[:, :, 3] * seen[:, 1:, 0]
    error = (warped[:, :, :3] - patches[:, 1:, RGB]).abs().mean(2)
    return (error * overlap).sum((-2, -1)) / overlap.sum((-2, -1)).clamp_min(1.0)


def savos_losses(net: Net, targets: Targets, config: LossConfig, *, bf16: bool = False) -> Losses:
    """Run the network over windows, optionally in bfloat16, and compute the losses in float32.

    With both directions each is also compared separately, as only the forward one runs online; the
    paper compares the merge only.
    """
    if config.both_directions:
        targets = both_directions(targets)
    prediction, warped = run_windows(net, targets, bf16)
    return compare(prediction, targets, config, net.config, warped)


def both_directions(targets: Targets) -> Targets:
    """Return windows followed by the same windows reversed in time."""
    pairs = zip(targets, targets.reversed(), strict=True)
    return Targets(*(torch.cat([p for p in pair if p is not None]) for pair in pairs))


def predict(net: Net, targets: Targets, bf16: bool = False) -> Prediction:
    """Run the network over whole windows; return float32."""
    return run_windows(net, targets, bf16)[0]


def run_windows(net: Net, targets: Targets, bf16: bool = False) -> tuple[Prediction, Tensor | None]:
    """Return the prediction of `predict` and, where the network itself needs it, its M^."""
    if net.config.prior_mask:
        return run_with_prior(net, targets, bf16)
    with torch.autocast(targets.patches.device.type, torch.bfloat16, enabled=bf16):
        prediction, _ = net.sequence(targets.patches)
    return Prediction(*(p.float() for p in prediction)), None


def run_with_prior(
    net: Net, targets: Targets, bf16: bool = False
) -> tuple[Prediction, Tensor | None]:
    """Run frame by frame, each with the warped prediction as input, without its gradient.

    M^ is returned with its gradients, as carry_forward would return it.
    """
    state, steps, warped = net.initial_state(len(targets.patches)), [], []
    prior = torch.full_like(targets.visible[:, :1], UNKNOWN)
    # One context around all frames: each entry would cast all weights again.
    with torch.autocast(targets.patches.device.type, torch.bfloat16, enabled=bf16):
        for t in range(targets.patches.shape[1]):
            patches = torch.cat((targets.patches[:, t : t + 1], prior[:, :, None]), 2)
            prediction, state = net.sequence(patches, state)
            steps.append(Prediction(*(p.float() for p in prediction)))
            if t + 1 < targets.patches.shape[1]:
                both = Targets._make(p if p is None else p[:, t : t + 2] for p in targets)
                mask = steps[-1].mask_logits[:, :, None].sigmoid()
                warped.append(carry(mask, steps[-1].residual, both, net.config)[:, :, 0])
                prior = warped[-1].detach()
    prediction = Prediction(*(torch.cat(parts, 1) for parts in zip(*steps, strict=True)))
    return prediction, torch.cat(warped, 1) if warped else None


def compare(
    prediction: Prediction,
    targets: Targets,
    config: LossConfig,
    model: ModelConfig,
    warped: Tensor | None = None,
) -> Losses:
    """Compute L_M on the warped prediction, L_C between M~ and M^ of a frame, and BCE of M~.

    The same-frame term is not in the paper: with occluders pasted over the input it trains
    completion directly; without them it only requires a copy of V (docs/departures.md row 32).
    With both directions, `targets` are windows followed by the same windows reversed. `warped` is
    M^, where it is known already.
    """
    merges = config.both_directions
    estimate = None
    if merges and not model.same_frame:
        estimate = carry_with_alpha(prediction, targets, model)
        warped = estimate.mask
    elif warped is None:
        warped = carry_forward(prediction, targets, model)
    completed = prediction.mask_logits.sigmoid()
    zero = completed.new_zeros(())
    consistent = warped
    if config.detach_motion:
        consistent = carry_forward(prediction, targets, model, detach=True)
    merged = colours = zero
    if merges:
        half = len(targets.visible) // 2
        known = slice(None) if model.same_frame else slice(1, -1)
        both = merge_windows(estimate) if estimate else merge_estimates(prediction)
        visible, weight = (part[:half, known] for part in (targets.visible, targets.weight))
        merged = weighted_bce(both, visible, weight).mean()
    if config.photometric:
        colours = photometric(prediction, targets, model).mean()
    return Losses(
        weighted_bce(warped, targets.visible[:, 1:], targets.weight[:, 1:]).mean(),
        diff_iou(completed[:, 1:], consistent).mean(),
        weighted_bce(completed, targets.visible, targets.weight).mean(),
        colours,
        merged,
    )


def total_loss(losses: Losses, config: LossConfig) -> Tensor:
    """Return eq. 7 with our terms: lambda1 (L_M + L_M of the merge) + lambda2 L_C + others."""
    parts = (config.mask, config.consistency, config.direct, config.photometric, config.mask)
    return torch.stack(list(losses)) @ losses.mask.new_tensor(parts)
