# ruff: noqa: E402  (nothing below runs where rclpy or torch is absent)
import contextlib
import gc
import os
import signal
import threading
import time

import psutil
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("torch", reason="torch is not installed")
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger
from typer.testing import CliRunner

from savos_model.network.weights import load_weights, save_weights
from savos_ros.cli.main import app
from savos_ros.node import adaptation, adaptation_process
from savos_ros.node.engine import load_engine
from tests.node.rig import Rig, wait_for
from tests.tiny_site import fresh_weights

LIMIT_S = 60


@pytest.fixture
def rigs(tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation_process, "WORKER", "tests.site_double")
    monkeypatch.setattr(adaptation, "FIRST_PAUSE_S", 0.5)
    save_weights(tmp_path / "fresh.safetensors", fresh_weights())
    folder = tmp_path / "adapted" / "savos"
    folder.mkdir(parents=True)
    (folder / "does").write_text("all")
    made = []

    def make(active=True, **parameters):
        defaults = {
            "model__weights": str(tmp_path / "fresh.safetensors"),
            "model__backend": "onnx",
            "adapt__enabled": True,
            "adapt__folder": str(tmp_path / "adapted"),
            "adapt__min_frames": 12,
            "diagnostics__period_s": 0.2,
            "tracks__reset_gap_s": 30.0,
        }
        rig = Rig(load_engine, **defaults | parameters)
        made.append(rig)
        rig.does = (folder / "does").write_text
        return rig.activate() if active else rig

    yield make
    for rig in made:
        rig.close()
    assert not children()
    assert not [t for t in threading.enumerate() if t.name == "savos_adapt"]


def children():
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it ends just now
            found += [child] * any("site_" in part for part in child.cmdline())
    return found


def play_until(rig, condition, first=0):
    """Frames go by, each after the answer to the one before; returns the next index."""
    refined = rig.node.settings.refine
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, {m.model for m in rig.masks}
        rig.send(first)
        rig.answered(first)
        first += 1
        inner = rig.node._adaptation
        wait_for(lambda: not (inner.collecting and inner._frames.full()), LIMIT_S)  # noqa: B023
        if refined.enabled:  # it would drop what comes faster than it works
            wait_for(lambda: len(rig.refined) > first - refined.window, LIMIT_S)  # noqa: B023
    return first


def models(messages):
    return [message.model for message in messages]


def call(rig, kind, name, **fields):
    client = rig.helper.create_client(kind, f"/savos/{name}")
    assert client.wait_for_service(10)
    answer = client.call_async(kind.Request(**fields))
    wait_for(answer.done)
    return answer.result()


def test_weights_change_between_two_frames_and_never_inside_a_refined_one(rigs):
    rig = rigs(refine__enabled=True, refine__window=5, refine__stride=2)
    at = play_until(rig, lambda: rig.masks and rig.masks[-1].model == "fresh+2")
    rig.does("once")
    answer = call(rig, Trigger, "rollback")
    assert answer.success and "between two frames" in answer.message
    at = play_until(rig, lambda: rig.masks[-1].model == "fresh", at)
    at = play_until(rig, lambda: rig.masks[-1].model != "fresh", at)
    forward = models(rig.masks)
    changes = [b for a, b in zip(forward, forward[1:], strict=False) if a != b]
    assert changes[:2] == ["fresh+1", "fresh+2"] and "fresh" in changes
    assert len(set(changes)) == len(changes), "no number comes twice"
    play_until(rig, lambda: rig.refined[-1].model == rig.masks[-1].model, at)
    answered_by = dict(zip(rig.stamps(), models(rig.masks), strict=True))
    refined_by = dict(zip(rig.stamps(rig.refined), models(rig.refined), strict=True))
    assert refined_by == {index: answered_by[index] for index in refined_by}
    assert list(refined_by) == list(range(len(refined_by))), "once and in order"
    values = rig.values()
    assert values["weights"] == forward[-1] and values["adapt.reason"] == "better"
    assert int(values["adapt.accepted"]) >= 3 and values["adapt.loss_after"] == "0.2500"
    assert values["stream_resets"] == "0", "tracks continue"


def test_a_killed_process_is_said_and_frames_continue(rigs):
    rig = rigs()
    at = play_until(rig, lambda: rig.masks and rig.masks[-1].model == "fresh+1")
    inner = rig.node._adaptation
    rig.does("fail")
    inner._pause_s = 3.0
    os.kill(inner._process.pid, signal.SIGKILL)
    at = play_until(rig, lambda: inner.report()[0], at)
    values = rig.values()
    assert values["level"] == 1 and "adaptation is down" in values["message"]
    assert values["adapt"] == "down" and values["state"] == "active"
    kept = rig.masks[-1].model
    rig.send(at)
    rig.answered(at)
    assert rig.masks[-1].model == kept and kept.startswith("fresh+")
    rig.does("once")
    last = int(kept.partition("+")[2])
    play_until(rig, lambda: int(rig.masks[-1].model.partition("+")[2]) > last, at + 1)
    wait_for(lambda: rig.values()["level"] == 0, what="a level of OK")
    assert int(rig.values()["adapt.restarts"]) >= 1


def test_service_and_parameter_are_one_switch(rigs):
    rig = rigs(adapt__enabled=False)
    rig.send(0)
    rig.answered(0)
    assert not children() and rig.values()["adapt"] == "off"
    assert call(rig, SetBool, "adapt", data=True).success
    assert rig.node.get_parameter("adapt.enabled").value is True
    play_until(rig, lambda: rig.masks[-1].model == "fresh+1", 1)
    rig.do(rig.node.set_parameters, [Parameter("adapt.enabled", value=False)])
    wait_for(lambda: not children() and rig.values()["adapt"] == "off")
    (result,) = rig.do(rig.node.set_parameters, [Parameter("adapt.min_frames", value=20)])
    assert not result.successful and "deactivate" in result.reason
    rig.do(rig.node.trigger_deactivate)
    answer = call(rig, Trigger, "rollback")
    assert not answer.success and "not active" in answer.message


def test_adapted_weights_survive_a_deactivation_but_not_a_cleanup(rigs):
    rig = rigs()
    rig.does("once")
    at = play_until(rig, lambda: rig.masks and rig.masks[-1].model == "fresh+1")
    rig.do(rig.node.trigger_deactivate)
    assert not children()
    rig.do(rig.node.trigger_activate)
    rig.publishers.clear()
    rig.send(at)
    rig.answered(at)
    assert rig.masks[-1].model == "fresh+1"
    rig.do(rig.node.trigger_deactivate)
    rig.do(rig.node.trigger_cleanup)
    assert rig.do(rig.node.autostart)
    rig.publishers.clear()
    rig.send(at + 1)
    rig.answered(at + 1)
    assert rig.masks[-1].model == "fresh"


def test_ten_rounds_leave_nothing_behind(rigs):
    rig = rigs(active=False)
    rig.does("adapting")
    process, threads, descriptors = psutil.Process(), None, None
    for index in range(10):
        rig.do(rig.node.autostart)
        if index % 2:  # not only while it starts
            wait_for(lambda: rig.node._adaptation.report()[1]["adapt"] == "collecting", 40)
        else:
            wait_for(children)
        rig.do(rig.node.trigger_deactivate)
        rig.do(rig.node.trigger_cleanup)
        assert not children()
        if index == 1:
            threads, descriptors = process.num_threads(), process.num_fds()
    gc.collect()
    wait_for(lambda: process.num_threads() <= threads, what="threads as before")
    assert process.num_fds() <= descriptors


def test_accepted_weights_are_saved_and_loaded_at_the_next_start(rigs, tmp_path):
    rig = rigs()
    rig.does("once")
    play_until(rig, lambda: rig.masks and rig.masks[-1].model == "fresh+1")
    saved = tmp_path / "site.safetensors"
    arguments = ["weights", "save", str(saved), "--folder", str(tmp_path / "adapted")]
    result = CliRunner().invoke(app, [*arguments, "--node", "/savos"])
    assert result.exit_code == 0 and "fresh+1" in result.output
    assert load_weights(str(saved)).name == "fresh+1"
    other = rigs(model__weights=str(saved), adapt__enabled=False)
    other.send(0)
    other.answered(0)
    assert other.masks[0].model == "fresh+1"
    (tmp_path / "adapted" / "savos" / "fresh+1.safetensors").write_bytes(b"damaged")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and "cannot read" in result.output
    assert load_weights(str(saved)).name == "fresh+1", "what was there stays"
