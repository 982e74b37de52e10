"""The network on ONNX Runtime: the default on a CPU, without torch; GPUs with onnxruntime-gpu."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime

from savos_model.backends.base import (
    BUCKETS,
    BackendError,
    StepOutput,
    check_inputs,
    gpu_index,
    in_buckets,
    installed,
)
from savos_model.backends.onnx_graph import INPUTS, OUTPUTS, build_step
from savos_model.config import ModelConfig
from savos_model.layers import input_channels
from savos_model.weights import Weights

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


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
        self.providers = providers(weights.model, device)
        self.update_weights(weights)()
        self.reason, got = reason, self.session.get_providers()
        if device != "cpu":
            self.reason += f" ({got[0]})"
            if CUDA not in got:
                raise BackendError(
                    f"ONNX Runtime cannot use {device}: its CUDA libraries do not load here, see "
                    "its own message above, or choose model.backend torch or tensorrt"
                )

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """As Backend.update_weights: a session of its own takes the place of the present one."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Idle threads must sleep: a robot's cores have other work between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        constants: dict[str, np.ndarray] = {}
        graph = build_step(weights, constants, self.precision).SerializeToString()
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in constants.values()]
        options.add_external_initializers(list(constants), values)
        session = onnxruntime.InferenceSession(graph, options, self.providers)

        def use() -> None:
            # The session reads the constants where they lie.
            self.weights, self.session, self.constants = weights, session, constants

        return use

    @property
    def model(self) -> ModelConfig:
        """Settings of the network."""
        return self.weights.model

    @property
    def weights_name(self) -> str:
        """Short name of the weights."""
        return self.weights.name

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """As Backend.step."""
        check_inputs(patches, h, c, self.model)
        if self.name == "onnx":
            return StepOutput(*self._run(patches, h, c))
        return in_buckets(self._run, patches, h, c)  # CUDA looks for algorithms per batch size

    def _run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return self.session.run(list(OUTPUTS), dict(zip(INPUTS, arrays, strict=True)))


def providers(model: ModelConfig, device: str) -> list[str | tuple[str, dict[str, str]]]:
    """Execution providers of a device, best first.

    Raises:
        BackendError: this ONNX Runtime is built without CUDA.
    """
    if device == "cpu":
        return ["CPUExecutionProvider"]
    available = onnxruntime.get_available_providers()
    if CUDA not in available:
        raise BackendError(
            f"ONNX Runtime for {device} is another package: pip uninstall onnxruntime, "
            "pip install onnxruntime-gpu"
        )
    gpu = {"device_id": str(gpu_index(device))}
    chosen = [(CUDA, gpu | {"use_tf32": "0"}), "CPUExecutionProvider"]
    if TENSORRT in available and installed("tensorrt"):  # its libraries come with that package

        def shapes(rows: int) -> str:
            sizes = ((input_channels(model), *model.patch), (model.hidden,), (model.hidden,))
            named = zip(INPUTS, sizes, strict=True)
            return ",".join(f"{name}:{'x'.join(map(str, (rows, *size)))}" for name, size in named)

        bounds = (("min", 1), ("opt", BUCKETS[3]), ("max", BUCKETS[-1]))
        profile = {f"trt_profile_{kind}_shapes": shapes(rows) for kind, rows in bounds}
        chosen.insert(0, (TENSORRT, gpu | profile))
    return chosen
