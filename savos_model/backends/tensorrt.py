"""Run the network on TensorRT, with engines cached between starts."""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from savos_model.backends.engine_cache import EngineCacheError, cached_engine, engine_folder
from savos_model.backends.interface import (
    BUCKETS,
    Backend,
    BackendError,
    StepOutput,
    check_inputs,
    gpu_index,
    in_buckets,
)
from savos_model.backends.onnx_graph import INPUTS, OUTPUTS
from savos_model.backends.reference import self_test
from savos_model.backends.tensorrt_build import (
    build_engine,
    engine_key,
    graph_bytes,
    logger,
    refit,
    tensorrt,
)
from savos_model.config import BackendConfig
from savos_model.network.layers import input_channels
from savos_model.network.weights import Weights

try:
    from cuda.bindings import runtime as cuda
except ImportError:  # candidates() has checked this before
    cuda = None


class TensorrtBackend(Backend):
    """Engine on one GPU, with buffers for the largest bucket."""

    name = "tensorrt"

    def __init__(self, weights: Weights, config: BackendConfig, reason: str) -> None:
        self.precision, self.index = config.precision, gpu_index(config.device)
        gpu, capability = describe(self.index)
        graph = graph_bytes(weights, self.precision)
        key = engine_key(weights, graph, gpu, capability, self.precision)
        folder = engine_folder(config.engine_dir)
        try:
            self.plan = cached_engine(folder, key, lambda: build_engine(graph))
        except EngineCacheError as error:
            raise BackendError(str(error)) from error
        self.runtime = tensorrt().Runtime(logger())
        self.weights, self.reason = weights, f"{reason} ({key['tensorrt']}, {gpu})"
        self._turn = threading.Lock()  # one thread at a time uses the buffers
        self._stream = call(cuda.cudaStreamCreate())
        model = weights.model
        state = (model.hidden,)
        shapes: list[tuple[int, ...]] = [(input_channels(model), *model.patch), state, state]
        shapes += [model.patch, model.patch, (2, *model.patch), state, state]
        names = (*INPUTS, *OUTPUTS)
        self._buffers = {
            name: Buffer((BUCKETS[-1], *shape)) for name, shape in zip(names, shapes, strict=True)
        }
        weakref.finalize(self, release, self._stream, list(self._buffers.values()))
        self._context = context_of(self._start(self.plan))

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """Implement Backend.step."""
        check_inputs(patches, h, c, self.model)
        return self._answer(self._context, patches, h, c)

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """Implement Backend.update_weights: refit or build another engine.

        Raises BackendError: the new engine cannot be built or computes wrong results.
        """
        call(cuda.cudaSetDevice(self.index))
        graph = graph_bytes(weights, self.precision)
        engine = self._start(self.plan)
        if engine.refittable:
            refit(engine, graph)
        else:
            engine = self._start(build_engine(graph))
        context = context_of(engine)
        answer = lambda *inputs: self._answer(context, *inputs)  # noqa: E731
        self_test(self.name, weights, answer, self.precision)

        def use() -> None:
            with self._turn:
                self.weights, self._context = weights, context

        return use

    def _start(self, plan: bytes) -> Any:
        engine = self.runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(
                "TensorRT cannot load the engine on this GPU, see its message above: "
                "choose model.backend torch or onnx"
            )
        return engine

    def _answer(self, context: Any, *inputs: np.ndarray) -> StepOutput:
        with self._turn:
            call(cuda.cudaSetDevice(self.index))  # a setting of the calling thread
            return in_buckets(lambda *arrays: self._run(context, arrays), *inputs)

    def _run(self, context: Any, arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """Run the engine at a batch size of BUCKETS; queue everything and wait once."""
        rows, kinds = len(arrays[0]), cuda.cudaMemcpyKind
        for name, array in zip(INPUTS, arrays, strict=True):
            buffer = self._buffers[name]
            buffer.host[:rows] = array
            buffer.copy(rows, kinds.cudaMemcpyHostToDevice, self._stream)
            context.set_input_shape(name, array.shape)
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, buffer.device)
        if not context.execute_async_v3(int(self._stream)):
            raise BackendError("TensorRT could not run the engine, see its message above")
        for name in OUTPUTS:
            self._buffers[name].copy(rows, kinds.cudaMemcpyDeviceToHost, self._stream)
        call(cuda.cudaStreamSynchronize(self._stream))
        return [self._buffers[name].host[:rows].copy() for name in OUTPUTS]


def context_of(engine: Any) -> Any:
    """Return the execution context of an engine.

    Raises BackendError: not enough GPU memory.
    """
    context = engine.create_execution_context()
    if context is None:
        raise BackendError(
            "TensorRT cannot prepare the engine on this GPU, see its message above: "
            "free some of the GPU's memory, or choose model.backend torch or onnx"
        )
    return context


class Buffer:
    """One float32 tensor on the GPU with its pinned host memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.bytes = 4 * math.prod(shape)
        self.device = int(call(cuda.cudaMalloc(self.bytes)))
        self.pinned = int(call(cuda.cudaMallocHost(self.bytes)))
        memory = (ctypes.c_byte * self.bytes).from_address(self.pinned)
        self.host = np.frombuffer(memoryview(memory), np.float32).reshape(shape)

    def copy(self, rows: int, kind: Any, stream: Any) -> None:
        """Queue a copy of the first rows, to the GPU or back."""
        ends = (self.device, self.pinned)
        if kind == cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost:
            ends = ends[::-1]
        size = rows * (self.bytes // len(self.host))
        call(cuda.cudaMemcpyAsync(*ends, size, kind, stream))


def release(stream: Any, buffers: list[Buffer]) -> None:
    """Free the GPU memory; CUDA may already be unloaded at the end of a process."""
    cuda.cudaStreamSynchronize(stream)
    for buffer in buffers:
        cuda.cudaFree(buffer.device)
        cuda.cudaFreeHost(buffer.pinned)
    cuda.cudaStreamDestroy(stream)


def describe(index: int) -> tuple[str, str]:
    """Select a GPU for this thread; return its name and compute capability.

    Raises BackendError: there is no such GPU.
    """
    try:
        call(cuda.cudaSetDevice(index))
        properties = call(cuda.cudaGetDeviceProperties(index))
    except (BackendError, RuntimeError) as error:  # without a driver the bindings raise others
        raise BackendError(f"model.device cuda:{index}: no such NVIDIA GPU: {error}") from None
    return properties.name.split(b"\0")[0].decode(), f"{properties.major}.{properties.minor}"


def call(result: tuple) -> Any:
    """Return the value of a CUDA call.

    Raises BackendError: the call failed.
    """
    error, *values = result
    if error != cuda.cudaError_t.cudaSuccess:
        raise BackendError(f"CUDA: {cuda.cudaGetErrorString(error)[1].decode()}")
    return values[0] if values else None
