"""TensorRT and the CUDA runtime as the backend uses them, on host memory and ONNX Runtime.

Copies are carried out only when the stream is waited for, so that whoever reads too early sees it.
"""

import ctypes
import enum
from types import SimpleNamespace

import numpy as np
import onnxruntime

from savos_model.backends.onnx_graph import INPUTS, OUTPUTS

Error = enum.Enum("cudaError_t", ["cudaSuccess", "cudaErrorInvalidDevice"])
Kind = enum.Enum("cudaMemcpyKind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])


def one_thread(graph):
    """Return a graph that runs without waiting for other cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class FakeCuda:
    """cuda.bindings.runtime with one GPU."""

    cudaError_t, cudaMemcpyKind = Error, Kind  # noqa: N815

    def __init__(self):
        self.memory, self.queue, self.waits = {}, [], 0
        self.cudaMalloc = self.cudaMallocHost = self.allocate
        self.cudaFree = self.cudaFreeHost = self.free

    def allocate(self, size):
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = block
        return Error.cudaSuccess, ctypes.addressof(block)

    def free(self, address):
        del self.memory[address]
        return (Error.cudaSuccess,)

    def cudaSetDevice(self, index):  # noqa: N802
        return (Error.cudaSuccess if index == 0 else Error.cudaErrorInvalidDevice,)

    def cudaGetDeviceProperties(self, index):  # noqa: N802
        return Error.cudaSuccess, SimpleNamespace(name=b"Fake GPU\0\0", major=8, minor=9)

    def cudaGetErrorString(self, error):  # noqa: N802
        return Error.cudaSuccess, b"invalid device ordinal"

    def cudaStreamCreate(self):  # noqa: N802
        return Error.cudaSuccess, 1

    def cudaStreamDestroy(self, stream):  # noqa: N802
        return (Error.cudaSuccess,)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):  # noqa: N802
        self.queue.append(lambda: ctypes.memmove(target, source, size))
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):  # noqa: N802
        for work in self.queue:
            work()
        self.queue, self.waits = [], self.waits + 1
        return (Error.cudaSuccess,)


def floats(address, shape):
    """Memory as an array."""
    size = 4 * int(np.prod(shape))
    return np.frombuffer((ctypes.c_byte * size).from_address(address), np.float32).reshape(shape)


class FakeEngine:
    """An engine whose plan is the ONNX graph itself."""

    def __init__(self, cuda, plan, refittable):
        self.cuda, self.refittable = cuda, refittable
        self.session = one_thread(plan)

    def create_execution_context(self):
        return FakeContext(self)


class FakeContext:
    """Runs a session on the addresses it was given."""

    def __init__(self, engine):
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def set_input_shape(self, name, shape):
        self.shapes[name] = shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        shapes, addresses, session = dict(self.shapes), dict(self.addresses), self.engine.session

        def work():
            outputs = session.run(
                list(OUTPUTS), {name: floats(addresses[name], shapes[name]) for name in INPUTS}
            )
            for name, output in zip(OUTPUTS, outputs, strict=True):
                floats(addresses[name], output.shape)[:] = output

        self.engine.cuda.queue.append(work)
        return True


def fake_tensorrt(cuda, refittable):
    """The module tensorrt."""

    def refit_from_bytes(refitter, graph):
        refitter.graph = graph
        return True

    class Refitter(SimpleNamespace):
        def refit_cuda_engine(self):
            self.engine.session = one_thread(self.graph)
            return True

    return SimpleNamespace(
        __name__="tensorrt",
        __version__="0.0",
        Runtime=lambda logger: SimpleNamespace(
            deserialize_cuda_engine=lambda plan: FakeEngine(cuda, plan, refittable)
        ),
        Refitter=lambda engine, logger: Refitter(engine=engine),
        OnnxParserRefitter=lambda refitter, logger: SimpleNamespace(
            refit_from_bytes=lambda graph: refit_from_bytes(refitter, graph)
        ),
    )
