"""ONNX Runtime on a GPU, with sessions on the CPU that claim to be there."""

from types import SimpleNamespace

import pytest

from savos_model.backends import onnx
from savos_model.backends.choose import make_backend
from savos_model.backends.interface import BUCKETS, BackendError
from savos_model.backends.onnx import OnnxBackend
from savos_model.backends.reference import deviation, random_inputs, reference_step
from savos_model.config import BackendConfig, ModelConfig
from tests.model.test_backends import random_weights


def test_onnx_on_a_gpu_needs_the_other_package():
    if "CUDAExecutionProvider" in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    with pytest.raises(BackendError, match="pip install onnxruntime-gpu"):
        make_backend(BackendConfig(backend="onnx", device="cuda"))


def test_onnx_on_a_gpu_takes_cuda_without_tf32_and_none_of_its_engines(monkeypatch):
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx.onnxruntime, "get_available_providers", lambda: names)
    options = {"device_id": "1", "use_tf32": "0"}
    assert onnx.providers("cuda:1") == [(names[1], options), names[2]]


@pytest.fixture
def cuda_sessions(monkeypatch):
    """Run graphs on the CPU under the name of a GPU; give the batch sizes of each graph."""
    names, real = ["CUDAExecutionProvider", "CPUExecutionProvider"], onnx.onnxruntime
    ran = []

    class Session:
        def __init__(self, graph, options, providers):
            self.inner = real.InferenceSession(graph, options, ["CPUExecutionProvider"])
            self.ran = []
            ran.append(self.ran)

        def get_providers(self):
            return names

        def run(self, outputs, inputs):
            self.ran.append(len(inputs["patches"]))
            return self.inner.run(outputs, inputs)

    fake = SimpleNamespace(**vars(real) | {"InferenceSession": Session})
    fake.get_available_providers = lambda: names
    monkeypatch.setattr(onnx, "onnxruntime", fake)
    return ran


def test_onnx_on_a_gpu_has_run_every_batch_size_before_it_serves(cuda_sessions):
    model = ModelConfig(width=0.0625)
    first, second = random_weights(model, 0), random_weights(model, 1)
    backend = OnnxBackend(first, 1, "why", "cuda")
    assert backend.reason == "why (CUDAExecutionProvider)"
    use = backend.update_weights(second)
    start, update = cuda_sessions
    assert set(start) == set(update) == set(BUCKETS), "in each session, before it is active"
    use()
    inputs = random_inputs(second, 3)
    off = deviation(backend.step(*inputs), reference_step(second, *inputs))
    assert max(off.values()) < 1e-4 and update[-1] == 4


def test_onnx_on_a_gpu_refuses_new_weights_that_compute_nonsense(cuda_sessions, monkeypatch):
    model = ModelConfig(width=0.0625)
    first, second = random_weights(model, 0), random_weights(model, 1)
    backend, made = OnnxBackend(first, 1, "", "cuda"), onnx.build_step
    monkeypatch.setattr(onnx, "build_step", lambda weights, *rest: made(first, *rest))
    with pytest.raises(BackendError, match="^engine onnx_gpu "):
        backend.update_weights(second)
    assert backend.weights is first
