"""Create the network of a preset."""

from savos_model.config import ModelConfig
from savos_model.network.net import SavosNet
from savos_model.network.unet import RecurrentUNet

Net = SavosNet | RecurrentUNet  # one interface: initial_state, step, sequence


def make_net(config: ModelConfig) -> Net:
    """Return a new network: RecurrentUNet for preset online, otherwise SavosNet."""
    return RecurrentUNet(config) if config.preset == "online" else SavosNet(config)
