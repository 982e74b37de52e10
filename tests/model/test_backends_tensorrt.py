"""The data path on a fake GPU; engines themselves by the real TensorRT for RTX, where it is."""

import gc
import re
from types import SimpleNamespace

import pytest

from savos_model.backends import tensorrt, tensorrt_build
from savos_model.backends.engine_cache import cached_engine
from savos_model.backends.interface import BUCKETS, BackendError
from savos_model.backends.onnx import OnnxBackend
from savos_model.backends.reference import deviation, random_inputs, self_test
from savos_model.backends.tensorrt import TensorrtBackend
from savos_model.config import BackendConfig, ModelConfig
from tests.model.fake_tensorrt import FakeCuda, FakeEngine, fake_tensorrt
from tests.model.test_backends import random_weights

MODEL = ModelConfig(width=0.125)


@pytest.fixture(params=[True, False], ids=["refit", "rebuild"])
def gpu(request, monkeypatch):
    """A machine with a fake GPU: its runtime, and the graphs that engines were built of."""
    cuda, built = FakeCuda(), []
    trt = fake_tensorrt(cuda, request.param)

    def build(graph):
        built.append(graph)
        return graph

    monkeypatch.setattr(tensorrt, "cuda", cuda)
    monkeypatch.setattr(tensorrt, "build_engine", build)
    for module in (tensorrt_build, tensorrt):
        monkeypatch.setattr(module, "tensorrt", lambda: trt)
        monkeypatch.setattr(module, "logger", lambda: None)
    return cuda, built


@pytest.mark.slow
def test_backend_equals_the_cpu_and_takes_new_weights(gpu, tmp_path):
    cuda, built = gpu
    config = BackendConfig(backend="tensorrt", device="cuda", engine_dir=str(tmp_path))
    first, second = random_weights(MODEL, 0), random_weights(MODEL, 1)
    old, new = (OnnxBackend(weights, 1, "").step for weights in (first, second))

    def off(got, step, inputs):
        return max(deviation(got, step(*inputs)).values())

    backend = TensorrtBackend(first, config, "why")
    assert backend.reason == "why (tensorrt 0.0, Fake GPU)"
    self_test(backend.name, first, backend.step, "fp32")
    waits = cuda.waits
    for tracks in (1, 3, 66):
        inputs = random_inputs(first, tracks)
        assert off(backend.step(*inputs), old, inputs) < 1e-5
    assert cuda.waits - waits == 4, "one wait per call of the engine, two of them for 66 tracks"

    inputs = random_inputs(first, 3)
    use = backend.update_weights(second)
    held = backend.step(*inputs)
    assert off(held, old, inputs) < 1e-5, "prepared is not active"
    use()
    assert off(backend.step(*inputs), new, inputs) < 1e-5
    assert off(held, old, inputs) < 1e-5, "answers do not lie in the buffers"
    assert backend.weights is second

    engines = len(built)
    TensorrtBackend(first, config, "why")
    assert len(built) == engines, "the second start takes the kept engine"
    del backend, use
    gc.collect()
    assert not cuda.memory, "memory of the GPU is given back"


def test_missing_gpu_is_named(gpu, tmp_path):
    config = BackendConfig(backend="tensorrt", device="cuda:3", engine_dir=str(tmp_path))
    with pytest.raises(BackendError, match="^model.device cuda:3: .*invalid device"):
        TensorrtBackend(random_weights(MODEL), config, "")


def test_new_weights_that_compute_nonsense_are_refused(gpu, tmp_path, monkeypatch):
    config = BackendConfig(backend="tensorrt", device="cuda", engine_dir=str(tmp_path))
    first, second = random_weights(MODEL, 0), random_weights(MODEL, 1)
    backend = TensorrtBackend(first, config, "")
    monkeypatch.setattr(tensorrt, "refit", lambda engine, graph: None)
    monkeypatch.setattr(tensorrt, "build_engine", lambda graph: backend.plan)
    with pytest.raises(BackendError, match="^engine tensorrt"):
        backend.update_weights(second)
    assert backend.weights is first


def test_engine_that_the_gpu_has_no_room_for_is_an_error(gpu, tmp_path, monkeypatch):
    config = BackendConfig(backend="tensorrt", device="cuda", engine_dir=str(tmp_path))
    weights = random_weights(MODEL)
    backend = TensorrtBackend(weights, config, "")
    monkeypatch.setattr(FakeEngine, "create_execution_context", lambda engine: None)
    for start in (
        lambda: backend.update_weights(weights),
        lambda: TensorrtBackend(weights, config, ""),
    ):
        with pytest.raises(BackendError, match="model.backend torch or onnx$"):
            start()


class FakeConfig:
    """Builder settings of TensorRT for RTX, as far as a target needs them."""

    accepts = True

    def set_compute_capability(self, target, index):
        self.target = target
        return self.accepts and index < self.num_compute_capabilities


@pytest.mark.parametrize(("capability", "target"), [("", "here"), ("7.5", "old"), ("8.9", "new")])
def test_portable_engines_have_one_target(capability, target):
    names = SimpleNamespace(CURRENT="here", SM75="old", SM89="new")
    trt, config = SimpleNamespace(ComputeCapability=names), FakeConfig()
    tensorrt_build.aim(trt, config, capability)
    assert (config.num_compute_capabilities, config.target) == (1, target)
    with pytest.raises(BackendError, match=r"9\.0: .*7\.5, 8\.9"):
        tensorrt_build.aim(trt, config, "9.0")
    config.accepts = False
    with pytest.raises(BackendError, match=f"{capability or 'this GPU'}, .*model.backend"):
        tensorrt_build.aim(trt, config, capability)


def test_engines_without_a_target_are_reported_by_their_key(monkeypatch):
    """They were kept under the capability of a GPU that they do not run on."""
    trt = SimpleNamespace(__name__="tensorrt_rtx", __version__="1", ComputeCapability=None)
    monkeypatch.setattr(tensorrt_build, "tensorrt", lambda: trt)
    here, ahead = (
        tensorrt_build.engine_key(random_weights(MODEL), b"graph", gpu, "7.5", "fp32")
        for gpu in ("Fake GPU", "any")
    )
    assert here == ahead and here["target"] == "capability"


@pytest.fixture(scope="module")
def rtx():
    """TensorRT for RTX, which builds without a GPU."""
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_engine_is_built_ahead_for_another_machine(rtx, tmp_path, precision):
    weights = random_weights(MODEL)
    graph = tensorrt_build.graph_bytes(weights, precision)
    key = tensorrt_build.engine_key(weights, graph, "any", "8.9", precision)
    assert key["gpu"] == "any"
    assert rtx.__version__ in key["tensorrt"]
    plan = cached_engine(
        tmp_path, key, lambda: tensorrt_build.build_engine(graph, capability="8.9")
    )
    assert len(plan) > 2 * sum(array.size for array in weights.arrays.values())
    assert cached_engine(tmp_path, key, lambda: pytest.fail("built again")) == plan


def test_profile_and_flags_are_what_the_backend_needs(rtx):
    graph = tensorrt_build.graph_bytes(random_weights(MODEL), "fp32")
    builder, network, _parser = tensorrt_build.parsed(graph)
    shapes = [tuple(network.get_input(i).shape) for i in range(network.num_inputs)]
    assert shapes == [(-1, 7, 32, 64), (-1, MODEL.hidden), (-1, MODEL.hidden)]
    config = tensorrt_build.configured(rtx, builder, network, "")
    assert config.get_flag(rtx.BuilderFlag.REFIT)
    assert not config.get_flag(rtx.BuilderFlag.TF32)
    assert config.num_optimization_profiles == config.num_compute_capabilities == 1
    assert config.get_compute_capability(0) == rtx.ComputeCapability.CURRENT
    assert tensorrt_build.PROFILE[-1] == BUCKETS[-1]
    ahead = tensorrt_build.configured(rtx, builder, network, "12.0")
    assert ahead.get_compute_capability(0) == rtx.ComputeCapability.SM120


def test_what_tensorrt_refuses_is_said_in_one_line(rtx):
    with pytest.raises(BackendError, match=r"9\.0: .* 8\.9"):
        tensorrt_build.build_engine(
            tensorrt_build.graph_bytes(random_weights(MODEL), "fp32"), capability="9.0"
        )
    with pytest.raises(BackendError, match=re.escape(rtx.__version__)):
        tensorrt_build.build_engine(b"no graph", capability="8.9")
