"""Run the network on OpenVINO: for CPUs, in bfloat16 if supported, without torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np

from savos_model.backends.interface import Backend, BackendError, StepOutput, check_inputs
from savos_model.backends.onnx_graph import INPUTS, OUTPUTS, build_step
from savos_model.backends.openvino_graph import openvino, rewrite
from savos_model.backends.reference import random_inputs
from savos_model.network.weights import Weights

PRECISION = {"fp32": "f32", "bf16": "bf16"}
# Values of ONEDNN_MAX_CPU_ISA that disable bfloat16.
WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
WARM_TRACKS = 8  # tracks that are run before new weights are activated


class OpenvinoBackend(Backend):
    """Engine on the step graph of onnx_graph.py in memory, for any number of tracks."""

    name = "openvino"

    def __init__(
        self, weights: Weights, threads: int, reason: str, precision: str = "fp32"
    ) -> None:
        self.core = openvino.Core()
        if precision == "bf16" and not has_bf16(self.core):
            raise BackendError(
                "model.precision bf16 on openvino needs a processor with AMX or AVX512-BF16: "
                "set model.precision fp32"
            )
        self.reason, self.precision = reason, precision
        self.settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": PRECISION[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Otherwise several nodes would be pinned to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._turn = threading.Lock()  # a request serves one thread at a time
        self.update_weights(weights)()

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """Implement Backend.update_weights: a new compiled model replaces the current one."""
        model = self.core.read_model(build_step(weights).SerializeToString())
        rewrite(model, self.precision)
        request = self.core.compile_model(model, "CPU", self.settings).create_infer_request()
        # A new number of tracks costs code generation, about 15 ms.
        for tracks in range(1, WARM_TRACKS + 1):
            infer(request, *random_inputs(weights, tracks))

        def use() -> None:
            with self._turn:
                self.weights, self.request = weights, request

        return use

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """Implement Backend.step."""
        check_inputs(patches, h, c, self.model)
        with self._turn:
            return infer(self.request, patches, h, c)


def has_bf16(core: openvino.Core) -> bool:
    """Return whether OpenVINO supports bfloat16 on this processor.

    OpenVINO asks the processor; the oneDNN in it also obeys ONEDNN_MAX_CPU_ISA, and then fails.
    """
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BF16:
        return False
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def infer(request: openvino.InferRequest, *arrays: np.ndarray) -> StepOutput:
    """Run the step; inputs are not copied, outputs are."""
    answer = request.infer(dict(zip(INPUTS, arrays, strict=True)), share_inputs=True)
    return StepOutput(*(answer[name] for name in OUTPUTS))
