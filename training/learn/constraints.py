"""Switches parts of the network off for ablations, by weights that stay as they must be.

The inference code needs to know nothing of it: the constrained weights run like any others.
"""

from __future__ import annotations

import torch
from torch import nn

from savos_model.network.layers import FLOW, PRIOR, RGB
from savos_model.network.net import SavosNet
from savos_model.network.presets import Net
from savos_model.network.unet_layers import stem
from savos_model.settings import SettingError

CLOSED = -30.0  # bias of a gate that lets nothing through: sigmoid(-30) < 1e-12


def forget_memory(net: Net) -> None:
    """Make h a function of this frame alone (supplement Table 1, no temporal embedding)."""
    lstm, hidden = net.lstm, net.config.hidden
    forget = slice(hidden, 2 * hidden)  # torch orders the gates input, forget, cell, output
    lstm.weight_hh_l0.zero_()
    lstm.weight_ih_l0[forget] = 0
    lstm.bias_ih_l0[forget] = CLOSED
    lstm.bias_hh_l0[forget] = 0


def ignore_image(net: Net) -> None:
    """Cut the colours off (supplement Table 3)."""
    for conv in first_convs(net):
        conv.weight[:, RGB] = 0


def ignore_flow(net: Net) -> None:
    """Cut the flow channels off (supplement Table 3); training then feeds no base motion either."""
    for conv in first_convs(net):
        conv.weight[:, FLOW] = 0
    if isinstance(net, SavosNet):
        net.motion_encoder.stages[0][0].weight.zero_()


def ignore_prior(net: Net) -> None:
    """Cut the warped mask of the neighbouring frame off; raises SettingError without that input."""
    if not net.config.prior_mask:
        raise SettingError(
            "without must not be prior where prior_mask is off: leave one of the two out"
        )
    for conv in first_convs(net):
        conv.weight[:, PRIOR] = 0
    if isinstance(net, SavosNet):  # its encoder of masks reads V and the prior
        net.mask_encoder.stages[0][0].weight[:, 1] = 0
    net.evidence_gain[1] = 0


def no_residual(net: Net) -> None:
    """Predict no residual motion, for losses that train none."""
    if isinstance(net, SavosNet):
        last, motion = net.motion_decoder.stages[-1][-1], slice(None)
    else:  # of the pixel shuffle's inputs
        last, motion = net.leave, slice(2 * stem(net.config) ** 2, None)
    last.weight[motion] = 0
    last.bias[motion] = 0


PARTS = {
    "memory": forget_memory,
    "image": ignore_image,
    "flow": ignore_flow,
    "prior": ignore_prior,
    "residual": no_residual,
}


def first_convs(net: Net) -> list[nn.Conv2d]:
    """Return the convolutions that read the whole patch."""
    if isinstance(net, SavosNet):
        return [net.embed_encoder.stages[0][0]]
    return [net.enter.conv]


@torch.no_grad()
def constrain(net: Net, part: str) -> None:
    """Put the weights of a switched-off part back to where they must be; "" is none of PARTS."""
    if part:
        PARTS[part](net)
