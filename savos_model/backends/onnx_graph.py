"""Build the step network as an ONNX graph from layer list and weights, without torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from savos_model.config import ModelConfig
from savos_model.network.layers import (
    DECODERS,
    FLOW,
    GAIN_SCALE,
    LEAK,
    NORM_EPS,
    PRIOR,
    VISIBLE,
    Stage,
    completer_channels,
    convolved,
    decoder_stages,
    deconvolved,
    encoders,
    input_channels,
)
from savos_model.network.unet_layers import (
    LEVELS,
    MAPS,
    MEMORY,
    Conv,
    grid,
    groups,
    stem,
    unet_convs,
)
from savos_model.network.weights import Weights

OPSET, IR = 17, 8
INPUTS = ("patches", "h", "c")
OUTPUTS = ("mask_logits", "alpha", "residual", "h_out", "c_out")
APART_BYTES = 1024  # constants of at least this size can be stored separately


class Graph:
    """Nodes and initialisers under construction."""

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        apart: dict[str, np.ndarray] | None = None,
        precision: str = "fp32",
    ) -> None:
        self.arrays = arrays
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self.names: set[str] = set()
        self.domains = {""}  # of the operators
        self.apart, self.half = apart, precision == "fp16"

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initialiser once; return its name."""
        if name in self.names:
            return name
        self.names.add(name)
        value = np.ascontiguousarray(value)
        if self.apart is None or value.nbytes < APART_BYTES:
            self.initialisers.append(numpy_helper.from_array(value, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            named = TensorProto(name=name, data_type=kind, dims=value.shape)
            named.data_location = TensorProto.EXTERNAL
            named.external_data.add(key="location", value="passed to the session")
            self.initialisers.append(named)
            self.apart[name] = value
        return name

    def weight(self, name: str, value: np.ndarray | None = None) -> str:
        """Return a parameter of the network, or a derived value, in the graph's precision."""
        value = self.arrays[name] if value is None else value
        return self.constant(name, value.astype(np.float16) if self.half else value)

    def low(self, x: str) -> str:
        """Cast to the precision of encoders and decoders."""
        return self.add("Cast", [x], to=TensorProto.FLOAT16) if self.half else x

    def full(self, x: str) -> str:
        """Cast to float32, which states, evidence and outputs use."""
        return self.add("Cast", [x], to=TensorProto.FLOAT) if self.half else x

    def add(
        self, kind: str, inputs: list[str], output: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output; return the output's name."""
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        self.domains.add(domain)
        return output

    def opsets(self) -> list[onnx.OperatorSetIdProto]:
        """Return the versions of the operators."""
        return [helper.make_opsetid(name, 1 if name else OPSET) for name in sorted(self.domains)]

    def slice(self, x: str, part: slice, axis: int = 1, output: str = "") -> str:
        """Add x[:, part] along one axis."""
        ends = [
            self.constant(f"i{v}", np.array([v], np.int64)) for v in (part.start, part.stop, axis)
        ]
        return self.add("Slice", [x, *ends], output)

    def linear(self, x: str, name: str) -> str:
        """Add X @ W.T + b."""
        return self.add(
            "Gemm", [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")], transB=1
        )

    def norm(self, x: str, name: str, shape: tuple[int, ...]) -> str:
        """Add GroupNorm with one group, then LeakyReLU, as LayerNormalization over `shape`.

        The affine part is expanded to rows and columns for a single fused operator. Its sums are
        float32 in float16, too (the operator's default).
        """
        return self.add("LeakyRelu", [self.layer_norm(x, name, shape)], alpha=LEAK)

    def layer_norm(self, x: str, name: str, shape: tuple[int, ...]) -> str:
        """Add GroupNorm with one group."""
        affine = [
            self.weight(f"{name}.{kind}.spread", spread(self.arrays[f"{name}.{kind}"], shape))
            for kind in ("weight", "bias")
        ]
        return self.add("LayerNormalization", [x, *affine], axis=1, epsilon=NORM_EPS)

    def group_norm(self, x: str, name: str, shape: tuple[int, ...], count: int) -> str:
        """Add GroupNorm of x [N, *shape] in `count` groups; sums are float32 in float16, too."""
        if count == 1:
            return self.layer_norm(x, name, shape)
        inner = math.prod(shape) // count
        ones = self.weight(f"ones{inner}", np.ones(inner, np.float32))
        zeros = self.weight(f"zeros{inner}", np.zeros(inner, np.float32))
        grouped = self.constant(f"grouped{count}", np.array([0, count, -1], np.int64))
        back = self.constant(f"shape{shape}", np.array([0, *shape], np.int64))
        x = self.add("Reshape", [x, grouped])
        x = self.add("LayerNormalization", [x, ones, zeros], axis=2, epsilon=NORM_EPS)
        x = self.add("Reshape", [x, back])
        weight, bias = (
            self.weight(f"{name}.{kind}.column", self.arrays[f"{name}.{kind}"][:, None, None])
            for kind in ("weight", "bias")
        )
        return self.add("Add", [self.add("Mul", [x, weight]), bias])


def spread(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Repeat per-channel values [C] to `shape` [C, ...]."""
    return np.broadcast_to(values.reshape(-1, *[1] * (len(shape) - 1)), shape)


def pads(stage: Stage) -> list[int]:
    """Return padding in ONNX order: starts, then ends."""
    return [*stage.padding, *stage.padding]


def encoder(graph: Graph, name: str, x: str, stages: list[Stage], size: tuple[int, int]) -> str:
    """Add the nodes of an encoder; return the code [N, D].

    The last kernel covers its input: a matrix product, as in network.WholeConv2d.
    """
    for i, s in enumerate(stages[:-1]):
        prefix = f"{name}.stages.{i}"
        inputs = [x, graph.weight(f"{prefix}.0.weight"), graph.weight(f"{prefix}.0.bias")]
        x = graph.add("Conv", inputs, kernel_shape=s.kernel, strides=s.stride, pads=pads(s))
        size = convolved(s, size)
        x = graph.norm(x, f"{prefix}.1", (s.outputs, *size))
    prefix = f"{name}.stages.{len(stages) - 1}"
    whole = graph.arrays[f"{prefix}.0.weight"].reshape(stages[-1].outputs, -1)
    inputs = [
        graph.add("Flatten", [x], axis=1),
        graph.weight(f"{prefix}.0.weight", whole),
        graph.weight(f"{prefix}.0.bias"),
    ]
    x = graph.norm(graph.add("Gemm", inputs, transB=1), f"{prefix}.1", (stages[-1].outputs,))
    return graph.linear(x, f"{name}.linear")


def decoder(graph: Graph, name: str, x: str, stages: list[Stage]) -> str:
    """Add the nodes of a decoder; return [N, 2, H, W].

    The first transposed convolution has one pixel: a matrix product, as in
    network.WholeConvTranspose2d.
    """
    first, prefix = stages[0], f"{name}.stages.0"
    x = graph.norm(graph.linear(x, f"{name}.linear"), f"{prefix}.0", (first.inputs,))
    whole = graph.arrays[f"{prefix}.2.weight"].reshape(first.inputs, -1)
    bias = np.repeat(graph.arrays[f"{prefix}.2.bias"], first.kernel[0] * first.kernel[1])
    inputs = [x, graph.weight(f"{prefix}.2.weight", whole), graph.weight(f"{prefix}.2.bias", bias)]
    shape = graph.constant("first", np.array([-1, first.outputs, *first.kernel], np.int64))
    x, size = graph.add("Reshape", [graph.add("Gemm", inputs), shape]), first.kernel
    for i, s in enumerate(stages[1:], 1):
        prefix = f"{name}.stages.{i}"
        x = graph.norm(x, f"{prefix}.0", (s.inputs, *size))
        inputs = [x, graph.weight(f"{prefix}.2.weight"), graph.weight(f"{prefix}.2.bias")]
        x = graph.add(
            "ConvTranspose", inputs, kernel_shape=s.kernel, strides=s.stride, pads=pads(s)
        )
        size = deconvolved(s, size)
    return graph.full(x)


def lstm_cell(graph: Graph, x: str, hidden: int) -> str:
    """Add an LSTM step with explicit state (torch's gate order i, f, g, o); return the new h."""
    total = graph.arrays["lstm.bias_ih_l0"] + graph.arrays["lstm.bias_hh_l0"]
    both = np.concatenate((graph.arrays["lstm.weight_ih_l0"], graph.arrays["lstm.weight_hh_l0"]), 1)
    inputs = [
        graph.add("Concat", [x, graph.low("h")], axis=1),
        graph.weight("lstm.weight", both),
        graph.weight("lstm.bias", total),
    ]
    gates = graph.full(graph.add("Gemm", inputs, transB=1))
    i, f, g, o = (graph.slice(gates, slice(k * hidden, (k + 1) * hidden)) for k in range(4))
    i, f, o = (graph.add("Sigmoid", [gate]) for gate in (i, f, o))
    kept = graph.add("Mul", [f, "c"])
    added = graph.add("Mul", [i, graph.add("Tanh", [g])])
    graph.add("Add", [kept, added], "c_out")
    return graph.add("Mul", [o, graph.add("Tanh", ["c_out"])], "h_out")


class Layers:
    """Layers of the U-Net as standard operators on maps [N, C, H, W].

    Those of an engine may use another layout of maps, which `enter` and `leave` convert.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def enter(self, x: str) -> str:
        """Return maps [N, C, H, W] in the layout of the layers."""
        return x

    def leave(self, x: str, channels: int) -> str:
        """Return maps as [N, C, H, W]."""
        return x

    def twice(self, x: str) -> str:
        """Add nearest upsampling to twice as many rows and columns."""
        scales = self.graph.constant("twice", np.array([1, 1, 2, 2], np.float32))
        return self.graph.add(
            "Resize", [x, "", scales], mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def conv(self, x: str, conv: Conv, size: tuple[int, int]) -> str:
        """Add a convolution, with GroupNorm and ReLU if it has them; `size` is of its output."""
        graph, shape = self.graph, shape_of(conv)
        if not conv.norm:
            inputs = [x, graph.weight(f"{conv.name}.weight"), graph.weight(f"{conv.name}.bias")]
            return graph.add("Conv", inputs, **shape)
        x = graph.add("Conv", [x, graph.weight(f"{conv.name}.conv.weight")], **shape)
        x = graph.group_norm(x, f"{conv.name}.norm", (conv.outputs, *size), groups(conv.outputs))
        return graph.add("Relu", [x])


def shape_of(conv: Conv) -> dict[str, Any]:
    """Return the attributes of the operator Conv."""
    return {
        "kernel_shape": [conv.kernel] * 2,
        "strides": [conv.stride] * 2,
        "pads": [conv.padding] * 4,
    }


def build_step(
    weights: Weights,
    apart: dict[str, np.ndarray] | None = None,
    precision: str = "fp32",
    layers: Callable[[Graph], Layers] = Layers,
) -> onnx.ModelProto:
    """Build the step: patches [N, C, H, W], h, c to mask logits, alpha, residual, h, c.

    N is free. Inputs and outputs are float32 in either precision; in fp16 encoders, decoders and
    the gates' matrix product are float16, and state and evidence stay float32.

    `apart` receives the large constants, which the model then only names; a session gets both.
    Otherwise they are copied, which blocks running frames while another thread builds. `layers`
    writes those of preset `online`.
    """
    model, graph = weights.model, Graph(weights.arrays, apart, precision)
    if model.preset == "online":
        mask = unet_maps(graph, model, layers(graph))
    else:
        mask = encoder_decoder_maps(graph, model)
    if model.prior_mask:
        mask = graph.add("Add", [mask, evidence(graph, model)])
    graph.add("Squeeze", [mask, graph.constant("axis1", np.array([1], np.int64))], "mask_logits")
    return model_proto(graph, model, metadata(weights, precision))


def encoder_decoder_maps(graph: Graph, model: ModelConfig) -> str:
    """Add SavosNet with outputs alpha and residual; return the mask logits [N, 1, H, W]."""
    patches = graph.low("patches")
    fed = {"embed_encoder": patches, "motion_encoder": graph.slice(patches, FLOW)}
    wanted = graph.constant("completer", np.array(completer_channels(model), np.int64))
    fed["mask_encoder"] = graph.add("Gather", [patches, wanted], axis=1)
    codes = {
        name: encoder(graph, name, fed[name], stages, model.patch)
        for name, stages in encoders(model).items()
    }
    h = graph.low(lstm_cell(graph, codes["embed_encoder"], model.hidden))
    decoded = {}
    for name, code in zip(DECODERS, ("mask_encoder", "motion_encoder"), strict=True):
        joined = graph.add("Concat", [h, codes[code]], axis=1)
        decoded[name] = decoder(graph, name, joined, decoder_stages(model))
    graph.add("Identity", [decoded["motion_decoder"]], "residual")
    return mask_and_alpha(graph, decoded["mask_decoder"])


def mask_and_alpha(graph: Graph, maps: str) -> str:
    """Split the first two maps [N, 2.., H, W]: output alpha; return the mask [N, 1, H, W]."""
    axis = graph.constant("axis1", np.array([1], np.int64))
    mask, alpha = (graph.slice(maps, slice(k, k + 1)) for k in range(2))
    graph.add("Squeeze", [alpha, axis], "alpha")
    return mask


def unet_maps(graph: Graph, model: ModelConfig, layers: Layers) -> str:
    """Add RecurrentUNet with outputs alpha and residual; return the mask logits [N, 1, H, W]."""
    convs, last = {conv.name: conv for conv in unet_convs(model)}, len(LEVELS) - 1

    def run(x: str, name: str) -> str:
        return layers.conv(x, convs[name], grid(model, convs[name].level))

    x, skips = run(graph.low("patches"), "enter"), []
    for i in range(last):
        skips.append(x)
        x = run(x, f"down.{i}")
    x = run(x, "mid")
    squeezed = layers.leave(run(x, "squeeze"), MEMORY)
    code = graph.linear(graph.add("Flatten", [squeezed], axis=1), "code")
    h = graph.low(lstm_cell(graph, code, model.hidden))
    shape = graph.constant("innermost", np.array([-1, MEMORY, *grid(model, last)], np.int64))
    memory = layers.enter(graph.add("Reshape", [graph.linear(h, "spread"), shape]))
    x = run(graph.add("Concat", [x, memory], axis=1), "fuse")
    for i in reversed(range(last)):
        up = layers.twice(run(x, f"up.{i}"))
        x = run(graph.add("Add", [up, skips[i]]), f"join.{i}")
    x = layers.leave(run(x, "leave"), convs["leave"].outputs)
    if stem(model) > 1:
        x = graph.add("DepthToSpace", [x], blocksize=stem(model), mode="CRD")
    maps = graph.full(x)
    graph.slice(maps, slice(2, MAPS), output="residual")
    return mask_and_alpha(graph, maps)


def evidence(graph: Graph, model: ModelConfig) -> str:
    """Add SavosNet.evidence; return the name of the logits [N, 1, H, W]."""
    gains = GAIN_SCALE * graph.arrays["evidence_gain"]
    one, two = (
        graph.constant(name, np.array([v], np.float32)) for name, v in (("one", 1), ("two", 2))
    )

    def signed(x: str) -> str:
        return graph.add("Sub", [graph.add("Mul", [x, two]), one])

    visible = graph.slice("patches", VISIBLE)
    if model.occluder_hint:
        others = graph.add("Neg", [graph.add("Add", [visible, one])])
    else:
        others = graph.constant("zero", np.array([0], np.float32))
    seen = graph.add("Max", [signed(visible), others])
    believed = signed(graph.slice("patches", PRIOR))
    parts = [
        graph.add("Mul", [x, graph.constant(f"gain{k}", gains[k : k + 1])])
        for k, x in enumerate((seen, believed))
    ]
    return graph.add("Add", parts)


def metadata(weights: Weights, precision: str) -> dict[str, str]:
    """Return the metadata of a file of the graph."""
    try:
        package = version("savos_ros")
    except PackageNotFoundError:  # a source tree that is not installed
        package = "unknown"
    settings = {name: str(value) for name, value in dataclasses.asdict(weights.model).items()}
    return {"weights": weights.name, "precision": precision, "savos_ros": package, **settings}


def model_proto(graph: Graph, model: ModelConfig, properties: dict[str, str]) -> onnx.ModelProto:
    """Close the graph: inputs, outputs, metadata, check."""
    state: list[str | int] = ["N", model.hidden]
    shapes: dict[str, list[str | int]] = dict(
        zip(
            (*INPUTS, *OUTPUTS),
            (
                ["N", input_channels(model), *model.patch],
                state,
                state,
                ["N", *model.patch],
                ["N", *model.patch],
                ["N", 2, *model.patch],
                state,
                state,
            ),
            strict=True,
        )
    )
    info = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, s)
        for name, s in shapes.items()
    }
    proto = helper.make_graph(
        graph.nodes,
        "savos_step",
        [info[n] for n in INPUTS],
        [info[n] for n in OUTPUTS],
        graph.initialisers,
    )
    result = helper.make_model(proto, opset_imports=graph.opsets(), ir_version=IR)
    helper.set_model_props(result, properties)
    if graph.apart is None:  # the check copies the model, and only supports constants in files
        onnx.checker.check_model(result)
    return result
