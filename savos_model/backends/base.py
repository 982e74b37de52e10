"""The interface of an engine that runs one batched step, and the choice of one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from savos_model.config import BackendConfig, ModelConfig
from savos_model.layers import input_channels
from savos_model.settings import SettingError
from savos_model.weights import Weights, load_weights


class StepOutput(NamedTuple):
    """What one step gives for N tracks, float32 arrays.

    mask_logits, alpha: [N, H, W]; residual: [N, 2, H, W] [patch px]; h, c: [N, D], the new state.
    """

    mask_logits: np.ndarray
    alpha: np.ndarray
    residual: np.ndarray
    h: np.ndarray
    c: np.ndarray


class Backend(Protocol):
    """An engine with loaded weights."""

    name: str
    weights: Weights
    reason: str  # one line: why this engine was chosen

    @property
    def model(self) -> ModelConfig:
        """Settings of the network."""
        ...

    @property
    def weights_name(self) -> str:
        """Short name of the weights, for messages and results."""
        ...

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """Run N >= 1 tracks: patches float32 [N, 6 or 7, H, W], h and c float32 [N, D]."""
        ...

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """Prepare other weights of the same network beside running steps, from any thread.

        Returns:
            What puts them in force at once; to be called between two steps.
        """
        ...


class BackendError(RuntimeError):
    """An engine cannot be used here; the text says what is missing, what to install or choose."""


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def choose(config: BackendConfig) -> tuple[str, str]:
    """Name of the engine to use and the reason, for `backend: auto` too.

    Raises:
        BackendError: what was asked for is not installed.
    """
    if config.backend == "onnx" and config.device != "cpu":
        raise BackendError(
            f"model.backend onnx runs on the CPU, model.device is {config.device}: "
            "use backend torch for CUDA"
        )
    have = {"onnx": installed("onnxruntime") and installed("onnx"), "torch": installed("torch")}
    hint = {"onnx": "pip install onnx onnxruntime", "torch": "pip install 'savos_ros[torch]'"}
    if config.backend != "auto":
        if not have[config.backend]:
            raise BackendError(
                f"model.backend {config.backend} needs a package that is not installed: "
                f"{hint[config.backend]}"
            )
        return config.backend, "chosen by model.backend"
    if config.device != "cpu":
        if not have["torch"]:
            raise BackendError(
                f"model.device {config.device} needs torch: {hint['torch']}, or set device cpu"
            )
        return "torch", f"auto: the engine that runs on {config.device}"
    if have["onnx"]:
        return "onnx", "auto: ONNX Runtime is the fastest engine here on a CPU"
    if have["torch"]:
        return "torch", "auto: ONNX Runtime is not installed"
    raise BackendError(f"no engine is installed: {hint['onnx']}")


def make_backend(config: BackendConfig) -> Backend:
    """Load weights and start the engine that `config` asks for.

    Raises:
        WeightsError, BackendError: the text says what to do.
    """
    name, reason = choose(config)
    weights = load_weights(config.weights)
    if name == "onnx":
        from savos_model.backends.onnx import OnnxBackend

        return OnnxBackend(weights, config.threads, reason)
    from savos_model.backends.torch import TorchBackend

    return TorchBackend(weights, config.device, config.threads, reason)


def check_inputs(patches: np.ndarray, h: np.ndarray, c: np.ndarray, model: ModelConfig) -> None:
    """Refuse arrays that do not fit the network, before the engine sees them."""
    tracks = len(patches)
    want = {
        "patches": (tracks, input_channels(model), *model.patch),
        "h": (tracks, model.hidden),
        "c": (tracks, model.hidden),
    }
    for (name, shape), got in zip(want.items(), (patches, h, c), strict=True):
        if tracks == 0 or got.shape != shape or got.dtype != np.float32:
            raise SettingError(
                f"{name} must be float32 {shape} with at least one track, "
                f"got {got.dtype} {got.shape}"
            )
