"""The network on ONNX Runtime: the default on a CPU, without torch; GPUs with onnxruntime-gpu."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime

from savos_model.backends.interface import (
    BUCKETS,
    BackendError,
    StepOutput,
    check_inputs,
    gpu_index,
    in_buckets,
)
from savos_model.backends.onnx_graph import INPUTS, OUTPUTS, build_step
from savos_model.backends.reference import self_test
from savos_model.config import ModelConfig
from savos_model.network.layers import input_channels
from savos_model.network.weights import Weights

CUDA = "CUDAExecutionProvider"


class OnnxBackend:
    """Builds the step graph from the weights in memory, so that one file holds them."""

    def __init__(
        self,
        weights: Weights,
        threads: int,
        reason: str,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        # Another name: what holds for engines on the CPU must not be taken to hold for this one.
        self.name = "onnx" if device == "cpu" else "onnx_gpu"
        self.threads, self.precision = threads, precision
        self.providers = providers(device)
        self.update_weights(weights)()
        self.reason = reason if device == "cpu" else f"{reason} ({CUDA})"

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """As Backend.update_weights: a session of its own takes the place of the present one.

        Raises:
            BackendError: the new session does not run on its GPU, or answers wrongly there.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Idle threads must sleep: a robot's cores have other work between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A GPU has its own copy.
        constants: dict[str, np.ndarray] | None = {} if self.name == "onnx" else None
        graph = build_step(weights, constants, self.precision).SerializeToString()
        if constants:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in constants.values()]
            options.add_external_initializers(list(constants), values)
        session = onnxruntime.InferenceSession(graph, options, self.providers)
        if self.name == "onnx_gpu":
            warm_up(session, weights.model)
            answer = lambda *inputs: in_buckets(partial(run, session), *inputs)  # noqa: E731
            self_test(self.name, weights, answer, self.precision)

        def use() -> None:
            # The session reads the constants where they lie.
            self.weights, self.session, self.constants = weights, session, constants

        return use

    @property
    def model(self) -> ModelConfig:
        """Settings of the network."""
        return self.weights.model

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """As Backend.step."""
        check_inputs(patches, h, c, self.model)
        if self.name == "onnx":
            return StepOutput(*run(self.session, patches, h, c))
        return in_buckets(partial(run, self.session), patches, h, c)


def run(session: onnxruntime.InferenceSession, *arrays: np.ndarray) -> list[np.ndarray]:
    """The fields of StepOutput."""
    return session.run(list(OUTPUTS), dict(zip(INPUTS, arrays, strict=True)))


def warm_up(session: onnxruntime.InferenceSession, model: ModelConfig) -> None:
    """Run every batch size once: CUDA looks for algorithms at each new one, for whole frames.

    Raises:
        BackendError: the session does not run on the GPU.
    """
    if CUDA not in session.get_providers():
        raise BackendError(
            "ONNX Runtime cannot use the GPU: its CUDA libraries do not load here, see its own "
            "message above, or choose model.backend torch or tensorrt"
        )
    shapes = ((input_channels(model), *model.patch), (model.hidden,), (model.hidden,))
    for rows in BUCKETS:
        run(session, *(np.zeros((rows, *shape), np.float32) for shape in shapes))


def providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    """Execution providers of a device, best first.

    Not ONNX Runtime's own TensorRT: the key of its engine files leaves the weights out, so that
    other weights of the same network would get the old engine.

    Raises:
        BackendError: this ONNX Runtime is built without CUDA.
    """
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if CUDA not in onnxruntime.get_available_providers():
        raise BackendError(
            f"ONNX Runtime for {device} is another package: pip uninstall onnxruntime, "
            "pip install onnxruntime-gpu"
        )
    # fp32 is to be what it says.
    options = {"device_id": str(gpu_index(device)), "use_tf32": "0"}
    return [(CUDA, options), "CPUExecutionProvider"]
