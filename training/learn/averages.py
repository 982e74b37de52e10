"""Averages the weights of a run, so that its last steps do not decide alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def average_into(average: dict[str, Tensor], net: nn.Module, decay: float) -> None:
    """Update an exponential moving average of the weights, in place and in one call."""
    state = net.state_dict()
    torch._foreach_lerp_([average[name] for name in state], list(state.values()), 1 - decay)
