"""Averages the weights of a run, so that its last steps do not decide alone."""

from __future__ import annotations

from torch import Tensor, nn


def average_into(average: dict[str, Tensor], net: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights, in place."""
    for name, value in net.state_dict().items():
        average[name].lerp_(value, 1 - decay)
