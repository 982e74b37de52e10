# ruff: noqa: E402  (nothing below imports where torch is absent)
import io
import os

import pytest

from tests.failing import refused

torch = pytest.importorskip("torch")

from rich.console import Console
from typer.testing import CliRunner

from savos_model.results import read_results
from savos_ros.cli.main import app
from training.bench import train as bench
from training.bench.settings import BenchTrainConfig
from training.bench.train import MIB, VARIANTS

CONFIG = BenchTrainConfig(rounds=3, tracks=2, frames=3, seconds=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench")
    bench.write_clips(path, seed=1)
    return path


def test_measures_time_and_memory_of_a_step(folder):
    result = bench.measure("small_bf16", folder, CONFIG)
    assert set(result) == {"wall_s", "cpu_s", "peak_mib", "data_s"}
    assert min(result["wall_s"], result["cpu_s"], result["data_s"]) > 0


def test_batches_of_windows_are_made_as_training_does(folder):
    variant = VARIANTS["short"]
    batch = bench.make_batch("short", folder, CONFIG)
    assert batch.patches.shape[:2] == variant.size(CONFIG) == (128, 2)
    again = bench.make_batch("forward", folder, CONFIG)
    assert torch.equal(batch.patches, again.patches)
    assert len(torch.unique(batch.boxes[:, 0, 0])) > 16  # different crops of few objects
    settings = bench.make_batch("default", folder, CONFIG)
    assert settings.patches.shape[:2] == (CONFIG.tracks, CONFIG.frames)


def test_peak_remembers_memory_that_was_given_back():
    before = bench.memory_now("cpu")
    taken = torch.ones(256 * MIB // 4)
    del taken
    assert bench.memory_peak("cpu") - before > 250 * MIB


def test_measurements_run_in_processes_of_their_own():
    assert bench.in_fresh_process("x", os.getpid) not in (os.getpid(), None)
    with pytest.raises(ValueError, match=r"\bx\b"):
        bench.in_fresh_process("x", os.abort)


def test_report_gives_medians_over_rounds(tmp_path, monkeypatch):
    loads = {"small_bf16": iter((1.0, 10.0, 4.0)), "short": iter((2.0, 2.0, 2.0))}

    def fake(name, *_):
        seconds = 0.2 * next(loads.get(name, iter((1.0,))))
        return {"wall_s": seconds, "cpu_s": seconds / 2, "peak_mib": 100.0, "data_s": seconds}

    monkeypatch.setattr(bench, "in_fresh_process", fake)
    metrics = bench.bench_train(CONFIG, tmp_path / "out.json")
    ours = metrics["variants"]["small_bf16"]
    assert ours["wall_s"] == pytest.approx(0.8) and ours["rounds_wall_s"][1] == pytest.approx(2.0)
    assert ours["object_frames_per_s"] == pytest.approx(6 / 0.8)
    assert ours["object_frames_per_s_with_data"] == pytest.approx(6 / 1.6)
    assert metrics["variants"]["short"]["object_frames_per_s"] == pytest.approx(256 / 0.4)
    assert read_results(tmp_path / "out.json")["metrics"] == metrics
    console = Console(width=100, record=True, file=io.StringIO())
    bench.print_bench(metrics, console)
    assert "640.0" in console.export_text()


def test_wrong_settings_are_refused_by_name():
    with refused("frames", "bounds"):
        BenchTrainConfig(frames=2)
    result = CliRunner().invoke(app, ["bench", "train", "--tracks", "1"])
    assert result.exit_code == 2
    assert "--tracks" in result.output
