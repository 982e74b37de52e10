"""Switches parts of the network off for ablations, by weights that stay as they must be.

The inference code needs to know nothing of it: the constrained weights run like any others.
"""

from __future__ import annotations

import torch
from torch import nn

from savos_model.layers import FLOW, RGB
from savos_model.network import SavosNet

CLOSED = -30.0  # bias of a gate that lets nothing through: sigmoid(-30) < 1e-12


def forget_memory(net: SavosNet) -> None:
    """Make h a function of this frame alone (supplement Table 1, no temporal embedding)."""
    lstm, hidden = net.lstm, net.config.hidden
    forget = slice(hidden, 2 * hidden)  # torch orders the gates input, forget, cell, output
    lstm.weight_hh_l0.zero_()
    lstm.weight_ih_l0[forget] = 0
    lstm.bias_ih_l0[forget] = CLOSED
    lstm.bias_hh_l0[forget] = 0


def ignore_image(net: SavosNet) -> None:
    """Cut the colours off (supplement Table 3)."""
    first_conv(net.embed_encoder).weight[:, RGB] = 0


def ignore_flow(net: SavosNet) -> None:
    """Cut the flow channels off (supplement Table 3); training then feeds no base motion either."""
    first_conv(net.embed_encoder).weight[:, FLOW] = 0
    first_conv(net.motion_encoder).weight.zero_()


def no_residual(net: SavosNet) -> None:
    """Predict no motion of its own, for losses that train none."""
    last = net.motion_decoder.stages[-1][-1]
    last.weight.zero_()
    last.bias.zero_()


PARTS = {
    "memory": forget_memory,
    "image": ignore_image,
    "flow": ignore_flow,
    "residual": no_residual,
}


def first_conv(encoder: nn.Module) -> nn.Conv2d:
    """The convolution that reads the patch."""
    return encoder.stages[0][0]


@torch.no_grad()
def constrain(net: SavosNet, part: str) -> None:
    """Put the weights of a switched-off part back to where they must be; "" is none of PARTS."""
    if part:
        PARTS[part](net)
