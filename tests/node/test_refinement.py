import dataclasses
import os
import sys
import threading
import time

import pytest

from savos_model.backends.onnx import OnnxBackend
from savos_model.config import RefineConfig, TracksConfig
from savos_model.network.weights import load_weights
from savos_model.stream.stream import AmodalStream
from savos_model.types import Frame, Source
from savos_ros.messages.settings import NodeSettings
from savos_ros.node.diagnostics import Health
from savos_ros.node.engine import Engine
from savos_ros.node.refinement import LATE_FRAMES, NICENESS, Answered, Refinement
from tests.tiny_scene import PERIOD_NS, START_NS, EchoBackend
from tests.tiny_scene import frame as scene_frame
from tests.tiny_weights import save_random

LIMIT_S = 20


class SlowBackend(EchoBackend):
    """Takes its time per track, or fails on request."""

    def __init__(self, seconds=0.0):
        self.seconds, self.fail, self.seen = seconds, False, []
        self.began = threading.Event()

    def step(self, patches, h, c):
        self.began.set()
        time.sleep(self.seconds * len(patches))
        self.seen.append(len(patches))
        if self.fail:
            raise RuntimeError("out of memory")
        return super().step(patches, h, c)


class Bench:
    """A refinement without ROS, fed by a stream on an engine `streams` of the same kind."""

    def __init__(self, window=4, stride=2, quiet_s=30.0, backend=None, period_s=0.0, streams=None):
        self.settings = NodeSettings(
            tracks=TracksConfig(reset_gap_s=quiet_s),
            refine=RefineConfig(enabled=True, window=window, stride=stride),
        )
        stream = AmodalStream(streams or EchoBackend(), self.settings.stream, records=True)
        self.backend = backend or SlowBackend()
        engine = Engine(AmodalStream(self.backend), "echo", "for tests")
        self.stream, self.health = stream, Health(1000)
        self.out, self.models, self.lines = [], [], []
        self.idle, self.gate = threading.Event(), threading.Event()
        self.idle.set()
        self.gate.set()
        self.period_s = period_s
        self.refinement = Refinement(engine, self.settings, self, self.health, self, self.idle)

    def publish_refined(self, header, shape, model, objects, period_s):
        assert shape == (96, 160)
        self.gate.wait()
        self.models.append(model)
        self.out.append((header, [item.source for item in objects]))

    def open(self):
        return True

    def warning(self, text):
        self.lines.append(text)

    def send(self, count, start=0, fresh=()):
        """Send frames in a burst with the pace of `period_s`."""
        answered = []
        for index in range(start, start + count):
            item = scene_frame(index % 28)
            stamp_ns = START_NS + index * PERIOD_NS
            self.stream.step(Frame(stamp_ns, item.image, item.instances))
            joined = index * self.period_s if self.period_s else time.monotonic()
            weights = self.backend.weights
            answered.append(
                Answered(self.stream.record, index, joined, index in fresh, weights, 0.1)
            )
        for frame in answered:
            self.refinement.put(frame)
        return self

    def wait(self, count):
        until = time.monotonic() + LIMIT_S
        while len(self.out) < count:
            assert time.monotonic() < until, f"{len(self.out)} of {count} frames came"
            time.sleep(0.01)
        return [index for index, _ in self.out]

    def wait_for_held(self, count):
        until = time.monotonic() + LIMIT_S
        while len(self.refinement._held) < count:
            assert time.monotonic() < until
            time.sleep(0.01)

    def counts(self):
        return {k: int(v) for k, v in self.health.report(0, {}, False)[2].items() if "refine." in k}


@pytest.fixture
def bench():
    made = []

    def make(**options):
        made.append(Bench(**options))
        return made[-1]

    yield make
    for item in made:
        item.idle.set()
        item.gate.set()
        assert item.refinement.stop()


def test_every_frame_once_in_order_and_the_rest_when_it_is_quiet(bench):
    it = bench(window=4, stride=2, quiet_s=0.3, period_s=10.0)
    it.send(4)
    assert it.wait(2)[:2] == [0, 1]
    assert it.wait(4) == [0, 1, 2, 3], "the rest comes after the quiet time"
    assert it.models == ["echo"] * 4
    assert [set(sources) for _, sources in it.out[:3]] == [{Source.REFINED}] * 3
    assert Source.REFINED not in it.out[3][1], "nothing comes after the last frame"
    assert "latency_ms.refine_lag.p95" in it.health.report(0, {}, False)[2]


def test_a_new_start_gives_the_rest_out_first(bench):
    it = bench(window=20, stride=2, period_s=10.0).send(7, fresh=(0, 5))
    assert it.wait(5) == [0, 1, 2, 3, 4]
    assert Source.REFINED not in it.out[4][1], "frames after the break do not help"
    assert it.refinement.stop()
    assert it.counts()["refine.dropped"] == 2


def test_nothing_runs_while_frames_are_in_work_and_late_windows_are_skipped(bench):
    it = bench(window=4, stride=2)
    it.refinement.refiner.pause()  # idle: returns
    it.idle.clear()
    it.send(4)
    time.sleep(0.3)
    assert not it.backend.seen and not it.out, "it waits"
    it.send(2 + LATE_FRAMES + 1, start=4)
    assert it.wait(2)[:2] == [0, 1]
    assert not it.backend.seen and it.counts()["refine.windows_skipped"] >= 1
    assert all(Source.REFINED not in sources for _, sources in it.out)


def test_a_flood_is_dropped_with_a_count_and_what_follows_restarts(bench):
    it = bench(window=4, stride=2, quiet_s=0.3)
    it.gate.clear()
    it.send(40)
    it.gate.set()
    until = time.monotonic() + LIMIT_S
    while sum(it.counts().get(f"refine.{k}", 0) for k in ("frames_out", "dropped")) < 40:
        assert time.monotonic() < until
        time.sleep(0.05)
    came = [index for index, _ in it.out]
    assert came == sorted(set(came)) and it.counts()["refine.dropped"] == 40 - len(came) > 0
    assert "refine_queue_full" in it.lines[0]


def test_slow_passes_take_the_neediest_tracks_only(bench):
    it = bench(window=4, stride=2, quiet_s=60, backend=SlowBackend(0.03), period_s=0.1)
    for index in range(12):
        it.send(1, start=index)
        if index >= 3:
            it.wait(2 * ((index - 3) // 2 + 1))
    assert it.backend.seen[:2] == [2, 2] and it.backend.seen[-1] == 1
    counts = it.counts()
    assert counts["refine.tracks_left_out"] > 0 and counts["refine.passes"] == 5
    last = it.out[-1][1]
    assert last.count(Source.REFINED) == 1, "the other keeps its forward result"


def test_a_failing_engine_costs_the_refinement_alone(bench):
    it = bench(window=4, stride=2, quiet_s=60, period_s=10.0)
    it.backend.fail = True
    it.send(4)
    assert it.wait(4) == [0, 1, 2, 3]
    assert all(Source.REFINED not in sources for _, sources in it.out)
    assert "refine_failed" in it.lines[0] and "out of memory" in it.lines[0]
    it.backend.fail = False
    it.send(4, start=4)
    assert it.wait(6)[4:] == [4, 5] and set(it.out[4][1]) == {Source.REFINED}


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities on Linux only")
def test_the_thread_lets_others_go_first(bench):
    it = bench().send(1)
    (thread,) = [t for t in threading.enumerate() if t.name == "savos_refine"]
    until = time.monotonic() + LIMIT_S
    own = os.getpriority(os.PRIO_PROCESS, 0)
    while os.getpriority(os.PRIO_PROCESS, thread.native_id) < max(own, NICENESS):
        assert time.monotonic() < until
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
    assert it.refinement.stop() and not thread.is_alive()


def test_stop_without_a_frame_needs_no_thread(bench):
    it = bench()
    assert it.refinement.stop() and it.counts() == {}


def other(name):
    return dataclasses.replace(EchoBackend.weights, name=name)


def test_frames_of_other_weights_are_not_refined_together(bench):
    it = bench(window=6, stride=2, quiet_s=60, period_s=10.0)
    it.send(4)
    it.backend.weights = other("echo+1")  # shared by stream and refinement
    it.send(6, start=4)
    assert it.wait(6)[:6] == [0, 1, 2, 3, 4, 5]
    assert it.models[:6] == ["echo"] * 4 + ["echo+1"] * 2
    assert all(Source.REFINED not in sources for _, sources in it.out[:4]), "its engine continued"
    assert set(it.out[4][1]) == {Source.REFINED}


def test_a_pass_on_the_streams_engine_gives_up_for_other_weights(bench):
    it = bench(window=4, stride=2, quiet_s=60, backend=SlowBackend(0.1), period_s=10.0)
    done = []
    assert it.refinement.exchange(lambda: done.append(1)) and done, "nothing is at work"
    it.send(4)
    assert it.backend.began.wait(LIMIT_S)
    assert not it.refinement.exchange(lambda: done.append(2)), "a pass is"
    assert it.wait(2) == [0, 1]
    assert all(Source.REFINED not in sources for _, sources in it.out)
    until = time.monotonic() + LIMIT_S
    while not it.refinement.exchange(lambda: done.append(2)):
        assert time.monotonic() < until
    assert done == [1, 2]


def test_a_separate_engine_keeps_the_weights_that_answered(bench, tmp_path, monkeypatch):
    stepped, step = [], OnnxBackend.step

    def noted(self, *inputs):
        if threading.current_thread().name == "savos_refine":
            stepped.append(self.weights.name)
        return step(self, *inputs)

    monkeypatch.setattr(OnnxBackend, "step", noted)
    old = load_weights(str(save_random(tmp_path / "old.safetensors")))
    for name in ("leave.weight", "leave.bias"):
        old.arrays[name][:] = 0  # evidence alone decides, so that all tracks can be refined
    old.arrays["evidence_gain"][:] = (0.25, 0)
    new = dataclasses.replace(old, name="random+1")
    engines = {"backend": OnnxBackend(old, 1, ""), "streams": OnnxBackend(old, 1, "")}
    it = bench(window=30, stride=2, quiet_s=60, period_s=10.0, **engines)
    it.send(4)
    it.wait_for_held(4)
    assert it.refinement.exchange(it.backend.update_weights(new))
    it.send(1, start=4)
    it.wait(4)
    it.send(4, start=5, fresh=(8,))
    assert it.wait(8) == list(range(8))
    assert it.models == ["random"] * 4 + ["random+1"] * 4
    assert Source.REFINED in it.out[0][1] and Source.REFINED in it.out[4][1]
    assert stepped == ["random"] * 4 + ["random+1"] * 4
    assert it.refinement.refiner.backend.weights is new
