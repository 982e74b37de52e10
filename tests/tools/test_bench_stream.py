import numpy as np
import pytest

from savos_model.config import ModelConfig
from savos_model.results import read_results
from savos_ros.tools import bench_stream as bench
from savos_ros.tools.bench_scene import scene
from savos_ros.tools.bench_stream import Case, message_runner
from savos_ros.tools.settings import BenchStreamConfig


def test_scene_has_as_many_objects_as_asked_for_in_touching_pairs():
    clip = scene((96, 320), 5, seed=3)
    for image, labels in clip:
        assert image.shape == (96, 320, 3) and image.dtype == np.uint8
        assert set(np.unique(labels)) == set(range(6))
    assert any((a[1] != b[1]).any() for a, b in zip(clip, clip[1:], strict=False))
    areas = np.bincount(clip[0][1].ravel())[1:]
    assert areas[1] > areas[0] > 0.6 * areas[1]  # the second of a pair hides part of the first
    with pytest.raises(ValueError, match="^tracks .* 101:"):
        scene((96, 320), 101, seed=3)


@pytest.mark.slow
def test_report_tells_stages_shares_and_slopes(tmp_path, monkeypatch):
    model = ModelConfig(width=0.0625)
    monkeypatch.setattr(bench, "NETWORKS", {bench.SMALL: ModelConfig(), bench.LARGE: model})
    monkeypatch.setattr(bench, "SIZES", {bench.USUAL: (96, 320), bench.LARGEST: (192, 320)})
    monkeypatch.setattr(bench, "COPY_BYTES", 1 << 16)
    monkeypatch.setattr(bench, "TRACKS", (2, 10))
    monkeypatch.setattr("savos_ros.tools.bench_step.MATRIX", {"cpu": 64})
    out = tmp_path / "stream.json"
    report = bench.bench_stream(BenchStreamConfig(rounds=2, frames=2, threads=1), out)
    assert read_results(out)["metrics"] == report
    assert report["engine"] == "onnx"
    rows = {Case(*(row[name] for name in Case._fields)): row for row in report["rows"]}
    assert {case for case in rows if case.image == bench.USUAL and not case.messages} == {
        Case(network, bench.USUAL, tracks)
        for network in (bench.SMALL, bench.LARGE)
        for tracks in (2, 10)
    }
    for case, row in rows.items():
        assert row["ms"]["network"]["p50"] < row["ms"]["total"]["p50"] <= row["ms"]["total"]["p99"]
        assert ("overhead" in row["ms"]) == case.messages
        assert ("decoder" in row["ms"]) == case.jpeg
        assert row["cores"] > 0 and row["mask_bytes"] > 100 * case.tracks
    assert set(report["other_engines"]) | set(report["absent"]) >= {"openvino"}
    assert set(report["per_track_ms"][bench.LARGE]) == {"2-10"}


def test_figures_of_a_case_by_hand(monkeypatch):
    monkeypatch.setattr(bench, "step_flop", lambda model: 1e9)
    took = [(6.0, 10.0), (5.0, 20.0), (20.0, 40.0)]
    more = {"cpu": 30.0, "mask_bytes": 7}
    times = [{"network": network, "total": total, **more} for network, total in took]
    row = bench.figures(Case(bench.SMALL, bench.USUAL, 4, False), times, 2.0)
    assert (row["hz"], row["other_share"]) == (50.0, 0.5)
    assert row["limit_ms"] == 2000.0  # 4 GFLOP at 2 GFLOP/s
    assert (row["cores"], row["mask_bytes"]) == (1.5, 7)
    assert row["ms"]["total"] == {"p50": 20.0, "p99": pytest.approx(39.6)}


def test_slopes_by_hand():
    def row(tracks, total, messages=False):
        case = Case(bench.SMALL, bench.USUAL, tracks, messages)
        return {**case._asdict(), "hz": 1e3 / total, "ms": {"total": {"p50": total}}}

    rows = [row(1, 4.0), row(10, 10.0, messages=True), row(3, 5.0), row(10, 40.0)]
    assert bench.slopes(rows, bench.SMALL) == {"1-3": 0.5, "3-10": 5.0}


def test_pipeline_answers_every_frame_of_the_message_case():
    pytest.importorskip("rclpy")
    from savos_model.backends.choose import make_backend
    from savos_model.config import BackendConfig
    from savos_model.stream.stream import AmodalStream

    stream = AmodalStream(make_backend(BackendConfig(threads=1)))
    run = message_runner(stream, scene((96, 320), 2, seed=0))
    run()
    took = run()
    assert took["network"] > 0 and 0 < took["overhead"] < took["total"]
    assert took["cpu"] > 0 and took["mask_bytes"] > 100
    assert stream.report.tracks == 2 and not stream.report.reset
    jpeg = message_runner(AmodalStream(stream.backend), scene((96, 320), 2, seed=0), jpeg=True)()
    assert jpeg["decoder"] > 0 and jpeg["overhead"] > 0 and jpeg["mask_bytes"] > 100
    assert "decoder" not in took


def test_the_engine_is_chosen_by_name_and_precision(monkeypatch):
    monkeypatch.setattr("savos_model.backends.choose.installed", lambda module: True)
    asked = [("auto", "fp32"), ("auto", "bf16"), ("openvino", "fp32"), ("torch", "bf16")]
    names = [
        bench.engine(BenchStreamConfig(backend=name, precision=precision))[1]
        for name, precision in asked
    ]
    assert names == ["onnx", "openvino", "openvino", "torch"]


def test_rivals_are_the_other_engines_of_a_cpu_that_are_installed(monkeypatch):
    absent = {}
    monkeypatch.setattr("savos_model.backends.choose.installed", lambda module: True)
    assert bench.rivals(BenchStreamConfig(), absent) == ["openvino"]
    assert bench.rivals(BenchStreamConfig(backend="openvino"), absent) == ["onnx"]
    assert bench.rivals(BenchStreamConfig(device="cuda"), absent) == [] and not absent
    monkeypatch.setattr(
        "savos_model.backends.choose.installed", lambda module: module != "openvino"
    )
    assert bench.rivals(BenchStreamConfig(), absent) == []
    assert "model.backend openvino needs a package" in absent["openvino"]
