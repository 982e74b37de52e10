"""Define the recurrent U-Net in torch: steps estimate the mask of their frame."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from savos_model.config import ModelConfig
from savos_model.network.layers import GAIN_START, NORM_EPS
from savos_model.network.net import Prediction, StepState, evidence
from savos_model.network.unet_layers import LEVELS, MEMORY, Conv, grid, groups, stem, unet_convs

SMALL = 0.3  # initial scale of the last convolution, so that evidence dominates at first


class NormedConv(nn.Module):
    """Convolution, GroupNorm, ReLU."""

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            conv.inputs, conv.outputs, conv.kernel, conv.stride, conv.padding, bias=False
        )
        self.norm = nn.GroupNorm(groups(conv.outputs), conv.outputs, NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; x float [N, C, H, W]."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


def plain_conv(conv: Conv) -> nn.Conv2d:
    """Return a convolution without norm and activation."""
    return nn.Conv2d(conv.inputs, conv.outputs, conv.kernel, conv.stride, conv.padding)


class RecurrentUNet(nn.Module):
    """F_theta of eq. 1 with skip connections; same interface as SavosNet."""

    enter: nn.Module
    squeeze: nn.Module
    mid: nn.Module
    fuse: nn.Module
    leave: nn.Conv2d
    down: nn.ModuleDict
    up: nn.ModuleDict
    join: nn.ModuleDict

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.levels = config, len(LEVELS) - 1
        convs = {c.name: (NormedConv if c.norm else plain_conv)(c) for c in unet_convs(config)}
        ladders = ("down", "up", "join")
        for name in ladders:
            rungs = {key.split(".")[1]: m for key, m in convs.items() if key.startswith(name + ".")}
            self.add_module(name, nn.ModuleDict(rungs))
        for name, module in convs.items():
            if "." not in name:
                self.add_module(name, module)
        self.innermost = grid(config, self.levels)
        size = MEMORY * self.innermost[0] * self.innermost[1]
        self.code = nn.Linear(size, config.hidden)
        self.lstm = nn.LSTM(config.hidden, config.hidden, batch_first=True)
        self.spread = nn.Linear(config.hidden, size)
        if config.prior_mask:
            self.evidence_gain = nn.Parameter(torch.full((2,), GAIN_START))
        assert self.leave.bias is not None
        with torch.no_grad():
            self.leave.weight.mul_(SMALL)
            self.leave.bias.zero_()

    def initial_state(self, tracks: int) -> StepState:
        """Return the state of new tracks: zeros [N, D]."""
        zeros = self.leave.weight.new_zeros(tracks, self.config.hidden)
        return StepState(zeros, zeros)

    def step(self, patches: Tensor, state: StepState) -> tuple[Prediction, StepState]:
        """Run one frame of N tracks like SavosNet.step; flow leads into the previous frame."""
        prediction, state = self.sequence(patches[:, None], state)
        return Prediction(*(p[:, 0] for p in prediction)), state

    def sequence(
        self, patches: Tensor, state: StepState | None = None
    ) -> tuple[Prediction, StepState]:
        """Run T frames of N tracks like SavosNet.sequence; equal to T calls of `step`."""
        split = patches.shape[:2]
        state = state or self.initial_state(split[0])
        flat = patches.flatten(0, 1)
        x = self.enter(flat.contiguous(memory_format=torch.channels_last))
        skips = []
        for i in range(self.levels):
            skips.append(x)
            x = self.down[str(i)](x)
        x = self.mid(x)
        code = self.code(self.squeeze(x).flatten(1)).unflatten(0, split)  # eq. 9
        h, last = self.lstm(code, (state.h[None].to(code.dtype), state.c[None].to(code.dtype)))
        memory = self.spread(h.flatten(0, 1)).unflatten(1, (MEMORY, *self.innermost))
        x = self.fuse(torch.cat((x, memory), 1))
        for i in reversed(range(self.levels)):
            # The 1x1 convolution before the nearest upsampling: same result, a quarter of the cost.
            up = F.interpolate(self.up[str(i)](x), scale_factor=2.0, mode="nearest")
            x = self.join[str(i)](up + skips[i])
        out = F.pixel_shuffle(self.leave(x), stem(self.config)).float()
        # A single split: separate slices would each cost a full gradient of zeros.
        mask_logits, alpha, residual = out.split((1, 1, 2), 1)
        mask_logits = mask_logits.squeeze(1)
        if self.config.prior_mask:
            mask_logits = mask_logits + evidence(flat, self.evidence_gain, self.config)
        prediction = Prediction(
            mask_logits.unflatten(0, split),
            alpha.squeeze(1).unflatten(0, split),
            residual.unflatten(0, split),
            h,
        )
        return prediction, StepState(*(part[0].float() for part in last))
