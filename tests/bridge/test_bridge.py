# ruff: noqa: E402  (nothing below imports where ROS or the extra foxglove is absent)
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from failing import refused

pytest.importorskip("rclpy")
pytest.importorskip("foxglove", reason="the extra foxglove is not installed: foxglove-sdk")
pytest.importorskip("websockets", reason="websockets is not installed")

import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from websockets.sync.client import connect

from savos_model.settings import is_loopback
from savos_ros.bags.types import typestore
from savos_ros.bridge.bridge import Bridge, spin_once
from savos_ros.bridge.settings import BridgeError, BridgeOptions
from savos_ros.node.qos import profile
from tests.node.rig import HEIGHT, WIDTH, Rig, own_name, wait_for

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = "foxglove.sdk.v1"
ANY_PORT = BridgeOptions(port=0)


class Served:
    """A bridge with its executor in a thread, in the context of a rig."""

    def __init__(self, context, options=ANY_PORT):
        self.node = rclpy.create_node("savos_bridge", context=context)
        self.bridge = Bridge(self.node, options)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.is_set():
            spin_once(self.executor, self.node)

    def close(self):
        self.stop.set()
        self.thread.join(10)
        self.executor.shutdown()
        self.bridge.close()
        self.node.destroy_node()


class Viewer:
    """A client of the protocol, as Foxglove is one."""

    def __init__(self, port, **options):
        self.stack = contextlib.ExitStack()
        address = f"ws://127.0.0.1:{port}"
        self.socket = self.stack.enter_context(
            connect(address, subprotocols=[PROTOCOL], max_size=None, **options)
        )
        self.info, self.channels = json.loads(self.socket.recv(10)), {}

    def until(self, topic, limit_s=15):
        """The channel of a topic, once it is advertised."""
        end = time.monotonic() + limit_s
        while topic not in self.channels:
            message = self.socket.recv(max(0.0, end - time.monotonic()))
            if isinstance(message, str):
                for channel in json.loads(message).get("channels", []):
                    self.channels[channel["topic"]] = channel
        return self.channels[topic]

    def ask(self, **message):
        self.socket.send(json.dumps(message))

    def subscribe(self, number, topic):
        pair = {"id": number, "channelId": self.until(topic)["id"]}
        self.ask(op="subscribe", subscriptions=[pair])

    def message(self, number, limit_s=15):
        """The bytes of the next message of a subscription."""
        end = time.monotonic() + limit_s
        while True:
            data = self.socket.recv(max(0.0, end - time.monotonic()))
            if isinstance(data, bytes) and struct.unpack_from("<BI", data) == (1, number):
                return data[13:]


@pytest.fixture
def rig():
    rig = Rig(name=own_name()).activate()
    yield rig
    rig.close()


@pytest.fixture
def served(rig):
    served = Served(rig.context)
    yield served
    served.close()


@pytest.fixture
def viewer(served):
    viewer = Viewer(served.bridge.port)
    yield viewer
    viewer.socket.close()


def name_of(rig, topic):
    return f"/{rig.node.get_name()}/{topic}"


def test_a_viewer_receives_overlay_and_masks_that_decode(rig, viewer):
    overlay, masks = name_of(rig, "overlay"), name_of(rig, "masks")
    picture = rig.node._outputs._picture
    channel = viewer.until(overlay)
    assert (channel["encoding"], channel["schemaName"]) == ("cdr", "sensor_msgs/msg/Image")
    assert channel["schemaEncoding"] == "ros2msg" and "MSG: std_msgs/Header" in channel["schema"]
    assert "AmodalMask[] masks" in viewer.until(masks)["schema"]
    assert picture.get_subscription_count() == 0, "nothing is drawn that no client shows"
    viewer.subscribe(1, overlay)
    viewer.subscribe(2, masks)
    wait_for(lambda: picture.get_subscription_count() == 1, what="the bridge's subscription")
    wait_for(lambda: rig.node._outputs._masks.get_subscription_count() == 2, what="that of masks")
    rig.send(0)
    rig.answered(0)
    store = typestore()
    # The masks are published first, and each viewer gets messages in order.
    found = store.deserialize_cdr(viewer.message(2), "savos_ros/msg/AmodalMaskArray")
    assert (found.height, found.width) == (HEIGHT, WIDTH)
    assert [mask.id for mask in found.masks] == ["1007"]
    drawn = store.deserialize_cdr(viewer.message(1), "sensor_msgs/msg/Image")
    assert (drawn.height, drawn.width, drawn.encoding) == (HEIGHT, WIDTH, "bgr8")
    assert drawn.header.stamp == found.header.stamp
    pixels = drawn.data.reshape(HEIGHT, WIDTH, 3)
    assert (pixels != np.frombuffer(rig.image(0).data, np.uint8).reshape(pixels.shape)).any()
    viewer.ask(op="unsubscribe", subscriptionIds=[1])
    wait_for(lambda: picture.get_subscription_count() == 0, what="the end of the subscription")


def test_a_viewer_that_is_gone_is_subscribed_to_nothing(rig, viewer):
    viewer.subscribe(1, name_of(rig, "overlay"))
    picture = rig.node._outputs._picture
    wait_for(lambda: picture.get_subscription_count() == 1, what="the bridge's subscription")
    viewer.socket.close()
    wait_for(lambda: picture.get_subscription_count() == 0, what="the end of the subscription")


def test_annotations_are_made_of_masks(rig, viewer):
    topic = name_of(rig, "annotations")
    channel = viewer.until(topic)
    if channel["encoding"] != "protobuf":
        pytest.skip("foxglove_msgs is installed: the node publishes annotations itself")
    assert channel["schemaName"] == "foxglove.ImageAnnotations"
    viewer.subscribe(3, topic)
    wait_for(lambda: rig.node._outputs._masks.get_subscription_count() == 2, what="masks")
    rig.send(0)
    data = viewer.message(3)
    assert b"1007" in data
    corners = np.frombuffer(data, "<f8", count=len(data) // 8)
    assert corners.size > 4, "an outline has corners of two doubles each"


def test_a_late_viewer_gets_latched_messages_and_diagnostics(rig, viewer):
    viewer.subscribe(1, name_of(rig, "active"))
    viewer.subscribe(2, "/diagnostics")
    store = typestore()
    assert store.deserialize_cdr(viewer.message(1), "std_msgs/msg/Bool").data
    found = store.deserialize_cdr(viewer.message(2), "diagnostic_msgs/msg/DiagnosticArray")
    assert rig.node.get_name() in found.status[0].name


def test_viewers_can_only_look(rig, viewer):
    assert viewer.info["capabilities"] == []
    viewer.until(name_of(rig, "masks"))
    channel = {"id": 5, "topic": "/evil", "encoding": "cdr", "schemaName": "std_msgs/msg/Bool"}
    viewer.ask(op="advertise", channels=[channel])
    viewer.ask(op="setParameters", parameters=[{"name": "a", "value": 1}])
    viewer.socket.send(struct.pack("<BI", 1, 5) + b"\0\1\0\0\1")
    viewer.socket.send(b"\xff" * 40)
    viewer.ask(op="unheard_of")
    viewer.subscribe(1, "/diagnostics")
    assert viewer.message(1), "it is served all the same"
    assert rig.helper.count_publishers("/evil") == 0


@pytest.mark.slow
def test_a_viewer_that_does_not_read_slows_nobody_and_takes_no_memory(rig):
    served = Served(rig.context, BridgeOptions(port=0, topics="/large", backlog=4))
    large = rig.helper.create_publisher(Image, "/large", profile(5))
    try:
        slow, fast = Viewer(served.bridge.port), Viewer(served.bridge.port)
        for number, viewer in ((1, slow), (2, fast)):
            viewer.subscribe(number, "/large")
        wait_for(lambda: large.get_subscription_count() == 1, what="one subscription for both")
        image = rig.image(0, np.zeros((800, 1200, 3), np.uint8))
        large.publish(image)
        assert len(fast.message(2)) > image.step * image.height
        before = psutil.Process().memory_info().rss
        sizes = []
        for _ in range(60):  # 173 MB
            large.publish(image)
            sizes.append(len(fast.message(2)))
        assert min(sizes) > image.step * image.height
        assert psutil.Process().memory_info().rss - before < 110 << 20
    finally:
        served.close()
        with contextlib.suppress(Exception):
            slow.socket.close(), fast.socket.close()


def test_topics_are_offered_by_name_and_never_hidden_ones(rig):
    served = Served(rig.context, BridgeOptions(port=0, topics="/diagnostics|/_.*"))
    try:
        viewer = Viewer(served.bridge.port)
        viewer.until("/diagnostics")
        rig.helper.create_publisher(Image, "/_secret", 1)
        rig.helper.create_publisher(Image, "/other", 1)
        with pytest.raises(TimeoutError):
            viewer.until("/_secret", limit_s=3)
        assert set(viewer.channels) == {"/diagnostics"}
        viewer.socket.close()
    finally:
        served.close()


def test_a_port_in_use_is_named(rig, served):
    with pytest.raises(BridgeError, match=f"127.0.0.1:{served.bridge.port}.*--port"):
        Bridge(served.node, BridgeOptions(port=served.bridge.port))


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("robot", False)],
)
def test_only_this_machine_is_the_default(host, local):
    assert is_loopback(BridgeOptions.host) and is_loopback(host) == local


def test_an_expression_that_cannot_be_read_is_refused():
    with refused("topics"):
        BridgeOptions(topics="[")


def test_a_message_that_cannot_be_sent_does_not_end_the_bridge(rig, served, viewer, monkeypatch):
    viewer.subscribe(1, "/diagnostics")
    viewer.message(1)
    offered = next(o for o in served.bridge._channels.values() if o.topic == "/diagnostics")
    good, failed = offered.subscription.callback, []

    def bad(data):
        failed.append(data)
        raise ValueError("cannot be sent")

    monkeypatch.setattr(offered.subscription, "callback", bad)
    wait_for(lambda: failed, what="a message that fails")
    monkeypatch.setattr(offered.subscription, "callback", good)
    assert viewer.message(1) and served.thread.is_alive()


def test_the_layout_shows_topics_that_the_node_has(rig):
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
    text = json.dumps(layout["configById"])
    shown = set(re.findall(r"/savos/(\w+)", text))
    assert shown == {"overlay", "annotations", "masks"} and "/diagnostics" in text
    names = {topic for topic, _ in rig.helper.get_topic_names_and_types()}
    assert {name_of(rig, topic) for topic in shown - {"annotations"}} <= names
    assert set(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"]))) == set(
        layout["configById"]
    )


@pytest.mark.slow
def test_the_command_serves_warns_of_the_network_and_ends_with_a_signal(tmp_path):
    command = [sys.executable, "-m", "savos_ros.cli", "bridge", "--port", "0"]
    command += ["--host", "0.0.0.0", "--topics", "/rosout"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            port = int(re.search(r"ws://\S+:(\d+)", process.stdout.readline())[1])
            viewer = Viewer(port)
            assert viewer.until("/rosout")["schemaName"] == "rcl_interfaces/msg/Log"
            viewer.socket.close()
            layout = process.stdout.readline().split(maxsplit=1)[1].strip()
            assert Path(layout).is_file()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert "warning: everybody who can reach 0.0.0.0" in process.stderr.read()
        finally:
            process.kill()
