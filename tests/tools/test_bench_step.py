import pytest
from failing import refused

from savos_model.backends.interface import BackendError
from savos_model.config import ModelConfig
from savos_model.network.layers import step_flop
from savos_model.results import read_results
from savos_ros.tools import bench_step
from savos_ros.tools.settings import BenchStepConfig

pytestmark = pytest.mark.slow  # each measures engines


def test_every_engine_is_measured_next_to_the_limit(tmp_path, monkeypatch):
    model = ModelConfig(width=0.0625)
    monkeypatch.setattr(bench_step, "NETWORKS", {"tiny": model})
    monkeypatch.setattr(bench_step, "MATRIX", {"cpu": 64})
    out = tmp_path / "step.json"
    report = bench_step.bench_step(BenchStepConfig(rounds=2, seconds=0.0, tracks=(1, 3)), out)
    assert read_results(out)["metrics"] == report
    assert "set model.device cuda" in report["absent"]["tensorrt fp32"]
    assert {(row["tracks"], row["engine"]) for row in report["rows"]} >= {(1, "onnx"), (3, "onnx")}
    for row in report["rows"]:
        assert row["gflop"] == row["tracks"] * step_flop(model) / 1e9
        assert len(row["rounds_ms"]) == 2
        floor_ms = 1e3 * row["gflop"] / report["limit_gflops"]
        assert row["times_limit"] == pytest.approx(row["ms"] / floor_ms)


def test_machine_without_engines_is_told(monkeypatch):
    monkeypatch.setattr("savos_model.backends.choose.installed", lambda module: False)
    with pytest.raises(BackendError, match="pip install"):
        bench_step.bench_step(BenchStepConfig(rounds=1))


def test_bf16_is_measured_next_to_fp32(monkeypatch):
    engine = pytest.importorskip("savos_model.backends.openvino")
    monkeypatch.setattr(bench_step, "NETWORKS", {"tiny": ModelConfig(width=0.0625)})
    monkeypatch.setattr(bench_step, "MATRIX", {"cpu": 64})
    config = BenchStepConfig(
        rounds=1, seconds=0.0, precision="bf16", tracks=(2,), engine=("onnx", "openvino")
    )
    report = bench_step.bench_step(config)
    measured = {(row["engine"], row["precision"]) for row in report["rows"]}
    assert measured | {("openvino", "bf16")} == {
        ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")
    }  # fmt: skip
    assert "onnx bf16" in report["absent"]
    assert (("openvino", "bf16") in measured) == engine.has_bf16(engine.openvino.Core())
    assert all(row["cpu_ms"] > 0 for row in report["rows"])


def test_an_unknown_network_is_named():
    with refused("network"):
        BenchStepConfig(network=("small",))
