"""Choose the engine that runs the network here, start it and test it."""

from __future__ import annotations

from savos_model.backends.interface import (
    TENSORRT_MODULES,
    Backend,
    BackendError,
    installed,
)
from savos_model.config import BackendConfig
from savos_model.hints import PIP
from savos_model.weights import Weights, load_weights


def candidates(config: BackendConfig) -> list[tuple[str, str]]:
    """Names of the engines that may serve here, best first, each with the reason.

    Raises:
        BackendError: what was asked for is not installed or does not go together.
    """
    gpu = config.device != "cpu"
    have = {
        "tensorrt": any(map(installed, TENSORRT_MODULES)) and installed("cuda.bindings"),
        "torch": installed("torch"),
        "onnx": installed("onnxruntime") and installed("onnx"),
    }
    hint = {
        "tensorrt": f"{PIP['tensorrt']}, or TensorRT and cuda-bindings",
        "torch": PIP["torch"],
        "onnx": "pip install onnx onnxruntime",
    }
    if config.backend == "tensorrt" and not gpu:
        raise BackendError("model.backend tensorrt needs a GPU: set model.device cuda")
    if config.backend == "onnx" and config.precision == "bf16":
        raise BackendError("model.precision bf16 runs on torch: set model.backend auto or torch")
    if config.backend != "auto":
        if not have[config.backend]:
            raise BackendError(
                f"model.backend {config.backend} needs a package that is not installed: "
                f"{hint[config.backend]}"
            )
        return [(config.backend, "chosen by model.backend")]
    order = ("tensorrt", "torch", "onnx") if gpu else ("onnx", "torch")
    if config.precision == "bf16":
        order = ("torch",)
    present = [name for name in order if have[name]]
    if not present:
        raise BackendError(f"no engine for {config.device} is installed: {hint[order[-1]]}")
    why = f"auto: the first that runs on {config.device} of {', '.join(order)}"
    return [(name, why) for name in present]


def make_backend(config: BackendConfig) -> Backend:
    """Load weights, start the engine that `config` asks for, and test it.

    With `backend: auto`, an engine that cannot start here gives way to the next one, and the reason
    says so.

    Raises:
        WeightsError, BackendError: the text says what to do.
    """
    from savos_model.backends.reference import self_test

    weights, failed = load_weights(config.weights), ""
    for name, reason in candidates(config):
        try:
            backend = start(name, weights, config, reason + failed)
            self_test(backend.name, weights, backend.step, config.precision)
            return backend
        except Exception as error:  # a GPU's libraries raise whatever they like, or are missing
            failed += f"; not {name}: {error}"
            cause = error
    raise BackendError(failed.removeprefix("; ")) from cause


def start(name: str, weights: Weights, config: BackendConfig, reason: str) -> Backend:
    """An engine by name, with its module imported now."""
    if name == "tensorrt":
        from savos_model.backends.tensorrt import TensorrtBackend

        return TensorrtBackend(weights, config, reason)
    if name == "onnx":
        from savos_model.backends.onnx import OnnxBackend

        return OnnxBackend(weights, config.threads, reason, config.device, config.precision)
    from savos_model.backends.torch import TorchBackend

    return TorchBackend(weights, config.device, config.threads, reason, config.precision)
