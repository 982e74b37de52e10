"""The network on ONNX Runtime: the default on a CPU, without torch; GPUs with onnxruntime-gpu."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime

from savos_model.backends.base import (
    PROFILE,
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
        engine_dir: str = "",
    ) -> None:
        # Another name: what holds for engines on the CPU must not be taken to hold for this one.
        self.name = "onnx" if device == "cpu" else "onnx_gpu"
        self.threads, self.precision = threads, precision
        self.providers = providers(weights.model, device, engine_dir)
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
        # A GPU has its own copy, and TensorRT reads a graph that is whole.
        constants: dict[str, np.ndarray] | None = {} if self.name == "onnx" else None
        graph = build_step(weights, constants, self.precision).SerializeToString()
        if constants:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in constants.values()]
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

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """As Backend.step."""
        check_inputs(patches, h, c, self.model)
        if self.name == "onnx":
            return StepOutput(*self._run(patches, h, c))
        return in_buckets(self._run, patches, h, c)  # CUDA looks for algorithms per batch size

    def _run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return self.session.run(list(OUTPUTS), dict(zip(INPUTS, arrays, strict=True)))


def providers(
    model: ModelConfig, device: str, engine_dir: str
) -> list[str | tuple[str, dict[str, str]]]:
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
        chosen.insert(0, (TENSORRT, gpu | tensorrt_options(model, engine_dir)))
    return chosen


def tensorrt_options(model: ModelConfig, engine_dir: str) -> dict[str, str]:
    """Shape profile and engine folder of ONNX Runtime's own TensorRT, which keeps what it builds.

    Raises:
        BackendError: the folder cannot be made.
    """
    from savos_model.engine_cache import engine_folder

    folder = engine_folder(engine_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"model.engine_dir: cannot make {folder}: {error}") from error
    sizes = ((input_channels(model), *model.patch), (model.hidden,), (model.hidden,))

    def shapes(rows: int) -> str:
        named = zip(INPUTS, sizes, strict=True)
        return ",".join(f"{name}:{'x'.join(map(str, (rows, *size)))}" for name, size in named)

    bounds = zip(("min", "opt", "max"), PROFILE, strict=True)
    profile = {f"trt_profile_{kind}_shapes": shapes(rows) for kind, rows in bounds}
    return profile | {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
