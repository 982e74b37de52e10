# ruff: noqa: E402  (nothing below runs where torch is absent)
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.failing import refused

pytest.importorskip("torch")

from savos_model.backends.onnx import OnnxBackend
from savos_model.backends.reference import random_inputs
from savos_model.network.weights import load_weights
from savos_model.stream.stream import AmodalStream
from savos_ros.messages import settings
from savos_ros.node import adaptation, adaptation_process
from savos_ros.node.adaptation import Adaptation
from savos_ros.node.adaptation_files import newest
from savos_ros.node.engine import Engine
from tests.planted import planted_weights
from tests.tiny_site import CONFIG, frames, fresh_weights

LIMIT_S = 100  # without progress; a process takes seconds to start, on a busy machine many


class Bench:
    """An adaptation without ROS, and a stream of frames for it."""

    def __init__(self, folder, does, weights=None):
        self.backend = OnnxBackend(weights or fresh_weights(temperature="1.5"), 1, "")
        engine = Engine(AmodalStream(self.backend), "onnx", "")
        self.lines, self.folder, self.scene, self.at = [], folder, frames(22), count()
        self.patient = True
        self.does(does)
        self.adaptation = Adaptation(engine, CONFIG, folder, self)
        self.adaptation.set_enabled(True)
        self.adaptation.start()

    def does(self, what):
        (self.folder / "does").write_text(what)

    def info(self, text):
        self.lines.append(text)

    warning = info

    def send(self, fresh=False):
        """One frame passes by, as in Pipeline.work."""
        ready = self.adaptation.take()
        if ready is not None:
            ready()
        self.adaptation.put(self.scene[next(self.at) % len(self.scene)], fresh)
        time.sleep(0.01)
        inner = self.adaptation
        while self.patient and inner.collecting and inner._frames.full():  # a busy machine
            time.sleep(0.01)

    def until(self, condition):
        reported, end = None, 0.0
        while not condition():
            if reported != (reported := self.report()):
                end = time.monotonic() + LIMIT_S
            assert time.monotonic() < end, f"{self.lines} {reported}"
            self.send()

    def report(self):
        problem, values = self.adaptation.report()
        return {"problem": problem} | values

    def state(self, name):
        return self.report()["adapt"] == name

    @property
    def name(self):
        return self.backend.weights.name

    @property
    def pid(self):
        process = self.adaptation._process
        return process.pid if process else None


@pytest.fixture
def bench(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(adaptation_process, "WORKER", "tests.site_double")
    monkeypatch.setattr(adaptation, "FIRST_PAUSE_S", 0.3)

    def make(does="all", worker="tests.site_double", weights=None):
        monkeypatch.setattr(adaptation_process, "WORKER", worker)
        made.append(Bench(tmp_path, does, weights))
        return made[-1]

    yield make
    for item in made:
        assert item.adaptation.stop()
        assert not [t for t in threading.enumerate() if t.name == "savos_adapt"]
    mine = psutil.Process()
    assert not [c for c in mine.children() if any("site_" in part for part in c.cmdline())]


@pytest.mark.timeout(600)
def test_the_real_process_learns_and_its_weights_take_over_between_two_frames(bench):
    wrong = planted_weights(-0.5, "fresh", temperature="1.5")  # what it learns is better for sure
    it = bench(worker="training.adapt.worker", weights=wrong)
    it.until(lambda: it.pid and psutil.Process(it.pid).nice() == 19)
    process = psutil.Process(it.pid)
    it.until(lambda: os.sched_getscheduler(it.pid) == os.SCHED_IDLE)
    with contextlib.suppress(PermissionError, psutil.AccessDenied):
        # A test on a busy machine is to end, though.
        os.sched_setscheduler(it.pid, os.SCHED_OTHER, os.sched_param(0))
        process.nice(psutil.Process().nice())
    it.until(lambda: it.state("collecting"))
    assert Path(f"/proc/{it.pid}/oom_score_adj").read_text() == "1000\n"
    assert not [m.path for m in process.memory_maps() if "rcl" in m.path]
    assert len(process.net_connections("all")) == 1, "the pipe and nothing of the node"
    it.until(lambda: it.report()["adapt.accepted"] == "1")
    ready = it.adaptation.take()
    assert it.name == "fresh" or ready is None, "offered, not forced"
    if ready is not None:
        ready()
    values = it.report()
    assert it.name == "fresh+1" and values["adapt.version"] == "1" and not values["problem"]
    assert float(values["adapt.loss_after"]) < float(values["adapt.loss_before"])
    assert int(values["adapt.iterations"]) == CONFIG.max_iterations
    assert "loss" in values["adapt.reason"]
    kept = load_weights(str(newest(str(it.folder))))
    assert kept.name == "fresh+1" and kept.temperature == it.backend.weights.temperature == 1.5
    inputs = random_inputs(kept, 1)
    stepped = it.backend.step(*inputs), OnnxBackend(kept, 1, "").step(*inputs)
    for ours, theirs in zip(*stepped, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("state", ["starting", "collecting", "adapting", "checking"])
def test_a_killed_process_costs_the_adaptation_alone(bench, state):
    it = bench("all")
    it.until(lambda: it.name.startswith("fresh+"))
    it.does("all" if state == "collecting" else state)
    it.adaptation.roll_back()  # starts it again
    it.until(lambda: it.name == "fresh" and it.pid)
    it.adaptation.put, put = (
        lambda *_: None if state == "collecting" else put(*_),
        it.adaptation.put,
    )
    it.until(lambda: it.state(state))
    before, pid = it.name, it.pid
    it.does("once")
    os.kill(pid, signal.SIGKILL)
    it.until(lambda: it.report()["problem"])
    assert it.state("down") and it.name == before
    assert "adaptation is down" in it.lines[-1] and "signal 9" in it.lines[-1]
    it.adaptation.put = put
    it.until(lambda: it.pid and it.pid != pid and not it.report()["problem"])
    accepted = int(it.report()["adapt.accepted"])
    it.until(lambda: int(it.report()["adapt.accepted"]) > accepted)
    assert it.report()["adapt.restarts"] == "1"


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("noise", r"b'\\x00\\x01noise'"),
        ("nan", "values that are not finite"),
        ("shape", "must have shape"),
        ("number", "version 6 after 0"),
        ("fail", "no such device"),
    ],
)
def test_what_cannot_be_is_refused(bench, does, words):
    import re

    it = bench(does)
    it.until(lambda: it.report()["problem"])
    assert re.search(words, it.lines[0])
    it.until(lambda: int(it.report()["adapt.restarts"]) >= 2)
    assert it.name == "fresh" and it.report()["adapt.accepted"] == "0"
    if does in ("nan", "shape"):
        assert not list(it.folder.glob("*.safetensors"))
    pauses = [float(line.split()[-2]) for line in it.lines]  # "... in 1 s"
    assert pauses[0] <= pauses[1], "it waits longer each time"
    it.does("all")
    it.until(lambda: it.name == "fresh+1")


@pytest.mark.parametrize("does", ["adapting", "deaf"])
def test_a_process_that_hangs_is_ended(bench, does, monkeypatch):
    if does == "deaf":
        monkeypatch.setattr(adaptation_process, "HANG_S", 10)  # counts from its start on
    it = bench(does)
    it.until(lambda: it.state("adapting" if does == "adapting" else "collecting"))
    it.patient = does == "adapting"
    monkeypatch.setattr(adaptation, "HANG_S", 1)
    it.does("once")
    it.until(lambda: it.report()["problem"])
    assert f"for {1 if does == 'adapting' else 10} s" in it.lines[-1]
    monkeypatch.setattr(adaptation, "HANG_S", 600)
    it.patient = True
    it.until(lambda: it.name == "fresh+1")


def test_a_full_disk_costs_the_accepted_weights_alone(bench):
    it = bench("adapting")
    it.until(lambda: it.state("adapting"))
    it.does("all")
    it.adaptation.roll_back()  # starts it again
    it.until(lambda: it.state("collecting"))
    resource.prlimit(it.pid, resource.RLIMIT_FSIZE, (1000, 1000))
    it.until(lambda: it.report()["problem"])
    assert "adaptation is down" in it.lines[-1] and it.name == "fresh"
    assert not list(it.folder.glob("*.safetensors")) and not list(it.folder.glob("*.part"))
    it.until(lambda: it.name == "fresh+1" and not it.report()["problem"])


def test_roll_back_by_service_and_by_the_process(bench):
    it = bench("all")
    it.until(lambda: it.name == "fresh+2")
    it.does("once")
    before = it.pid
    it.adaptation.roll_back()
    it.until(lambda: it.name == "fresh")
    assert it.backend.weights is it.adaptation._base
    it.until(lambda: it.name.startswith("fresh+"))
    assert it.pid != before and int(it.name.partition("+")[2]) >= 3, "no number is given twice"
    it.does("rollback")
    os.kill(it.pid, signal.SIGKILL)
    it.until(lambda: it.name == "fresh")
    assert it.report()["adapt.rolled_back"] == "1" and it.report()["adapt.version"] == "0"


def test_a_burst_is_of_consecutive_frames(bench):
    it = bench("all")
    it.until(lambda: it.adaptation._burst.sent >= 3)
    it.send(fresh=True)
    it.until(lambda: (it.folder / "stamps").exists() and it.name == "fresh+1")
    stamps = [int(part) for part in (it.folder / "stamps").read_text().split()]
    steps = {b - a for a, b in zip(stamps, stamps[1:], strict=False)}
    assert len(stamps) == CONFIG.min_frames
    assert steps <= {100_000_000, -2_100_000_000}, "the scene's own steps, none left out"


def test_frames_that_cannot_be_handed_over_are_dropped_and_break_the_burst(bench):
    it = bench("deaf")
    it.patient = False
    it.until(lambda: it.state("collecting"))
    it.until(lambda: int(it.report()["adapt.frames_dropped"]) > 10)
    begun = time.perf_counter()
    for frame in it.scene:
        it.adaptation.put(frame, False)
    assert time.perf_counter() - begun < 5, "the process is deaf: to wait for it would take minutes"
    assert it.adaptation._burst.broken


def test_off_costs_nothing_and_it_switches_at_any_time(bench):
    it = bench("adapting")
    it.until(lambda: it.state("adapting"))
    it.adaptation.set_enabled(False)
    it.until(lambda: it.state("off"))
    assert it.pid is None and not it.report()["problem"]
    it.does("once")
    it.adaptation.set_enabled(True)
    it.until(lambda: it.name == "fresh+1")
    it.adaptation.set_enabled(False)
    it.until(lambda: it.state("off"))
    assert it.name == "fresh+1", "adapted weights stay"
    it.adaptation.roll_back()
    it.until(lambda: it.name == "fresh")
    assert it.report()["adapt.restarts"] == "0"


PARENT = """
import sys, time
from pathlib import Path
from savos_ros.node import adaptation_process
adaptation_process.WORKER = "tests.site_double"
from tests.node.test_adaptation import Bench
it = Bench(Path(sys.argv[1]), sys.argv[2])
it.until(lambda: it.pid and it.state(sys.argv[2]))
print(it.pid, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("state", ["starting", "adapting"])
def test_the_process_ends_with_the_node(tmp_path, state):
    command = [sys.executable, "-c", PARENT, str(tmp_path), state]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=20)
    assert not child.is_running()


def test_without_torch_it_is_refused_in_one_line(monkeypatch):
    from savos_model import config

    monkeypatch.setattr(config.importlib.util, "find_spec", lambda name: None)
    with refused("adapt.enabled"):
        settings.build({"adapt.enabled": True})
    assert not settings.build({"adapt.enabled": False}).adapt.enabled
