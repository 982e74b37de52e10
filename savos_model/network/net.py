"""Define the SaVos network: embedding, mask completer, motion predictor (section 3.3)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from savos_model.config import ModelConfig
from savos_model.network.layers import (
    DECODERS,
    EMBEDDING,
    FLOW,
    GAIN_SCALE,
    GAIN_START,
    LEAK,
    NORM_EPS,
    PRIOR,
    VISIBLE,
    Stage,
    completer_channels,
    decoder_stages,
    encoders,
)


class StepState(NamedTuple):
    """Recurrent state of N tracks: hidden and cell, each float [N, D]."""

    h: Tensor
    c: Tensor


class Prediction(NamedTuple):
    """Output of the network for N tracks (and T frames): leading axes [N] or [N, T].

    mask_logits, alpha: float [..., H, W]; residual: float [..., 2, H, W], motion beyond the base
    motion in the units of the flow channels; h: float [..., D].
    """

    mask_logits: Tensor
    alpha: Tensor
    residual: Tensor
    h: Tensor


class WholeConv2d(nn.Conv2d):
    """A convolution whose kernel covers its input: [N, C, *kernel] -> [N, D, 1, 1].

    Computed as a matrix product, which is several times as fast on CPUs, channels last.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; x float [N, C, *kernel]."""
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(x.permute(0, 2, 3, 1).flatten(1), weight, self.bias)[:, :, None, None]


class WholeConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of one pixel, like WholeConv2d: [N, C, 1, 1] -> [N, D, *kernel]."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the size is fixed
        """Convolve; x float [N, C, 1, 1]."""
        assert self.bias is not None
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        rows, cols = self.kernel_size
        y = F.linear(x.flatten(1), weight, self.bias.repeat(rows * cols))
        return y.unflatten(1, (rows, cols, -1)).permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """Convolutions down to 1x1 and a linear layer: [N, C, H, W] -> [N, D]."""

    def __init__(self, stages: list[Stage], outputs: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                (WholeConv2d if stage is stages[-1] else nn.Conv2d)(*stage),
                nn.GroupNorm(1, stage.outputs, NORM_EPS),
                nn.LeakyReLU(LEAK, inplace=True),  # a third less memory in training
            )
            for stage in stages
        )
        self.linear = nn.Linear(stages[-1].outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Encode; x float [N, C, H, W]."""
        for stage in self.stages:
            x = stage(x)
        return self.linear(x.flatten(1))


class Decoder(nn.Module):
    """A linear layer and transposed convolutions up to the patch: [N, 2D] -> [N, 2, H, W]."""

    def __init__(self, stages: list[Stage], inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, stages[0].inputs)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, stage.inputs, NORM_EPS),
                nn.LeakyReLU(LEAK, inplace=True),
                (WholeConvTranspose2d if stage is stages[0] else nn.ConvTranspose2d)(*stage),
            )
            for stage in stages
        )

    def forward(self, x: Tensor) -> Tensor:
        """Decode; x float [N, 2D]."""
        x = self.linear(x)[:, :, None, None]
        for stage in self.stages:
            x = stage(x)
        return x


def evidence(patches: Tensor, gains: Tensor, config: ModelConfig) -> Tensor:
    """Return the logits [N, H, W] that V and the prior add directly.

    A single vector cannot encode a mask's outline to the pixel. V adds positive logits, background
    negative ones, and the visible area of other objects none.

    Args:
        patches: float [N, 7, H, W], with the prior.
        gains: float [2], of V and of the prior, in units of GAIN_SCALE.
        config: of the network.
    """
    visible, prior = patches[:, VISIBLE][:, 0], patches[:, PRIOR][:, 0]
    others = -1 - visible if config.occluder_hint else torch.zeros_like(visible)
    seen = torch.maximum(2 * visible - 1, others)
    for_visible, for_prior = GAIN_SCALE * gains
    return for_visible * seen + for_prior * (2 * prior - 1)


class SavosNet(nn.Module):
    """The network F_theta of eq. 1; `step` and `sequence` share all weights.

    At width 1.0 and 64x128 patches it has the released network's 17,303,124 parameters.
    """

    embed_encoder: Encoder
    mask_encoder: Encoder
    motion_encoder: Encoder
    mask_decoder: Decoder
    motion_decoder: Decoder

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        code = config.channels(EMBEDDING)
        for name, stages in encoders(config).items():
            self.add_module(name, Encoder(stages, code))
        for name in DECODERS:
            self.add_module(name, Decoder(decoder_stages(config), 2 * code))
        self.lstm = nn.LSTM(code, config.hidden, batch_first=True)
        self.completer_channels = completer_channels(config)
        if config.prior_mask:
            self.evidence_gain = nn.Parameter(torch.full((2,), GAIN_START))

    def initial_state(self, tracks: int) -> StepState:
        """Return the state of new tracks: zeros [N, D]."""
        zeros = next(self.parameters()).new_zeros(tracks, self.config.hidden)
        return StepState(zeros, zeros)

    def step(self, patches: Tensor, state: StepState) -> tuple[Prediction, StepState]:
        """Run one frame of N tracks.

        Args:
            patches: float [N, 6 or 7, H, W]: RGB in [0, 1], visible mask, flow (x, y) and, with
                prior_mask, the mask predicted for this frame.
            state: recurrent state after the previous frame.

        Returns:
            The prediction [N, ...] and the new state.
        """
        prediction, state = self.sequence(patches[:, None], state)
        return Prediction(*(p[:, 0] for p in prediction)), state

    def sequence(
        self, patches: Tensor, state: StepState | None = None
    ) -> tuple[Prediction, StepState]:
        """Run T frames of N tracks in one call; equal to T calls of `step`.

        Args:
            patches: float [N, T, 6 or 7, H, W].
            state: state before the first frame; None for zeros.
        """
        tracks, frames = patches.shape[:2]
        state = state or self.initial_state(tracks)
        flat = patches.flatten(0, 1)
        features = self.embed_encoder(flat).unflatten(0, (tracks, frames))  # eq. 9
        h, (h_last, c_last) = self.lstm(features, (state.h[None], state.c[None]))  # eq. 10
        h_flat = h.flatten(0, 1)
        mask_code = self.mask_encoder(flat[:, self.completer_channels])
        completed = self.mask_decoder(torch.cat([h_flat, mask_code], 1))  # eq. 11
        motion_code = self.motion_encoder(flat[:, FLOW])
        residual = self.motion_decoder(
            torch.cat([h_flat, motion_code], 1)
        )  # eq. 12, without its base
        mask_logits = completed[:, 0]
        if self.config.prior_mask:
            mask_logits = mask_logits + evidence(flat, self.evidence_gain, self.config)
        split = (tracks, frames)
        prediction = Prediction(
            mask_logits.unflatten(0, split),
            completed[:, 1].unflatten(0, split),
            residual.unflatten(0, split),
            h,
        )
        return prediction, StepState(h_last[0], c_last[0])
