"""Weights that are wrong in a known way, so that a test of learning is decided by construction.

Whether a few steps improve random weights depends on the order in which a processor adds floating
point numbers. Here the last convolution is silent and the evidence gain (network.evidence) alone
decides: with a negative gain the network predicts what is not visible, and every batch asks for a
larger gain. Adam moves the gain by about the learning rate a step, whatever the rounding.
"""

from __future__ import annotations

from savos_model.config import ModelConfig
from savos_model.network.weights import Weights

MODEL = ModelConfig(width=0.0625)


def planted_weights(gain: float, name: str = "planted", **info: str) -> Weights:
    """Weights whose mask logits are 4 * gain where visible and -4 * gain on the ground."""
    import torch

    from savos_model.network.presets import make_net

    torch.manual_seed(0)
    net = make_net(MODEL)
    with torch.no_grad():
        net.leave.weight.zero_()
        net.leave.bias.zero_()
        net.evidence_gain.copy_(torch.tensor([gain, 0.0]))
    arrays = {key: value.numpy() for key, value in net.state_dict().items()}
    return Weights(name, MODEL, arrays, info)
