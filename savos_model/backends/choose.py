"""Choose the engine that runs the network here, start it and test it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from savos_model.backends.interface import TENSORRT_MODULES, Backend, BackendError
from savos_model.backends.reference import random_inputs, self_test
from savos_model.config import BackendConfig
from savos_model.hints import PIP, installed
from savos_model.network.weights import Weights, load_weights

RIVALS = {"onnx", "openvino"}  # the faster one depends on the processor
RACE_TRACKS, RACE_ROUNDS, RACE_S = 8, 9, 0.15  # of one step; most rounds; the end of new rounds [s]
# Results differ in the last digits: a gain within the noise is not worth it.
LEAST_GAIN = 1.05


def candidates(config: BackendConfig) -> list[tuple[str, str]]:
    """Return the names of usable engines, best first, each with the reason.

    Raises BackendError: the requested engine is not installed or does not fit the device.
    """
    gpu = config.device != "cpu"
    have = {
        "tensorrt": any(map(installed, TENSORRT_MODULES)) and installed("cuda.bindings"),
        "torch": installed("torch"),
        "onnx": installed("onnxruntime") and installed("onnx"),
        "openvino": installed("openvino") and installed("onnx"),
    }
    hint = {
        "tensorrt": f"{PIP['tensorrt']}, or TensorRT and cuda-bindings",
        "torch": PIP["torch"],
        "onnx": "pip install onnx onnxruntime",
        "openvino": PIP["openvino"],
    }
    if config.backend == "tensorrt" and not gpu:
        raise BackendError("model.backend tensorrt needs a GPU: set model.device cuda")
    if config.backend == "openvino" and gpu:
        raise BackendError("model.backend openvino runs on CPUs: set model.device cpu")
    if config.backend == "onnx" and config.precision == "bf16":
        raise BackendError(
            "model.precision bf16 runs on openvino and torch: set model.backend auto or one of them"
        )
    if config.backend != "auto":
        if not have[config.backend]:
            raise BackendError(
                f"model.backend {config.backend} needs a package that is not installed: "
                f"{hint[config.backend]}"
            )
        return [(config.backend, "chosen by model.backend")]
    order: tuple[str, ...] = ("tensorrt", "torch", "onnx") if gpu else ("onnx", "openvino", "torch")
    if config.precision == "bf16":
        order = ("openvino", "torch")
    present = [name for name in order if have[name]]
    if not present:
        raise BackendError(f"no engine for {config.device} is installed: {hint[order[-1]]}")
    why = f"auto: the first that runs on {config.device} of {', '.join(order)}"
    return [(name, why) for name in present]


def make_backend(config: BackendConfig, measure: bool = False) -> Backend:
    """Load weights, start the engine of `config` and test it.

    With `backend: auto`, the next engine is tried if one cannot start; the reason names it.

    Args:
        config: which weights on which engine.
        measure: with `backend: auto` on a CPU, select the faster of ONNX Runtime and OpenVINO. For
            online use only: elsewhere the engine, and thus the last digits, must not depend on
            timing.

    Raises:
        WeightsError, BackendError: they cannot be used; the text names the remedy.
    """
    weights, failed = load_weights(config.weights), ""
    ready: list[Backend] = []
    for name, reason in candidates(config):
        if ready and not (measure and {name, ready[0].name} == RIVALS):
            break
        try:
            ready.append(tested(name, weights, config, reason))
        except Exception as error:  # GPU libraries raise any type of error, or are missing
            failed += f"; not {name}: {error}"
            cause = error
    if not ready:
        raise BackendError(failed.removeprefix("; ")) from cause
    chosen = ready[0] if len(ready) == 1 else faster(ready[0], ready[1])
    chosen.reason += failed
    return chosen


def tested(name: str, weights: Weights, config: BackendConfig, reason: str) -> Backend:
    """Start an engine and verify it on a known step."""
    backend = start(name, weights, config, reason)
    self_test(backend.name, weights, backend.step, config.precision)
    return backend


def faster(
    usual: Backend, other: Backend, clock: Callable[[], float] = time.perf_counter
) -> Backend:
    """Return `other` if its step is clearly faster than that of `usual`, else `usual`.

    Steps of both alternate for about RACE_S; the medians decide, and the reason contains both.
    """
    inputs = random_inputs(usual.weights, RACE_TRACKS)
    took: dict[str, list[float]] = {usual.name: [], other.name: []}
    begun = clock()
    while len(took[usual.name]) < RACE_ROUNDS and clock() - begun < RACE_S:
        for backend in (usual, other):
            before = clock()
            backend.step(*inputs)
            took[backend.name].append(clock() - before)
    ms = {name: 1e3 * median(times) for name, times in took.items()}
    chosen = other if ms[usual.name] >= LEAST_GAIN * ms[other.name] else usual
    both = ", ".join(f"{name} {ms[name]:.1f} ms" for name in ms)
    chosen.reason = f"auto: measured with {RACE_TRACKS} tracks, median of a step: {both}"
    return chosen


def start(name: str, weights: Weights, config: BackendConfig, reason: str) -> Backend:
    """Return an engine by name; import its module now."""
    if name == "tensorrt":
        from savos_model.backends.tensorrt import TensorrtBackend

        return TensorrtBackend(weights, config, reason)
    if name == "onnx":
        from savos_model.backends.onnx import OnnxBackend

        return OnnxBackend(weights, config.threads, reason, config.device, config.precision)
    if name == "openvino":
        from savos_model.backends.openvino import OpenvinoBackend

        return OpenvinoBackend(weights, config.threads, reason, config.precision)
    from savos_model.backends.torch import TorchBackend

    return TorchBackend(weights, config.device, config.threads, reason, config.precision)
