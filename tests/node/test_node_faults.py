"""Faults around the running node, over DDS."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from savos_ros.node.node import AmodalNode
from tests.node.rig import Rig, echo_engine, wait_for

LISTENER = """
import rclpy
from savos_ros.msg import AmodalMaskArray
from savos_ros.node.qos import profile
rclpy.init()
node = rclpy.create_node("stalls")
count = [0]
def take(message):
    count[0] += 1
    print(count[0], flush=True)
node.create_subscription(AmodalMaskArray, "/savos/masks", take, profile(5))
print("listens", flush=True)
rclpy.spin(node)
"""


def test_a_subscriber_that_stalls_stops_neither_the_node_nor_the_others():
    rig = Rig(diagnostics__period_s=0.2).activate()
    command = [sys.executable, "-c", LISTENER]
    environment = os.environ | {"ROS_DOMAIN_ID": str(rig.number)}
    root = Path(__file__).parents[2]
    other = subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "listens\n"
        wait_for(lambda: rig.node._outputs._masks.get_subscription_count() == 2)
        rig.send(0)
        assert other.stdout.readline() == "1\n"
        other.send_signal(signal.SIGSTOP)
        for index in range(1, 80):  # many times the depth of its queue
            rig.send(index)
            rig.answered(index)
        values = rig.values()
        assert values["drops"] == "0" and values["frames_out"] == "80"
        assert float(values["latency_ms.publish.p99"]) < 1000
        other.send_signal(signal.SIGCONT)
        rig.send(80)
        assert int(other.stdout.readline()) == 2, "it continues with its queue"
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
        rig.close()


def test_a_node_that_is_started_again_continues_with_the_stream_that_plays():
    rig = Rig(diagnostics__period_s=0.2).activate()
    rig.send(0)  # connects
    rig.answered(0)
    stop, at = threading.Event(), [0]

    def play():
        while not stop.wait(0.02):
            at[0] += 1
            rig.send(at[0])

    player = threading.Thread(target=play)
    player.start()
    try:
        wait_for(lambda: len(rig.masks) > 5)
        old = rig.node
        rig.executors[0].remove_node(old)
        rig.do(old.close)
        time.sleep(0.6)
        last, gone = max(rig.stamps()), at[0]
        rig.node = AmodalNode(load=echo_engine, context=rig.context)
        rig.executors[0].add_node(rig.node)
        assert rig.do(rig.node.autostart)
        wait_for(lambda: max(rig.stamps()) > gone + 5, what="answers of the new node")
    finally:
        stop.set()
        player.join()
        stamps = rig.stamps()
        rig.close()
    assert stamps == sorted(set(stamps)), "in order, none twice"
    assert not [stamp for stamp in stamps if last < stamp <= gone - 10], "no subscriber was there"


def test_a_4k_camera_over_dds():
    rig = Rig(diagnostics__period_s=0.2).activate()
    try:
        labels = np.zeros((2160, 3840), np.uint16)
        labels[700:1500, 1000:2400] = 1001
        pixels = np.zeros((2160, 3840, 3), np.uint8)
        for index in range(2):
            rig.send(index, rig.image(index, pixels), rig.labels(index, labels))
            rig.answered(index)
        (mask,) = rig.masks[1].masks
        assert (mask.roi.width, mask.roi.height) == (1400, 800)
        assert rig.values()["drops"] == "0"
    finally:
        rig.close()
