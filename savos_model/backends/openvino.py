"""The network on OpenVINO: for CPUs, in bfloat16 where they compute it, without torch."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import numpy as np

from savos_model.backends.interface import BackendError, StepOutput, check_inputs
from savos_model.backends.onnx_graph import INPUTS, OUTPUTS, build_step
from savos_model.backends.reference import random_inputs
from savos_model.config import ModelConfig
from savos_model.weights import Weights

# OpenVINO reports each import to its maker over the network, without asking, by this package; where
# it cannot be imported, OpenVINO does without.
sys.modules.setdefault("openvino_telemetry", None)
import openvino  # noqa: E402

PRECISION = {"fp32": "f32", "bf16": "bf16"}
WARM_TRACKS = 8  # most tracks that are run before the weights take over

# Operators that OpenVINO runs in bfloat16 up to the outputs. What lies between the last of them and
# an output stays float32, and transposed convolutions are not among them.
LOW = ("Convolution", "GroupConvolution", "MatMul")
TRANSPOSED = "ConvolutionBackpropData"


class OpenvinoBackend:
    """Runs the step graph of onnx_graph.py from memory, with any number of tracks."""

    name = "openvino"

    def __init__(
        self, weights: Weights, threads: int, reason: str, precision: str = "fp32"
    ) -> None:
        self.core = openvino.Core()
        if precision == "bf16" and not has_bf16(self.core):
            raise BackendError(
                "model.precision bf16 needs a processor with AMX or AVX512-BF16 on openvino, "
                "this one has neither: set model.precision fp32"
            )
        self.reason, self.precision = reason, precision
        self.settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": PRECISION[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Several nodes would all be bound to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._turn = threading.Lock()  # a request serves one thread at a time
        self.update_weights(weights)()

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """As Backend.update_weights: a compiled model of these weights replaces the present one."""
        model = self.core.read_model(build_step(weights).SerializeToString())
        shrink_constants(model)
        if self.precision == "bf16":
            lower_decoders(model)
        request = self.core.compile_model(model, "CPU", self.settings).create_infer_request()
        # A number of tracks that is new to a model costs the generation of code, about 15 ms.
        for tracks in range(1, WARM_TRACKS + 1):
            infer(request, *random_inputs(weights, tracks))

        def use() -> None:
            with self._turn:
                self.weights, self.request = weights, request

        return use

    @property
    def model(self) -> ModelConfig:
        """Settings of the network."""
        return self.weights.model

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """As Backend.step."""
        check_inputs(patches, h, c, self.model)
        with self._turn:
            return infer(self.request, patches, h, c)


def has_bf16(core: openvino.Core) -> bool:
    """Whether the processor computes in bfloat16, as OpenVINO sees it."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def infer(request: openvino.InferRequest, *arrays: np.ndarray) -> StepOutput:
    """Run the step; the inputs are read where they lie, the outputs are copies."""
    answer = request.infer(dict(zip(INPUTS, arrays, strict=True)), share_inputs=True)
    return StepOutput(*(answer[name] for name in OUTPUTS))


def shrink_constants(model: openvino.Model) -> None:
    """Replace constants that repeat along an axis by one row of it, which broadcasts the same.

    The graph spreads the affine part of a norm over rows and columns for ONNX Runtime; per channel
    OpenVINO computes it with the norm.
    """
    for node in model.get_ops():
        users = node.output(0).get_target_inputs() if node.get_type_name() == "Constant" else ()
        if not users or any(u.get_node().get_type_name() not in ("Multiply", "Add") for u in users):
            continue
        value = node.data
        for axis in range(value.ndim):
            first = value.take([0], axis)
            if np.array_equal(np.broadcast_to(first, value.shape), value):
                value = first
        if value.shape != node.data.shape:
            smaller = openvino.opset8.constant(np.ascontiguousarray(value))
            for user in users:
                user.replace_source_output(smaller.output(0))


def lower_decoders(model: openvino.Model) -> None:
    """Let decoders that end in a transposed convolution run in bfloat16 too.

    OpenVINO keeps what follows the last operator of LOW in float32, so a convolution that passes on
    each channel as it is follows the last transposed ones. The outputs are rounded to bfloat16.
    """
    waiting = [result.input_value(0) for result in model.get_results()]
    seen = set()
    while waiting:
        output = waiting.pop()
        node = output.get_node()
        kind = node.get_type_name()
        if kind in LOW or node.get_name() in seen:
            continue
        seen.add(node.get_name())
        if kind != TRANSPOSED:
            waiting += [source.get_source_output() for source in node.inputs()]
            continue
        users = output.get_target_inputs()
        channels = output.get_partial_shape()[1].get_length()
        same = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
        passed = openvino.opset8.convolution(output, same, [1, 1], [0, 0], [0, 0], [1, 1])
        for user in users:
            user.replace_source_output(passed.output(0))
