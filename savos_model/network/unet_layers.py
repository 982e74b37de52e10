"""Define the layer list of the recurrent U-Net, shared by torch network and ONNX graph.

The finest level has 32x64 pixels: with larger patches the first convolution is strided, and the
last one writes all patch pixels of a pixel of each output map (pixel shuffle). Strided convolutions
lead down, and 1x1 convolutions with nearest upsampling lead up, with added skip connections. Memory
is the paper's LSTM on a code of the innermost map.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from savos_model.config import ModelConfig

LEVELS = (32, 96, 192, 384)  # channels at width 1.0, finest first
GROUP = 16  # channels that GroupNorm normalises together
FINEST = 32  # rows of the finest level
MAPS = 4  # outputs: mask logits, alpha, residual motion (x, y)
MEMORY = 32  # channels of the innermost map for memory


class Conv(NamedTuple):
    """One convolution of the U-Net.

    Attributes:
        name: of the parameters.
        inputs, outputs: channels.
        kernel, stride: of rows and columns; padding keeps the size up to the stride.
        level: level of its output, 0 the finest.
        norm: whether GroupNorm and ReLU follow; it then has no bias.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    level: int
    norm: bool = True

    @property
    def padding(self) -> int:
        """Return the padding on each side."""
        return (self.kernel - 1) // 2


def channels(config: ModelConfig) -> list[int]:
    """Return the channels of each level, finest first."""
    return [config.channels(count) for count in LEVELS]


def groups(count: int) -> int:
    """Return the number of groups of GroupNorm for a number of channels."""
    return max(1, count // GROUP)


def stem(config: ModelConfig) -> int:
    """Return the rows of the patch per row of the finest level: 1 or 2."""
    return config.patch_height // FINEST


def grid(config: ModelConfig, level: int) -> tuple[int, int]:
    """Return rows and columns of a level."""
    step = stem(config) * 2**level
    return config.patch_height // step, config.patch_width // step


def memory_size(config: ModelConfig) -> int:
    """Return the number of values of the innermost map for memory."""
    return MEMORY * math.prod(grid(config, len(LEVELS) - 1))


def unet_convs(config: ModelConfig) -> Iterator[Conv]:
    """Return all convolutions in the order of a step; parameters are named after them."""
    count, last, step = channels(config), len(LEVELS) - 1, stem(config)
    inputs = 7 if config.prior_mask else 6
    yield Conv("enter", inputs, count[0], step + 2, step, 0)
    for i in range(last):
        yield Conv(f"down.{i}", count[i], count[i + 1], 3, 2, i + 1)
    yield Conv("mid", count[last], count[last], 3, 1, last)
    yield Conv("squeeze", count[last], MEMORY, 1, 1, last, norm=False)
    yield Conv("fuse", count[last] + MEMORY, count[last], 3, 1, last)
    for i in reversed(range(last)):
        yield Conv(f"up.{i}", count[i + 1], count[i], 1, 1, i + 1, norm=False)
        yield Conv(f"join.{i}", count[i], count[i], 3, 1, i)
    yield Conv("leave", count[0], MAPS * step**2, 3, 1, 0, norm=False)


def unet_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the parameters of convolutions and of memory's linear layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in unet_convs(config):
        weight = (conv.outputs, conv.inputs, conv.kernel, conv.kernel)
        if conv.norm:
            shapes[f"{conv.name}.conv.weight"] = weight
            shapes[f"{conv.name}.norm.weight"] = shapes[f"{conv.name}.norm.bias"] = (conv.outputs,)
        else:
            shapes[f"{conv.name}.weight"], shapes[f"{conv.name}.bias"] = weight, (conv.outputs,)
    size = memory_size(config)
    shapes |= {"code.weight": (config.hidden, size), "code.bias": (config.hidden,)}
    return shapes | {"spread.weight": (size, config.hidden), "spread.bias": (size,)}


def unet_flop(config: ModelConfig) -> int:
    """Return multiplications and additions of the convolutions in one track's step."""
    return sum(
        2 * conv.inputs * conv.outputs * conv.kernel**2 * math.prod(grid(config, conv.level))
        for conv in unet_convs(config)
    )
