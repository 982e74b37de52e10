import dataclasses

import numpy as np
import onnx
import pytest

from savos_model.backends import export
from savos_model.backends.export import ExportError, export_onnx
from savos_model.backends.interface import StepOutput
from savos_model.backends.onnx import OnnxBackend
from savos_model.backends.reference import deviation, random_inputs, reference_step
from savos_model.config import ModelConfig
from tests.model.fake_tensorrt import one_thread
from tests.model.test_backends import ROUNDING, random_weights

pytestmark = pytest.mark.torch  # an export is compared with PyTorch where it is installed
WEIGHTS = random_weights(ModelConfig(width=0.125))


@pytest.mark.parametrize(("precision", "bound"), [("fp32", ROUNDING), ("fp16", 1e-2)])
def test_file_equals_the_network_for_any_number_of_tracks(tmp_path, precision, bound):
    path = tmp_path / "step.onnx"
    report = export_onnx(path, WEIGHTS, precision=precision, real=[random_inputs(WEIGHTS, 2)])
    assert report["real_batches"] == 1
    assert max(report["largest_difference"].values()) < bound
    session, plain = one_thread(path), OnnxBackend(WEIGHTS, 1, "")
    for tracks in (1, 3, 70):
        inputs = random_inputs(WEIGHTS, tracks)
        feeds = dict(zip(("patches", "h", "c"), inputs, strict=True))
        off = deviation(StepOutput(*session.run(None, feeds)), plain.step(*inputs))
        assert max(off.values()) < bound


def test_half_precision_halves_the_file_and_keeps_the_state_whole(tmp_path):
    for precision in ("fp32", "fp16"):
        export_onnx(tmp_path / f"{precision}.onnx", WEIGHTS, precision=precision)
    sizes = [(tmp_path / f"{p}.onnx").stat().st_size for p in ("fp16", "fp32")]
    assert sizes[0] < 0.6 * sizes[1]
    graph = onnx.load(tmp_path / "fp16.onnx").graph
    types = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert types == {onnx.TensorProto.FLOAT}


def test_file_says_what_it_is(tmp_path):
    path = tmp_path / "step.onnx"
    export_onnx(path, WEIGHTS, properties={"commit": "abc"})
    found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert found["commit"] == "abc"
    assert found["weights"] == "random"
    assert found["precision"] == "fp32"
    for name, value in dataclasses.asdict(WEIGHTS.model).items():
        assert found[name] == str(value)


@pytest.mark.parametrize("fault", [1e-3, np.nan])
def test_a_wrong_network_is_not_written(tmp_path, monkeypatch, fault):
    arrays = WEIGHTS.arrays | {}
    arrays["leave.bias"] = arrays["leave.bias"] + fault
    other = dataclasses.replace(WEIGHTS, arrays=arrays)
    monkeypatch.setattr(
        export, "original_step", lambda weights: ("it", lambda *a: reference_step(other, *a))
    )
    with pytest.raises(ExportError, match="mask_logits"):
        export_onnx(tmp_path / "step.onnx", WEIGHTS)
    assert list(tmp_path.iterdir()) == []


def test_without_torch_numpy_is_the_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "installed", lambda module: False)
    assert export_onnx(tmp_path / "step.onnx", WEIGHTS)["compared_with"] == "NumPy"
