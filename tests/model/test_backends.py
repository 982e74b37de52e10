import numpy as np
import pytest

from savos_model.backends.base import BackendError, check_inputs, choose
from savos_model.backends.onnx import OnnxBackend
from savos_model.config import BackendConfig, ModelConfig
from savos_model.layers import input_channels, parameter_shapes
from savos_model.settings import SettingError
from savos_model.weights import Weights


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
        ModelConfig(width=0.25),
        ModelConfig(width=0.125, prior_mask=False),
        ModelConfig(width=0.125, patch_height=64, patch_width=128),
        ModelConfig(
            width=0.125,
            patch_height=64,
            patch_width=128,
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
                getattr(got, name), getattr(want, name), atol=2e-5, err_msg=name
            )
        h, c = got.h, got.c


def test_wrong_arrays_are_refused_by_name():
    model = ModelConfig(width=0.125)
    h = np.zeros((2, model.hidden), np.float32)
    with pytest.raises(SettingError, match="patches must be float32"):
        check_inputs(np.zeros((2, 6, 8, 8), np.float32), h, h, model)
    with pytest.raises(SettingError, match="c must be float32"):
        check_inputs(np.zeros((2, 7, 32, 64), np.float32), h, h[:1], model)


def test_auto_prefers_onnx_on_a_cpu_and_says_why():
    name, reason = choose(BackendConfig())
    assert name == "onnx"
    assert "CPU" in reason


def test_onnx_refuses_a_gpu():
    with pytest.raises(BackendError, match=r"model\.device is cuda"):
        choose(BackendConfig(backend="onnx", device="cuda"))


def test_missing_engine_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr("savos_model.backends.base.installed", lambda module: False)
    with pytest.raises(BackendError, match="pip install"):
        choose(BackendConfig())
    with pytest.raises(BackendError, match=r"savos_ros\[torch\]"):
        choose(BackendConfig(backend="torch"))


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_other_weights_take_over_between_two_steps(name):
    if name == "torch":
        pytest.importorskip("torch")
        from savos_model.backends.torch import TorchBackend as Chosen

        extra = ("cpu",)
    else:
        Chosen, extra = OnnxBackend, ()  # noqa: N806
    model = ModelConfig(width=0.125)
    first, second = random_weights(model, 0), random_weights(model, 1)
    backend, other = Chosen(first, *extra, 1, ""), Chosen(second, *extra, 1, "")
    h = np.zeros((2, model.hidden), np.float32)
    patches = np.random.default_rng(3).random((2, input_channels(model), *model.patch), np.float32)
    before = backend.step(patches, h, h)
    use = backend.update_weights(second)
    for got, want in zip(backend.step(patches, h, h), before, strict=True):
        np.testing.assert_array_equal(got, want, err_msg="prepared is not in force")
    assert backend.weights is first
    use()
    assert backend.weights is second
    for got, want in zip(backend.step(patches, h, h), other.step(patches, h, h), strict=True):
        np.testing.assert_array_equal(got, want)
    assert np.abs(before.mask_logits - other.step(patches, h, h).mask_logits).max() > 1e-3
