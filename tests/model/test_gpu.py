"""Engines on a real GPU; `savos bench gpu` runs them, too."""

import numpy as np
import pytest

from savos_model.backends import choose
from savos_model.backends.interface import BUCKETS
from savos_model.backends.reference import TOLERANCE, deviation, random_inputs
from savos_model.config import BackendConfig, StreamConfig
from savos_model.network.weights import load_weights
from savos_model.stream.stream import AmodalStream
from tests import tiny_scene
from tests.model.test_backends import random_weights

torch = pytest.importorskip("torch")
NEEDS = {"torch": "torch", "onnx": "onnxruntime", "tensorrt": "cuda.bindings"}

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.fixture(params=["torch", "onnx", "tensorrt"])
def engine(request, tmp_path):
    """A function that starts one engine on the GPU."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    pytest.importorskip(NEEDS[request.param])
    if request.param == "onnx":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            pytest.skip("onnxruntime-gpu is not installed")
    if request.param == "tensorrt":
        from savos_model.backends.interface import TENSORRT_MODULES
        from savos_model.hints import installed

        if not any(map(installed, TENSORRT_MODULES)):
            pytest.skip("tensorrt is not installed")

    def start(weights, precision="fp32"):
        config = BackendConfig(
            backend=request.param, device="cuda", precision=precision, engine_dir=str(tmp_path)
        )
        return choose.tested(request.param, weights, config, "test")

    return start


def cpu(weights):
    return choose.tested("torch", weights, BackendConfig(threads=1), "test")


def apart(got, want):
    return max(deviation(got, want).values())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_number_of_tracks_equals_the_cpu(engine, precision):
    weights = load_weights(BackendConfig().weights)
    backend, reference = engine(weights, precision), cpu(weights)
    for tracks in (*BUCKETS, 3, 63, 65):
        inputs = random_inputs(weights, tracks)
        off = apart(backend.step(*inputs), reference.step(*inputs))
        assert off <= TOLERANCE[precision], tracks


def test_other_weights_take_over_and_give_way_again(engine):
    first = load_weights(BackendConfig().weights)
    second = random_weights(first.model, 1)
    backend, inputs = engine(first), random_inputs(first, 5)
    for weights in (second, first):
        backend.update_weights(weights)()
        assert backend.weights is weights
        assert apart(backend.step(*inputs), cpu(weights).step(*inputs)) <= TOLERANCE["fp32"]


def test_a_scene_has_the_masks_of_the_cpu(engine):
    weights = load_weights(BackendConfig().weights)
    streams = [AmodalStream(one, StreamConfig()) for one in (engine(weights), cpu(weights))]
    for index in range(6):
        ours, theirs = (stream.step(tiny_scene.frame(index)) for stream in streams)
        assert [item.id for item in ours] == [item.id for item in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.box == b.box
            assert np.abs(a.mask.astype(int) - b.mask.astype(int)).mean() < 1
