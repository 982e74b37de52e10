"""Run the network on ONNX Runtime: the default on CPUs; GPUs with onnxruntime-gpu."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime

from savos_model.backends.interface import (
    BUCKETS,
    Backend,
    BackendError,
    StepOutput,
    check_inputs,
    gpu_index,
    in_buckets,
)
from savos_model.backends.onnx_blocked import best_layers
from savos_model.backends.onnx_graph import INPUTS, OUTPUTS, Layers, build_step
from savos_model.backends.reference import self_test
from savos_model.config import ModelConfig
from savos_model.network.layers import input_channels
from savos_model.network.weights import Weights

CUDA = "CUDAExecutionProvider"
CPU_BATCH = 16  # tracks of one run on a CPU: the feature maps of more do not stay in its cache


class OnnxBackend(Backend):
    """Engine on the step graph, which is built from the weights in memory."""

    def __init__(
        self,
        weights: Weights,
        threads: int,
        reason: str,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        # Another name, as the GPU engine does not have the properties of the CPU engine.
        self.name = "onnx" if device == "cpu" else "onnx_gpu"
        self.threads, self.precision = threads, precision
        self.sharers = threads if device == "cpu" else 1
        self.providers = providers(device)
        self.update_weights(weights)()
        self.reason = reason if device == "cpu" else f"{reason} ({CUDA})"

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """Implement Backend.update_weights: a new session replaces the current one.

        Raises BackendError: the new session does not run on its GPU, or computes wrong results.
        """
        # A GPU has its own copy.
        constants: dict[str, np.ndarray] | None = {} if self.name == "onnx" else None
        layers = best_layers(weights.model) if self.name == "onnx" else Layers
        graph = build_step(weights, constants, self.precision, layers).SerializeToString()
        session = self.started(graph, constants, self.threads)
        alone = session if self.sharers == 1 else self.started(graph, constants, 1)
        if self.name == "onnx_gpu":
            warm_up(session, weights.model)
            answer = lambda *inputs: in_buckets(partial(run, session), *inputs)  # noqa: E731
            self_test(self.name, weights, answer, self.precision)

        def use() -> None:
            # The sessions use the constants without a copy.
            self.weights, self.constants = weights, constants
            self.session, self.alone = session, alone

        return use

    def started(
        self, graph: bytes, constants: dict[str, np.ndarray] | None, threads: int
    ) -> onnxruntime.InferenceSession:
        """Load a graph into ONNX Runtime, which uses `constants` without a copy."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Idle threads must sleep, as a robot's cores have other work between frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if constants:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in constants.values()]
            options.add_external_initializers(list(constants), values)
        return onnxruntime.InferenceSession(graph, options, self.providers)

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """Implement Backend.step."""
        check_inputs(patches, h, c, self.model)
        if self.name == "onnx":
            return in_batches(partial(run, self.session), patches, h, c)
        return in_buckets(partial(run, self.session), patches, h, c)

    def share(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """Implement Shareable.share."""
        if self.sharers == 1:
            return self.step(patches, h, c)
        check_inputs(patches, h, c, self.model)
        return in_batches(partial(run, self.alone), patches, h, c)


def run(session: onnxruntime.InferenceSession, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return the fields of StepOutput."""
    return session.run(list(OUTPUTS), dict(zip(INPUTS, arrays, strict=True)))


def in_batches(run: Callable[..., list[np.ndarray]], *arrays: np.ndarray) -> StepOutput:
    """Step any number of tracks with `run` in equal batches of at most CPU_BATCH."""
    count = -(-len(arrays[0]) // CPU_BATCH)
    batches = zip(*(np.array_split(array, count) for array in arrays), strict=True)
    parts = [run(*batch) for batch in batches]
    return StepOutput(*(parts[0] if count == 1 else map(np.concatenate, zip(*parts, strict=True))))


def warm_up(session: onnxruntime.InferenceSession, model: ModelConfig) -> None:
    """Run every batch size once, as CUDA searches algorithms at each new one, for many frames.

    Raises BackendError: the session does not run on the GPU.
    """
    if CUDA not in session.get_providers():
        raise BackendError(
            "ONNX Runtime cannot use the GPU: its CUDA libraries do not load, see its "
            "message above, or choose model.backend torch or tensorrt"
        )
    shapes = ((input_channels(model), *model.patch), (model.hidden,), (model.hidden,))
    for rows in BUCKETS:
        run(session, *(np.zeros((rows, *shape), np.float32) for shape in shapes))


def providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    """Return the execution providers of a device, best first.

    ONNX Runtime's TensorRT is excluded: the key of its engine files lacks the weights, so other
    weights of the same network would use the old engine. Raises BackendError: ONNX Runtime was
    built without CUDA.
    """
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if CUDA not in onnxruntime.get_available_providers():
        raise BackendError(
            f"ONNX Runtime for {device} is another package: pip uninstall onnxruntime, "
            "pip install onnxruntime-gpu"
        )
    # fp32 must not be reduced to TF32.
    options = {"device_id": str(gpu_index(device)), "use_tf32": "0"}
    return [(CUDA, options), "CPUExecutionProvider"]
