"""Write the U-Net in ONNX Runtime's blocked layout, in which its convolutions compute on CPUs.

ONNX Runtime converts maps to this layout before each convolution, and back for every operator that
does not support it. The norms are such operators, although they need no conversion: a group of
channels is contiguous in both layouts. The operators are those that ONNX Runtime's optimizer writes
for itself; `block_size` checks whether they work here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from savos_model.backends.onnx_graph import IR, Graph, Layers, shape_of
from savos_model.backends.reference import TOLERANCE
from savos_model.config import ModelConfig
from savos_model.network.layers import NORM_EPS
from savos_model.network.unet_layers import Conv, groups, unet_convs

DOMAIN = "com.microsoft.nchwc"
SAME: dict[str, Any] = {"auto_pad": "NOTSET", "dilations": [1, 1]}
WIDEST = 16  # channels of the largest block that any processor has
OUTPUTS = WIDEST + 4  # of the probe, whose last block is not full


class BlockedLayers(Layers):
    """Layers on maps [N, C / block, H, W, block], which ONNX Runtime handles as [N, C, H, W]."""

    def __init__(self, graph: Graph, block: int) -> None:
        super().__init__(graph)
        self.block = block

    def enter(self, x: str) -> str:
        """Implement Layers.enter."""
        return self.graph.add("ReorderInput", [x], domain=DOMAIN, channels_last=0)

    def leave(self, x: str, channels: int) -> str:
        """Implement Layers.leave."""
        return self.graph.add(
            "ReorderOutput", [x], domain=DOMAIN, channels=channels, channels_last=0
        )

    def twice(self, x: str) -> str:
        """Implement Layers.twice."""
        return self.graph.add(
            "Upsample", [x], domain=DOMAIN, scales=[1, 1, 2, 2], mode="nearest",
            coordinate_transformation_mode="asymmetric",
        )  # fmt: skip

    def conv(self, x: str, conv: Conv, size: tuple[int, int]) -> str:
        """Implement Layers.conv; the affine part of the norm is a depthwise convolution."""
        graph, name, shape = self.graph, conv.name, shape_of(conv)
        kernel = f"{name}.conv.weight" if conv.norm else f"{name}.weight"
        blocked = blocked_kernel(whole_blocks(graph.arrays[kernel], self.block), self.block)
        inputs = [x, graph.weight(f"{kernel}.blocked", blocked)]
        if not conv.norm:
            bias = whole_blocks(graph.arrays[f"{name}.bias"], self.block)
            return self.convolve([*inputs, graph.weight(f"{name}.bias.blocked", bias)], shape)
        x = self.normed(self.convolve(inputs, shape), conv.outputs, size)
        scale = graph.arrays[f"{name}.norm.weight"].reshape(-1, 1, 1, 1)
        affine = [graph.weight(f"{name}.norm.scale", scale), graph.weight(f"{name}.norm.bias")]
        pixel = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4}
        return self.convolve([x, *affine], pixel, conv.outputs, activation="Relu")

    def convolve(
        self, inputs: list[str], shape: dict[str, Any], count: int = 1, **more: Any
    ) -> str:
        """Add a convolution in `count` groups of channels."""
        return self.graph.add("Conv", inputs, domain=DOMAIN, group=count, **SAME, **shape, **more)

    def normed(self, x: str, channels: int, size: tuple[int, int]) -> str:
        """Add GroupNorm without its affine part."""
        graph, count = self.graph, groups(channels)
        grouped = graph.constant(f"grouped{count}", np.array([0, count, -1], np.int64))
        back = graph.constant(f"shape{channels, *size}", np.array([0, channels, *size], np.int64))
        ones = graph.constant(f"ones{count}", np.ones(count, np.float32))
        zeros = graph.constant(f"zeros{count}", np.zeros(count, np.float32))
        inputs = [graph.add("Reshape", [x, grouped]), ones, zeros]
        x = graph.add("InstanceNormalization", inputs, epsilon=NORM_EPS)
        return graph.add("Reshape", [x, back])


def whole_blocks(values: np.ndarray, block: int) -> np.ndarray:
    """Return parameters of output channels [D, ...] with zeros up to a whole number of blocks."""
    return np.pad(values, [(0, -len(values) % block), *[(0, 0)] * (values.ndim - 1)])


def blocked_kernel(kernel: np.ndarray, block: int) -> np.ndarray:
    """Return a kernel [D, C, h, w] in the order in which blocked convolutions read it.

    Blocks of outputs, then of inputs, rows, columns, inputs of a block, outputs of a block. Fewer
    inputs than a block are read from maps [N, C, H, W], one after the other.
    """
    outputs, inputs, rows, columns = kernel.shape
    inner = block if inputs >= block else 1
    parts = kernel.reshape(outputs // block, block, inputs // inner, inner, rows, columns)
    return np.ascontiguousarray(parts.transpose(0, 2, 4, 5, 3, 1)).reshape(kernel.shape)


def best_layers(model: ModelConfig) -> Callable[[Graph], Layers]:
    """Return the blocked layers if they work here and suit the network, else the standard ones."""
    block = block_size()
    return partial(BlockedLayers, block=block) if block and fits(model, block) else Layers


def fits(model: ModelConfig, block: int) -> bool:
    """Return whether the channels of a network, and of its norms' groups, fill whole blocks."""
    if model.preset != "online":
        return False
    first, *others, last = unet_convs(model)
    inner = (n for conv in others for n in (conv.inputs, conv.outputs))
    counts = {first.outputs, last.inputs, *inner}
    return first.inputs < block and all(n % (block * groups(n)) == 0 for n in counts)


@cache
def block_size() -> int:
    """Return the channels of a block on this processor, 0 if the layout cannot be used.

    It is internal to ONNX Runtime, so its results are compared with those of the standard one.
    """
    try:
        block = probed_block()
        want, got = (probe(kind) for kind in (Layers, partial(BlockedLayers, block=block)))
    except Exception:  # of any type: other versions may lack an operator
        return 0
    return block if np.abs(got - want).max() < TOLERANCE["fp32"] else 0


def probed_block() -> int:
    """Return how far apart neighbouring pixels are in the blocked layout."""
    graph = Graph({})
    made = BlockedLayers(graph, 0).enter("x")
    pixels = np.arange(2 * WIDEST, dtype=np.float32).reshape(1, WIDEST, 1, 2)
    return int(np.flatnonzero(run(graph, made, pixels).ravel() == 1)[0])


def probe(kind: Callable[[Graph], Layers]) -> np.ndarray:
    """Return the results of a small network that has each kind of layer once."""
    rng = np.random.default_rng(0)
    first, second = Conv("first", 3, WIDEST, 4, 2, 0), Conv("second", WIDEST, OUTPUTS, 3, 1, 0)
    arrays = {
        "first.conv.weight": rng.normal(size=(WIDEST, 3, 4, 4)),
        "first.norm.weight": rng.normal(size=WIDEST),
        "first.norm.bias": rng.normal(size=WIDEST),
        "second.weight": rng.normal(size=(OUTPUTS, WIDEST, 3, 3)) / WIDEST,
        "second.bias": rng.normal(size=OUTPUTS),
    }
    graph = Graph({name: value.astype(np.float32) for name, value in arrays.items()})
    layers, size = kind(graph), (4, 6)
    x = layers.conv("x", first, size)
    x = layers.twice(layers.conv(x, second._replace(norm=False), size))
    pixels = rng.random((2, 3, 8, 12), np.float32)
    return run(graph, layers.leave(x, second.outputs), pixels)


def run(graph: Graph, output: str, x: np.ndarray) -> np.ndarray:
    """Return an output of a graph with one input x."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", x.shape), (output, None))
    ]
    proto = helper.make_graph(graph.nodes, "probe", ends[:1], ends[1:], graph.initialisers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(proto, opset_imports=graph.opsets(), ir_version=IR)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    return session.run([output], {"x": x})[0]
