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
from training.bench.train import MIB, PEER, VARIANTS

CONFIG = BenchTrainConfig(rounds=3, tracks=2, frames=3, seconds=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench")
    bench.write_clips(path, seed=1)
    return path


def test_counts_the_arithmetic_of_both_directions(folder):
    work = bench.count_gflop("paper_fp32", folder, CONFIG)
    # 0.59 GFLOP a forward step, about three times that with its gradients, in two directions.
    assert work / (CONFIG.tracks * CONFIG.frames) == pytest.approx(6 * 0.59, rel=0.05)


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


def test_report_gives_medians_and_ratios_within_rounds(tmp_path, monkeypatch):
    rounds = iter((1.0, 10.0, 4.0))  # the machine's load: ratios within a round do not see it
    state = {"load": 0.0}

    def fake(name, work, *_):
        if work is bench.measure_limit:
            state["load"] = next(rounds)
            return {"fp32": 50.0, "bf16": 100.0}
        if work is bench.count_gflop:
            return 12.0
        seconds = state["load"] * (2.4 if name == PEER else 0.2)
        memory = 900.0 if name == PEER else 100.0
        return {"wall_s": seconds, "cpu_s": seconds / 2, "peak_mib": memory, "data_s": seconds}

    monkeypatch.setattr(bench, "in_fresh_process", fake)
    metrics = bench.bench_train(CONFIG, tmp_path / "out.json")
    ours = metrics["variants"]["small_bf16"]
    assert ours["wall_s"] == pytest.approx(0.8)
    assert ours["object_frames_per_s"] == pytest.approx(6 / 0.8)
    assert ours["object_frames_per_s_with_data"] == pytest.approx(6 / 1.6)
    assert ours["share_of_limit"] == pytest.approx(12 / 0.8 / 100)
    ratio = metrics["ratios"]["paper_fp32"][PEER]
    windows = metrics["ratios"]["short"][PEER]  # 256 object-frames in the time of six
    assert windows["step"] == pytest.approx(12 * 256 / 6) and windows["memory"] == pytest.approx(9)
    assert ratio == pytest.approx({"step": 12, "with_data": 12, "cpu": 12, "memory": 9})
    assert read_results(tmp_path / "out.json")["metrics"] == metrics
    console = Console(width=100, record=True, file=io.StringIO())
    bench.print_bench(metrics, console)
    assert "12.0" in console.export_text()


def test_wrong_settings_are_refused_by_name():
    with refused("frames", "bounds"):
        BenchTrainConfig(frames=2)
    result = CliRunner().invoke(app, ["bench", "train", "--tracks", "1"])
    assert result.exit_code == 2
    assert "--tracks" in result.output
