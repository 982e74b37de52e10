import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import psutil
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from rclpy.lifecycle import TransitionCallbackReturn

from savos_model.network.weights import WeightsError
from tests.node.rig import Rig, echo_engine, own_name, wait_for

SUCCESS = TransitionCallbackReturn.SUCCESS


def topics(node):
    names = node.get_publisher_names_and_types_by_node(node.get_name(), "/")
    names += node.get_subscriber_names_and_types_by_node(node.get_name(), "/")
    return sorted(name for name, _ in names)


def test_ten_rounds_leave_nothing_behind():
    engines = []

    def load(settings):
        engine = echo_engine(settings)
        engines.append(weakref.ref(engine.stream))
        return engine

    rig = Rig(load, name=own_name(), refine__enabled=True)
    try:
        node, process = rig.node, psutil.Process()
        names, threads, descriptors = topics(node), None, None
        for index in range(10):
            assert rig.do(node.trigger_configure) == SUCCESS
            assert rig.do(node.trigger_activate) == SUCCESS
            assert f"/{node.get_name()}/masks" in topics(node)
            for publisher in rig.publishers.values():
                wait_for(lambda p=publisher: p.get_subscription_count() > 0)
            rig.send(index)
            rig.answered(index)
            assert rig.do(node.trigger_deactivate) == SUCCESS
            assert rig.do(node.trigger_cleanup) == SUCCESS
            wait_for(lambda: topics(node) == names, what="topics as before")
            if index == 1:
                threads, descriptors = process.num_threads(), process.num_fds()
        gc.collect()
        assert [reference() for reference in engines] == [None] * 10
        assert not [t for t in threading.enumerate() if t.name.startswith("savos_")]
        wait_for(lambda: process.num_threads() <= threads, what="threads as before")
        assert process.num_fds() <= descriptors
        assert len(list(node.subscriptions)) + len(list(node.publishers)) < 12
    finally:
        rig.close()


def listen_in(inputs):
    """Return a list that gets the name of each input that a message came in on."""
    arrived = []

    def record(name, callback):
        def receive(message):
            callback(message)
            arrived.append(name)

        return receive

    for name, subscription in inputs.subscriptions.items():
        subscription._callback = record(name, subscription._callback)
    return arrived


def test_deactivate_keeps_the_engine_and_continues_after():
    made = []
    rig = Rig(lambda settings: made.append(1) or echo_engine(settings)).activate()
    try:
        rig.send(0)
        rig.answered(0)
        rig.do(rig.node.trigger_deactivate)
        assert rig.node.state == "inactive"
        arrived = listen_in(rig.node._inputs)
        rig.send(1)  # without a subscriber
        # Else one of the two may come before the activation and the other one after it: a drop.
        wait_for(lambda: sorted(arrived) == ["image", "instances"], what="both messages")
        rig.do(rig.node.trigger_activate)
        rig.send(2)
        rig.answered(2)
        assert made == [1] and rig.stamps() == [0, 2]
        assert rig.values()["drops"] == "0"
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WeightsError("model.weights: no such thing"), "cannot configure: model.weights"),
        (RuntimeError("out of memory"), "the node is unconfigured"),
    ],
)
def test_a_failed_configure_can_be_tried_again(error, words, capfd):
    failures = [error]

    def load(settings):
        if failures:
            raise failures.pop()
        return echo_engine(settings)

    rig = Rig(load)
    try:
        assert rig.do(rig.node.trigger_configure) != SUCCESS
        assert rig.node.state == "unconfigured"
        assert words in capfd.readouterr().err
        assert rig.do(rig.node.autostart)
    finally:
        rig.close()


def test_topics_exist_from_the_configuration_on_and_each_step_is_logged(capfd):
    rig = Rig(name=own_name())
    try:
        outputs = {f"/{rig.node.get_name()}/{n}" for n in ("masks", "overlay", "camera_info")}
        wanted = outputs | {"/image", "/instances"}
        assert not wanted & set(topics(rig.node))
        assert rig.do(rig.node.trigger_configure) == SUCCESS
        wait_for(lambda: wanted <= set(topics(rig.node)), what="topics of a configured node")
        assert f"/{rig.node.get_name()}/masks_refined" not in topics(rig.node), "refinement is off"
        for step in ("activate", "deactivate", "cleanup", "shutdown"):
            assert rig.do(getattr(rig.node, f"trigger_{step}")) == SUCCESS
        text = capfd.readouterr().err
        for words in ("active: image", "inactive: 0 frames", "unconfigured: ", "finalized: "):
            assert text.count(f"]: {words}") == 1, text
        assert not wanted & set(topics(rig.node))
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("remaps", "words"),
    [
        (["instances:=/savos/overlay"], "instances is mapped to /savos/overlay"),
        (["instances:=image"], "instances is mapped to /image"),
        (["instances:=/diagnostics"], "instances is mapped to /diagnostics"),
    ],
)
def test_an_input_on_a_topic_of_the_node_itself_is_refused_in_words(remaps, words, capfd):
    rig = Rig(arguments=["--ros-args", *(part for text in remaps for part in ("-r", text))])
    try:
        assert rig.do(rig.node.trigger_configure) == TransitionCallbackReturn.FAILURE
        text = capfd.readouterr().err
        assert words in text and "Traceback" not in text
    finally:
        rig.close()


@pytest.mark.parametrize("part", ["outputs", "inputs"])
def test_a_failed_configuration_leaves_no_topic_and_no_thread(monkeypatch, capfd, part):
    made = {"outputs": ("create_publisher", "overlay"), "inputs": ("create_subscription", "inst")}
    method, topic = made[part]
    rig = Rig(name=own_name(), refine__enabled=True)
    try:
        names, real = topics(rig.node), getattr(rig.node, method)

        def refuse(kind, name, *args, **options):
            if topic in name:
                raise RuntimeError("not allowed by the policy")
            return real(kind, name, *args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(rig.node, method, refuse)
            assert not rig.do(rig.node.autostart)
        assert rig.node.state == "unconfigured"
        assert "not allowed by the policy" in capfd.readouterr().err
        wait_for(lambda: topics(rig.node) == names, what="topics as before")
        assert not [t for t in threading.enumerate() if t.name.startswith("savos_")]
        assert rig.do(rig.node.autostart)
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"input__mask_source": "yolo"}, "install yolo_ros"),
        ({"adapt__folder": "~nosuchuser/adapted"}, "configure: adapt.folder must be a path"),
    ],
    ids=["missing messages", "folder of an unknown user"],
)
def test_a_setting_that_cannot_be_used_here_says_what_to_do(capfd, parameters, words):
    rig = Rig(**parameters)
    try:
        assert rig.do(rig.node.trigger_configure) == TransitionCallbackReturn.FAILURE
        assert words in capfd.readouterr().err
    finally:
        rig.close()


def test_shutdown_from_every_state():
    for steps in ((), ("trigger_configure",), ("trigger_configure", "trigger_activate")):
        rig = Rig()
        try:
            for step in steps:
                assert rig.do(getattr(rig.node, step)) == SUCCESS
            assert rig.do(rig.node.trigger_shutdown) == SUCCESS
            assert rig.node.state == "finalized" and rig.node._engine is None
        finally:
            rig.close()


PROGRAM = """
import sys, time
from savos_ros.node import main, node
from tests.node.rig import echo_engine
def load(settings):
    if sys.argv[1] == "configuring":
        print("configuring", file=sys.stderr, flush=True)
        time.sleep(3)
    return echo_engine(settings)
def stay(step):
    def start(self):
        if step:
            getattr(self, step)()
        print("it is", self.state, file=sys.stderr, flush=True)
        return True
    return start
node.AmodalNode.__init__.__kwdefaults__["load"] = load
steps = {"unconfigured": "", "inactive": "trigger_configure", "finalized": "trigger_shutdown"}
if sys.argv[1] in steps:
    node.AmodalNode.autostart = stay(steps[sys.argv[1]])
sys.exit(main.main(["--autostart"]))
"""
SIGNS = {  # what is said once it is there
    "unconfigured": "it is unconfigured",
    "configuring": "configuring",
    "inactive": "it is inactive",
    "active": "active: image = /image",
    "finalized": "it is finalized",
}


def end_by_signal(number, state, after_s=0.0, **variables):
    environment = os.environ | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"} | variables
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, state],
        env=environment,
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if SIGNS[state] in line:
                break
        time.sleep(after_s)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors and "terminate called" not in errors
    return errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("state", SIGNS)
def test_a_signal_ends_the_process_cleanly(number, state):
    end_by_signal(number, state)


# rclpy handles signals in a separate thread, which may be late on a busy machine.
LATE_SIGNAL_THREAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int rcl_trigger_guard_condition(void *condition) {
  int (*real)(void *) =
    dlsym(dlopen("librcl.so", RTLD_NOW | RTLD_NOLOAD), "rcl_trigger_guard_condition");
  if (gettid() == getpid()) return real(condition);
  fprintf(stderr, "late\\n");
  usleep(30000);
  int status = real(condition);
  usleep(30000);
  return status;
}
"""


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_waits_for_the_thread_that_handles_the_signal(number, tmp_path):
    source, library = tmp_path / "late.c", tmp_path / "late.so"
    source.write_text(LATE_SIGNAL_THREAD)
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
    # By then it waits for messages, and only that thread can wake it.
    assert "late" in end_by_signal(number, "active", 0.3, LD_PRELOAD=str(library))


def test_autostart_parameter_and_failing_autostart():
    command = [sys.executable, "-m", "savos_ros.node.main", "--ros-args", "-p", "autostart:=true"]
    command += ["-p", "model.weights:=/nowhere/none.safetensors"]
    environment = os.environ | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1 and "cannot configure: model.weights" in done.stderr
