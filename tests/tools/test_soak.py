import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

pytest.importorskip("rclpy", reason="rclpy is not installed")

from savos_model.results import read_results
from savos_model.types import Box
from savos_ros.cli.main import app
from savos_ros.tools import soak_run
from savos_ros.tools.settings import DemoError, SoakOptions
from savos_ros.tools.soak import against_fresh
from savos_ros.tools.soak_run import MASKS, REFINED, Feeder, frames_of, verdict
from savos_ros.tools.soak_scene import SoakFrame, renumbering, score, shares
from tests.tiny_weights import save_random

SHAPE = (40, 60)


def frame(*labels, **parts):
    array = np.zeros(SHAPE, np.uint16)
    for k, label in enumerate(labels):
        array[10:20, 12 * k : 12 * k + 10] = label
    parts = {"withheld": {}, "whole": {}} | parts
    return SoakFrame(np.zeros((*SHAPE, 3), np.uint8), array, **parts)


def test_every_round_has_new_ids_that_come_again_in_time():
    frames = [frame(1001, 2001), frame(1002, 2001, 1040)]
    rounds = [renumbering(frames, loop) for loop in range(60)]
    assert set(rounds[0]) == {1001, 1002, 1040, 2001} and rounds[0][2001] == 2001
    for one, two in zip(rounds, rounds[1:], strict=False):
        assert not set(one.values()) & set(two.values())
    for numbers in rounds:
        assert len(set(numbers.values())) == 4
        assert all(old // 1000 == new // 1000 and new % 1000 for old, new in numbers.items())
    assert any(set(rounds[0].values()) & set(later.values()) for later in rounds[2:])
    with pytest.raises(ValueError, match="499 .* 500:"):
        renumbering([frame(1500)], 0)


def test_scores_are_of_given_withheld_and_hidden_objects():
    mask = Box(0, 10, 10, 20), np.ones((10, 10), np.uint8)
    whole = Box(0, 10, 10, 30), np.ones((20, 10), np.uint8)
    it = frame(1001, 1002, withheld={1003: mask}, whole={1001: whole})
    nothing = shares(score(it, {}))
    assert nothing == {"visible_recall": 0, "withheld_recall": 0, "iou": 0}
    half = Box(0, 10, 10, 15), np.ones((5, 10), np.uint8)
    some = shares(score(it, {1001: mask, 1003: half}))
    assert some == {"visible_recall": 0.5, "withheld_recall": 0.5, "iou": 0.5}
    assert shares(score(frame(), {})) == dict.fromkeys(nothing)


def samples(growth=0.0, threads=0, recall=1.0, count=40):
    return [
        {"hours": (k + 1) / 10, "rss_mb": 200 * (1 + growth * k / count),
         "threads": 20 + (threads if k > 30 else 0), "handles": 9, "cpu_ms": 5.0 + k,
         "latency_p50_ms": None,
         "scores": {"visible_recall": recall}, "base": {"visible_recall": 1.0}}
        for k in range(count)
    ]  # fmt: skip


def test_verdict_compares_the_end_with_what_followed_the_warm_up():
    good = verdict(samples(growth=0.01))
    assert good["flat"] and good["compared"]["cpu_ms"]["flat"] is None
    assert good["compared"]["rss_mb"]["early"] == pytest.approx(200 * (1 + 0.01 * 5.5 / 40))
    assert "latency_p50_ms" not in good["compared"]
    leak = verdict(samples(growth=0.05))
    assert not leak["flat"] and not leak["compared"]["rss_mb"]["flat"]
    assert not verdict(samples(threads=1))["compared"]["threads"]["flat"]
    drift = verdict(samples(recall=0.99))
    assert not drift["flat"] and not drift["against_base"]["kept"]
    assert verdict(samples(count=19))["flat"] is None
    late = verdict(samples(growth=0.01), warm_up_h=2.0)
    assert late["compared"]["rss_mb"]["early"] == pytest.approx(200 * (1 + 0.01 * 21.5 / 40))
    assert verdict(samples(), warm_up_h=3.3)["flat"] is None
    unscored = verdict(samples(recall=None))
    assert unscored["flat"] and unscored["against_base"] is None


class Timed:
    """A node that answers in a time that other work on the machine changes."""

    loop_frames = 50

    def __init__(self, machine, factor, lost=0.0):
        self.machine, self.factor, self.lost, self.sent = machine, factor, lost, 7
        self.rng = np.random.default_rng(round(1000 * factor))

    def finish_loop(self):
        self.sent = 0

    def answer(self):
        self.sent += 1
        if self.rng.random() < self.lost:
            return np.nan
        self.machine[0] *= 1.001  # ever slower, as when another program begins
        return self.machine[0] * self.factor * self.rng.uniform(0.95, 1.05)


@pytest.mark.parametrize(
    ("factor", "flat"), [(1.0, True), (0.9, True), (1.01, True), (1.04, False)]
)
def test_latency_is_compared_with_a_fresh_node_whatever_the_machine_does(factor, flat):
    machine = [0.01]
    old, fresh = Timed(machine, factor, lost=0.02), Timed(machine, 1.0)
    found = against_fresh(old, fresh, 40)
    assert found["flat"] == flat and found["growth"] == pytest.approx(factor - 1, abs=0.006)
    assert found["low"] < factor - 1 < found["high"] and found["high"] - found["low"] < 0.03
    assert old.sent == fresh.sent == 40 * 50


def test_what_never_comes_is_lost_but_not_while_the_node_is_stopped(monkeypatch):
    monkeypatch.setattr(soak_run, "POLL_S", 0.001)
    node = SimpleNamespace(pid=os.getpid(), check=lambda: None)
    state, feeder = [psutil.STATUS_STOPPED], Feeder({MASKS: 2, REFINED: 9}, node)
    feeder.process = SimpleNamespace(status=lambda: state[0])
    feeder._out = {MASKS: {5: 0.0, 6: 0.0}, REFINED: {6: 0.0}}
    for _ in range(200):
        assert feeder.take() is None
    assert feeder.full() and feeder.lost == {MASKS: 0, REFINED: 0}
    state[0] = psutil.STATUS_RUNNING
    for _ in range(soak_run.LOST_AFTER):
        feeder.take()
    assert feeder.lost == {MASKS: 2, REFINED: 1} and not feeder.waiting
    with pytest.raises(DemoError, match=f" {soak_run.GIVE_UP_AFTER * soak_run.POLL_S:.0f} s$"):
        for _ in range(200):
            feeder.take()


@pytest.fixture
def command(tmp_path):
    save_random(tmp_path / "w.safetensors")
    program = (
        "from savos_ros.cli import main; from savos_ros.tools import settings; "
        "settings.LOOP_FRAMES = 12; main.main()"
    )
    arguments = ["soak", "--size", "128x64", "--samples", "20", "--json", str(tmp_path / "s.json")]
    arguments += ["--weights", str(tmp_path / "w.safetensors")]

    def start(*more):
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments, *more],
            cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def test_a_short_run_over_dds(command, tmp_path):
    with command("--hours", "0.005", "--refine", "--fresh", "2") as process:
        printed = process.communicate(timeout=300)[0]
    metrics = read_results(tmp_path / "s.json")["metrics"]
    assert metrics["ended"] == "complete" and "complete: 0.01 h" in printed
    assert metrics["sent"] == 180
    assert metrics["answered"] == {MASKS: 180, REFINED: 180}
    assert metrics["lost"] == {MASKS: 0, REFINED: 0} and metrics["unmatched"] == 0
    assert metrics["node"]["frames_out"] == 180 and metrics["node"]["drops"] == {}
    assert len(metrics["samples"]) == 20
    for row in metrics["samples"]:
        assert row["scores"] == row["base"], "it answers as its weights do without it"
        assert row["rss_mb"] > 50 and row["threads"] > 3 and row["handles"] > 5
    judged = metrics["verdict"]
    assert judged["against_base"]["recall"] == 1.0
    fresh = judged["against_fresh"]
    assert fresh["low"] <= fresh["growth"] <= fresh["high"] and "with a fresh node: " in printed
    assert fresh["old_ms"] > 0 and fresh["fresh_ms"] > 0
    assert judged["flat"] == (
        fresh["flat"] and all(row["flat"] is not False for row in judged["compared"].values())
    )
    assert process.returncode == (not judged["flat"])


def test_an_interrupted_run_keeps_what_it_has(command, tmp_path):
    with command("--hours", "9", "--samples", "100000") as process:
        assert " h in " in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        printed = process.communicate(timeout=300)[0]
    metrics = read_results(tmp_path / "s.json")["metrics"]
    assert process.returncode == 1 and "interrupted: 0.0" in printed
    assert metrics["ended"] == "interrupted" and 0 < metrics["sent"] < 324_000
    assert metrics["samples"] and metrics["lost"] == {MASKS: 0}
    assert frames_of(SoakOptions().hours) == 864_000


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--size", "160", "COLUMNSxROWS"), ("--size", "8x8", "width"), ("--hours", "0", "hours")],
)
def test_wrong_options_are_answered_in_one_line(option, value, words):
    result = CliRunner().invoke(app, ["soak", option, value])
    assert result.exit_code == 2 and words in result.output and "Traceback" not in result.output
