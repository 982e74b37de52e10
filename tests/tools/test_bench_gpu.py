# ruff: noqa: E402  (nothing below imports where torch is absent)
import contextlib
import json
import subprocess
import sys
import time

import psutil
import pytest
import tiny_weights
from failing import refused
from rich.console import Console
from typer.testing import CliRunner

pytest.importorskip("torch")

from savos_model.backends.interface import BackendError
from savos_model.network.weights import load_weights
from savos_model.results import read_results
from savos_ros.cli.main import app
from savos_ros.tools import bench_gpu, bench_gpu_engine, bench_gpu_page, bench_gpu_steps
from savos_ros.tools.bench_gpu_engine import AbsentError
from savos_ros.tools.settings import DemoError, GpuOptions, GpuPlan


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tiny_weights.save_random(tmp_path_factory.mktemp("weights") / "w.safetensors")
    return GpuPlan(
        "cpu", str(path), 0, ("fp32",), tracks=(1, 2), frame_tracks=(2,), image=(96, 320),
        seconds=0.0, sequence=2, iterations=1, windows=2,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_dry_run_of_everything(tmp_path):
    run = CliRunner().invoke(
        app, ["bench", "gpu", "--dry-run", "--minutes", "20", "--out", str(tmp_path)]
    )
    steps = read_results(tmp_path / "gpu.json")["metrics"]["steps"]
    states = {name: (step["state"], step["error"]) for name, step in steps.items()}
    absent = "model.backend tensorrt needs a GPU: set model.device cuda"
    assert states == {
        name: ("absent", absent) if name == "tensorrt" else ("done", "")
        for name in bench_gpu_steps.STEPS
    }
    assert run.exit_code == 0 and steps["tests"]["result"]["failed"] == {}
    for name in ("torch", "onnx"):
        found = steps[name]["result"]["fp32"]
        assert found["parity"]["good"] and set(found["steps"]) == {"1", "4"}
    page = (tmp_path / "gpu.md").read_text()
    for part in ("Difference from", "Speed of", "Start", "Adaptation next", "Training", "Tests"):
        assert f"## {part}" in page


@pytest.mark.slow
def test_an_engine_is_measured_in_every_part(plan, tmp_path):
    kept = []
    found = bench_gpu_engine.engine("onnx", plan, tmp_path, lambda part: kept.append(len(part)))
    part = found["fp32"]
    assert part["parity"]["good"] and part["parity"]["sequence"] < 1e-4
    assert set(part["parity"]["by_tracks"]) == {"1", "2", "3"}
    times = part["steps"]["2"]
    assert times["calls"] >= bench_gpu_engine.LEAST and times["p50_ms"] <= times["p99_ms"]
    assert times["fps"] == pytest.approx(1e3 / times["p50_ms"])
    assert part["swap"]["parity"] < 1e-4 > part["swap"]["parity_back"]
    assert part["swap"]["meanwhile"]["calls"] >= 1
    assert len(kept) == 5, "kept after each part, for a step that is ended before it is done"


def test_an_engine_that_computes_something_else_is_not_good(plan):
    weights = load_weights(plan.weights)
    right = bench_gpu_engine.on_cpu(weights)
    wrong = bench_gpu_engine.on_cpu(bench_gpu_engine.changed(weights, 1))
    assert bench_gpu_engine.parity(right, weights, "fp32", plan)["good"]
    found = bench_gpu_engine.parity(wrong, weights, "fp32", plan)
    assert not found["good"] and min(found["by_tracks"].values()) > found["allowed"]


def test_an_engine_that_fails_in_one_precision_is_measured_in_the_other(
    plan, tmp_path, monkeypatch
):
    def measured(name, weights, config, plan):
        yield {"reason": config.precision}
        if config.precision == "fp16":
            raise BackendError("no such kernel")

    monkeypatch.setattr(bench_gpu_engine, "measured", measured)
    monkeypatch.setattr(bench_gpu_engine, "candidates", lambda config: [])
    both = GpuPlan("cuda", plan.weights, 0)
    found = bench_gpu_engine.engine("torch", both, tmp_path, lambda part: None)
    assert "error" not in found["fp32"] and found["fp16"]["error"].endswith("no such kernel")
    half = GpuPlan("cuda", plan.weights, 0, precisions=("fp16",))
    with pytest.raises(BackendError, match="no such kernel"):
        bench_gpu_engine.engine("torch", half, tmp_path, lambda part: None)


@pytest.mark.slow
def test_adaptation_reports_its_losses(plan):
    found = bench_gpu_steps.adapted(plan)
    assert found["iterations"] == 1 and found["seconds"] > 0
    assert found["first_loss"] == found["last_loss"] > 0, "one iteration has one loss"


def test_a_step_is_ended_at_its_limit_with_all_that_it_started(tmp_path):
    child = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '300']);"
    child += "print(p.pid, flush=True); time.sleep(300)"
    began = time.monotonic()
    with (tmp_path / "log").open("wb") as log:
        assert bench_gpu.run_group([sys.executable, "-c", child], log, 5.0) is None
    assert time.monotonic() - began < 60
    sleeper = int((tmp_path / "log").read_text())
    wait_for(lambda: not psutil.pid_exists(sleeper) or is_zombie(sleeper))


def is_zombie(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == "zombie"
    return True


def wait_for(condition, limit_s=10.0):
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("status", "kept", "state", "error"),
    [
        (0, {"state": "done", "error": "", "result": {"a": 1}}, "done", ""),
        (None, {"state": "unfinished", "error": "", "result": {"a": 1}}, "timed out", "9 s"),
        (1, {"state": "failed", "error": "ValueError: b", "result": {}}, "failed", "ValueError: b"),
        (-11, None, "failed", "status -11: last words"),
    ],
    ids=["done", "timed out", "failed", "died"],
)
def test_what_became_of_a_step(plan, tmp_path, monkeypatch, status, kept, state, error):
    def run_group(command, output, limit_s):
        output.write(b"last words\n")
        if kept is not None:
            (tmp_path / "torch.json").write_text(json.dumps(kept))
        return status

    monkeypatch.setattr(bench_gpu, "run_group", run_group)
    found = bench_gpu.run_step("torch", plan, tmp_path, 9.0)
    assert found["state"] == state and error in found["error"]
    assert found["result"] == (kept or {"result": {}})["result"]
    assert not (tmp_path / "torch.json").exists()


def test_steps_go_on_after_a_failure_and_end_with_the_time(tmp_path, monkeypatch):
    now, limits = [0.0], []

    def run_step(name, plan, out, limit_s):
        limits.append(limit_s)
        now[0] += limit_s
        state = "failed" if name == "machine" else "done"
        return {"state": state, "seconds": limit_s, "error": "", "result": {}}

    monkeypatch.setattr(bench_gpu, "run_step", run_step)
    monkeypatch.setattr(bench_gpu, "has_gpu", lambda: True)
    monkeypatch.setattr(bench_gpu.time, "monotonic", lambda: now[0])
    report = bench_gpu.bench_gpu(GpuOptions(minutes=4.0), tmp_path, Console(quiet=True))
    assert list(report["steps"]) == list(bench_gpu_steps.STEPS)
    assert sum(limits) == pytest.approx(240) and limits[0] == 20
    assert not bench_gpu.good(report)
    assert read_results(tmp_path / "gpu.json")["metrics"]["seconds"] == pytest.approx(240)
    assert "| machine | failed |" in (tmp_path / "gpu.md").read_text()


def test_the_page_shows_every_figure():
    speed = {"fps": 1234.5, "p50_ms": 0.81}
    part = {"parity": {"by_tracks": {"4": 1.2345e-5}, "sequence": None, "good": False}}
    result = {"fp16": {**part, "steps": {"4": speed}}, "fp32": {"error": "no | such\nkernel"}}
    step = {"state": "done", "seconds": 3.0, "error": "", "result": result}
    settings = {"dry_run": False, "weights": "w"}
    found = bench_gpu_page.page({"settings": settings, "steps": {"torch": step}}).splitlines()
    assert found[0] == "# GPU: w" and "| torch | done | 3 |  |" in found
    assert "|  | by_tracks 4 | sequence | good |" in found
    assert "| torch fp16 | 1.23e-05 | not finite | NO |" in found
    assert "| torch fp16, 4 | 1234 | 0.81 |" in found
    assert r"| torch fp32 | no \| such kernel |" in found
    assert "## Training" not in found


def test_good_means_parity_and_tests_too():
    def report(result, state="done"):
        return {"steps": {"torch": {"state": state, "result": result}}}

    right, wrong = ({"fp32": {"parity": {"good": good}}} for good in (True, False))
    assert bench_gpu.good(report(right)) and bench_gpu.good(report({}, "absent"))
    assert not bench_gpu.good(report(wrong))
    assert not bench_gpu.good(report({"fp16": {"error": "no"}}))
    assert not bench_gpu.good(report({"passed": 1, "failed": {"test_a": "why"}}))
    assert not bench_gpu.good(report({}, "no time"))


def test_without_a_gpu_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_gpu, "has_gpu", lambda: False)
    with pytest.raises(DemoError, match="--dry-run"):
        bench_gpu.bench_gpu(GpuOptions(), tmp_path / "gpu", Console())
    assert not (tmp_path / "gpu").exists()
    with refused("only"):
        bench_gpu.bench_gpu(GpuOptions(only=("disk",)), tmp_path, Console())


def test_tests_are_counted_with_their_reasons(tmp_path):
    (tmp_path / "test_three.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n"
        "def test_c(): pytest.skip('no such card')\n"
    )
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run([*command, f"--junitxml={report}", str(tmp_path)], check=False, cwd=tmp_path)
    found = bench_gpu_steps.counted(report)
    assert found["passed"] == 1 and list(found["failed"]) == ["test_b"]
    assert found["skipped"] == {"test_c": "no such card"}


def test_an_install_without_tests_says_so(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_gpu_steps, "installed", lambda name: False)
    with pytest.raises(AbsentError, match="source tree"):
        bench_gpu_steps.tests(plan, tmp_path, lambda part: None)
