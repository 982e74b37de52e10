from types import SimpleNamespace

import numpy as np
import pytest

from savos_model.backends import choose
from savos_model.backends.choose import candidates, make_backend, start
from savos_model.backends.interface import (
    BUCKETS,
    BackendError,
    StepOutput,
    check_inputs,
    in_buckets,
)
from savos_model.backends.onnx import CPU_BATCH, OnnxBackend
from savos_model.backends.reference import deviation, random_inputs, reference_step, self_test
from savos_model.config import BackendConfig, ModelConfig
from savos_model.network.layers import input_channels, parameter_shapes, step_flop
from savos_model.network.weights import Weights
from tests.failing import refused
from tests.presets import PAPER_PATCH, PAPER_SMALL

ROUNDING = 5e-5  # of float32 through all layers: up to 2.4e-6 seen, of wrong weights over 1e-3


def random_weights(model: ModelConfig, seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    arrays = {}
    for key, shape in parameter_shapes(model).items():
        spread = rng.uniform(-1, 1, shape) * (
            np.sqrt(3 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        )
        arrays[key] = (spread + (len(shape) == 1 and key.endswith("weight"))).astype(np.float32)
    return Weights("random", model, arrays, {})


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(),
        ModelConfig(width=0.125, prior_mask=False),
        ModelConfig(width=0.25, **PAPER_PATCH),
        ModelConfig(width=0.25, **PAPER_SMALL),
        ModelConfig(width=0.125, **PAPER_SMALL, prior_mask=False),
        ModelConfig(width=0.125, preset="paper", **PAPER_PATCH),
        ModelConfig(
            width=0.125,
            **PAPER_PATCH,
            preset="official",
            occluder_hint=False,
            prior_mask=False,
        ),
    ],
)
def test_onnx_equals_torch(model):
    pytest.importorskip("torch")
    from savos_model.backends.torch import TorchBackend

    weights = random_weights(model)
    ours, reference = OnnxBackend(weights, 1, ""), TorchBackend(weights, "cpu", 1, "")
    rng = np.random.default_rng(1)
    h = c = np.zeros((3, model.hidden), np.float32)
    for tracks in (3, 3, 1, 5):  # the batch size is free
        h, c = np.resize(h, (tracks, model.hidden)), np.resize(c, (tracks, model.hidden))
        patches = rng.random((tracks, input_channels(model), *model.patch), np.float32)
        got, want = ours.step(patches, h, c), reference.step(patches, h, c)
        for name in got._fields:
            np.testing.assert_allclose(
                getattr(got, name), getattr(want, name), atol=1e-4, err_msg=name
            )
        h, c = got.h, got.c


@pytest.mark.parametrize("tracks", [CPU_BATCH, CPU_BATCH + 1, 2 * CPU_BATCH + 5])
def test_tracks_do_not_depend_on_their_batch(tracks):
    weights = random_weights(ModelConfig(width=0.125, patch_height=32, patch_width=64))
    engine, inputs = OnnxBackend(weights, 1, ""), random_inputs(weights, tracks)
    sizes, run = [], engine.session.run

    def counted(names, given):
        sizes.append(len(given["patches"]))
        return run(names, given)

    engine.session = SimpleNamespace(run=counted)
    together = engine.step(*inputs)
    assert sum(sizes) == tracks and max(sizes) <= CPU_BATCH and max(sizes) - min(sizes) <= 1
    rows = [engine.step(*(array[i : i + 1] for array in inputs)) for i in range(tracks)]
    assert (
        max(deviation(together, StepOutput(*map(np.concatenate, zip(*rows, strict=True)))).values())
        < 1e-6
    )


def test_wrong_arrays_are_refused_by_name():
    model = ModelConfig(width=0.125)
    h = np.zeros((2, model.hidden), np.float32)
    with refused("patches"):
        check_inputs(np.zeros((2, 6, 8, 8), np.float32), h, h, model)
    with refused("c"):
        check_inputs(np.zeros((2, 7, *model.patch), np.float32), h, h[:1], model)


def test_auto_prefers_onnx_on_a_cpu_and_says_why():
    (name, reason), *_ = candidates(BackendConfig())
    assert name == "onnx"
    assert "cpu" in reason


def test_auto_on_a_gpu_prefers_tensorrt_then_torch(monkeypatch):
    monkeypatch.setattr(choose, "installed", lambda module: True)
    names = [name for name, _ in candidates(BackendConfig(device="cuda"))]
    assert names == ["tensorrt", "torch", "onnx"]
    monkeypatch.setattr(choose, "installed", lambda module: module != "cuda.bindings")
    assert candidates(BackendConfig(device="cuda"))[0][0] == "torch"


def test_auto_continues_to_the_next_engine_and_says_so(monkeypatch):
    def start(name, weights, config, reason):
        if name == "onnx":
            raise BackendError("it broke")
        return OnnxBackend(weights, 1, reason)

    monkeypatch.setattr(choose, "installed", lambda module: True)
    monkeypatch.setattr(choose, "start", start)
    assert make_backend(BackendConfig()).reason.endswith("; not onnx: it broke")
    with pytest.raises(BackendError, match="it broke"):
        make_backend(BackendConfig(backend="onnx"))


@pytest.mark.parametrize(
    "error", [ImportError("libcudnn.so.9: no such file"), OSError("broken"), ValueError("odd")]
)
def test_auto_continues_whatever_an_engine_raises(monkeypatch, error):
    def start(name, weights, config, reason):
        if name == "onnx":
            raise error
        return OnnxBackend(weights, 1, reason)

    monkeypatch.setattr(choose, "installed", lambda module: True)
    monkeypatch.setattr(choose, "start", start)
    assert make_backend(BackendConfig()).reason.endswith(f"; not onnx: {error}")
    with pytest.raises(BackendError, match=str(error)):
        make_backend(BackendConfig(backend="onnx"))


def test_gpu_engines_are_refused_on_a_cpu():
    with pytest.raises(BackendError, match="^model.backend tensorrt .*model.device cuda$"):
        candidates(BackendConfig(backend="tensorrt"))
    with refused("precision"):
        BackendConfig(precision="fp16")
    with refused("precision"):
        BackendConfig(precision="bf16", device="cuda")
    with refused("device"):
        BackendConfig(device="gpu")


def test_bf16_runs_on_torch_near_fp32():
    pytest.importorskip("torch")
    with pytest.raises(BackendError, match="^model.precision bf16 .*model.backend"):
        make_backend(BackendConfig(backend="onnx", precision="bf16"))
    backend = make_backend(BackendConfig(backend="torch", precision="bf16", threads=1))
    inputs = random_inputs(backend.weights, 2)
    off = deviation(backend.step(*inputs), reference_step(backend.weights, *inputs))
    assert 1e-4 < max(off.values()) < 5e-2
    assert {getattr(backend.step(*inputs), name).dtype for name in off} == {np.dtype("float32")}


def test_flop_of_the_papers_network():
    """Counted by torch.utils.flop_counter: 592 million per object-frame."""
    paper = ModelConfig(
        width=1.0, preset="paper", **PAPER_PATCH, prior_mask=False, occluder_hint=False
    )
    assert step_flop(paper) == pytest.approx(592e6, rel=0.01)


def test_missing_engine_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(choose, "installed", lambda module: False)
    with pytest.raises(BackendError, match="pip install"):
        candidates(BackendConfig())
    with pytest.raises(BackendError, match="pip install torch$"):
        candidates(BackendConfig(backend="torch"))


@pytest.mark.parametrize("preset", [{}, PAPER_SMALL])
@pytest.mark.parametrize("prior", [True, False])
def test_reference_equals_torch(preset, prior):
    pytest.importorskip("torch")
    from savos_model.backends.torch import TorchBackend

    weights = random_weights(ModelConfig(width=0.25, prior_mask=prior, **preset))
    inputs = random_inputs(weights, 2)
    got = reference_step(weights, *inputs)
    off = deviation(TorchBackend(weights, "cpu", 1, "").step(*inputs), got)
    assert max(off.values()) < ROUNDING, off


def test_self_test_refuses_an_engine_that_is_wrong():
    weights = random_weights(ModelConfig(width=0.125))
    step = OnnxBackend(weights, 1, "").step
    self_test("right", weights, step, "fp32")
    with pytest.raises(BackendError, match=r"^engine bent .*alpha .* 0\.0"):
        bent = lambda *inputs: step(*inputs)._replace(alpha=step(*inputs).alpha + 0.01)  # noqa: E731
        self_test("bent", weights, bent, "fp32")
    broken = lambda *inputs: StepOutput(*(0 * a + np.nan for a in step(*inputs)))  # noqa: E731
    with pytest.raises(BackendError, match="^engine broken .* nan,"):
        self_test("broken", weights, broken, "fp32")


@pytest.mark.parametrize("tracks", [1, 3, 64, 65, 150])
def test_buckets_fill_up_and_cut_off(tracks):
    sizes = []

    def run(*arrays):
        sizes.append(len(arrays[0]))
        buffer = arrays[0] * 2
        return [buffer, buffer, buffer, arrays[1], arrays[2]]

    rng = np.random.default_rng(0)
    x, h, c = (rng.random((tracks, width), np.float32) for width in (5, 2, 3))
    out = in_buckets(run, x, h, c)
    assert set(sizes) <= set(BUCKETS)
    assert sum(sizes) < 2 * tracks
    np.testing.assert_array_equal(out.residual, 2 * x)
    np.testing.assert_array_equal(out.h, h)
    np.testing.assert_array_equal(out.c, c)


def test_torch_buckets_equal_the_plain_step_and_follow_new_weights():
    pytest.importorskip("torch")
    from savos_model.backends.torch import Bucket, TorchBackend

    model = ModelConfig(width=0.125)
    first, second = random_weights(model, 0), random_weights(model, 1)
    backend = TorchBackend(first, "cpu", 1, "")
    buckets = {rows: Bucket(backend, rows) for rows in (1, 2, 4)}  # on CUDA each one is a graph
    inputs = random_inputs(first, 3)

    def off():
        got = in_buckets(lambda *arrays: buckets[len(arrays[0])](*arrays), *inputs)
        return max(deviation(got, backend.step(*inputs)).values())

    assert off() < ROUNDING
    backend.update_weights(second)()
    assert off() < ROUNDING
    assert (
        max(deviation(backend.step(*inputs), reference_step(second, *inputs)).values()) < ROUNDING
    )


@pytest.mark.parametrize(
    "name",
    [
        "onnx",
        pytest.param("openvino", marks=pytest.mark.slow),
        pytest.param("torch", marks=pytest.mark.torch),
    ],
)
def test_other_weights_take_over_between_two_steps(name):
    pytest.importorskip(f"savos_model.backends.{name}")
    config = BackendConfig(threads=1)
    model = ModelConfig(width=0.125)
    first, second = random_weights(model, 0), random_weights(model, 1)
    backend, other = start(name, first, config, ""), start(name, second, config, "")
    h = np.zeros((2, model.hidden), np.float32)
    patches = np.random.default_rng(3).random((2, input_channels(model), *model.patch), np.float32)
    before = backend.step(patches, h, h)
    use = backend.update_weights(second)
    for got, want in zip(backend.step(patches, h, h), before, strict=True):
        np.testing.assert_array_equal(got, want, err_msg="prepared is not active")
    assert backend.weights is first
    use()
    assert backend.weights is second
    for got, want in zip(backend.step(patches, h, h), other.step(patches, h, h), strict=True):
        np.testing.assert_array_equal(got, want)
    assert np.abs(before.mask_logits - other.step(patches, h, h).mask_logits).max() > 1e-3
