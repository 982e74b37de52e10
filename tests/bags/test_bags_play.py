import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_scene as scene

from savos_ros.bags.play import Pace
from savos_ros.bags.recording import record
from savos_ros.bags.settings import BagError, PlayOptions, RecordOptions
from savos_ros.bags.types import BagKit
from savos_ros.bags.writer import BagWriter
from savos_ros.node.ros_start import ros_node
from tests.failing import fails, refused

ROOT = Path(__file__).resolve().parents[2]
IMAGE, MASKS, TRUTH = "/camera/image_raw", "/tracker/masks", "/truth/masks"


@pytest.fixture
def bag(tmp_path):
    options = RecordOptions("instance_masks", truth=True)
    record(scene.frames(30), 30, tmp_path / "bag", options)
    return tmp_path / "bag"


class Listener:
    """A node in its own context that keeps what it receives."""

    def __init__(self, topics):
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile

        self.got, self._opened = {topic: [] for topic in topics}, ros_node("listener")
        self.node = self._opened.__enter__()
        for topic, kind in topics.items():
            store = self.got[topic].append
            self.node.create_subscription(kind, topic, store, QoSProfile(depth=50))
        self._executor = SingleThreadedExecutor(context=self.node.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def wait_for(self, counts, limit_s=15.0):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if all(len(self.got[topic]) >= count for topic, count in counts.items()):
                return
            time.sleep(0.02)

    def close(self):
        self._executor.shutdown()
        self._thread.join()
        self._opened.__exit__(None, None, None)


@pytest.fixture
def listen():
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    pytest.importorskip("savos_ros.msg", reason="the messages are not built")
    made = []

    def start(topics):
        made.append(Listener(topics))
        return made[-1]

    yield start
    for listener in made:
        listener.close()


def kinds():
    from savos_ros.msg import InstanceMaskArray
    from sensor_msgs.msg import Image

    return Image, InstanceMaskArray


def played(path, **options):
    """Play in a thread: the test's own thread keeps its signal handlers."""
    from savos_ros.bags.play import play

    result = []
    thread = threading.Thread(target=lambda: result.append(play(path, PlayOptions(**options))))
    thread.start()
    return thread, result


def test_all_messages_arrive_in_order_with_their_bytes(bag, listen):
    image, masks = kinds()
    listener = listen({IMAGE: image, MASKS: masks})
    thread, result = played(bag, rate=3.0, wait_s=15.0)
    listener.wait_for({IMAGE: 30, MASKS: 30})
    thread.join()

    assert result[0].counts == {IMAGE: 30, MASKS: 30, TRUTH: 30}
    assert result[0].silent == [TRUTH]
    assert len(listener.got[IMAGE]) == len(listener.got[MASKS]) == 30
    for index, (picture, array) in enumerate(
        zip(listener.got[IMAGE], listener.got[MASKS], strict=True)
    ):
        want = scene.frame(index)
        for message in (picture, array):
            stamp = message.header.stamp
            assert stamp.sec * 10**9 + stamp.nanosec == want.stamp_ns
        pixels = np.frombuffer(picture.data, np.uint8).reshape(want.image.shape)
        assert np.array_equal(pixels, want.image)
        assert [item.id for item in array.masks] == [item.id for item in want.instances]


def test_restamped_messages_keep_their_distances_and_begin_now(bag, listen):
    image, masks = kinds()
    listener = listen({IMAGE: image, MASKS: masks})
    begun = time.time_ns()
    thread, result = played(bag, wait_s=15.0, restamp=True)
    listener.wait_for({IMAGE: 30, MASKS: 30})
    thread.join()
    times = [
        [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in listener.got[topic]]
        for topic in (IMAGE, MASKS)
    ]
    assert times[0] == times[1] and begun <= times[0][0] <= time.time_ns()
    assert {b - a for a, b in zip(times[0], times[0][1:], strict=False)} == {scene.PERIOD_NS}
    assert times[0][0] - scene.START_NS == result[0].offset_ns


def test_remap_topic_choice_and_clock(bag, listen):
    from rosgraph_msgs.msg import Clock

    image, _ = kinds()
    listener = listen({"/front/image": image, "/clock": Clock})
    options = {"topics": (IMAGE,), "remaps": (f"{IMAGE}:=/front/image",), "clock": True}
    thread, result = played(bag, rate=5.0, wait_s=15.0, **options)
    listener.wait_for({"/front/image": 30, "/clock": 30})
    thread.join()

    assert result[0].counts == {"/front/image": 30}
    times = [m.clock.sec * 10**9 + m.clock.nanosec for m in listener.got["/clock"]]
    assert len(times) >= 25
    assert times == sorted(times)
    assert times[0] >= scene.START_NS
    assert times[-1] <= scene.START_NS + 29 * scene.PERIOD_NS


def test_a_recorded_clock_gives_way_to_that_of_the_player(tmp_path, listen):
    from rosgraph_msgs.msg import Clock

    kinds = BagKit()
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/clock", "rosgraph_msgs/Clock")
        for index in range(10):
            now = kinds.make("builtin_interfaces/Time", sec=12, nanosec=index * 100_000_000)
            stamp = scene.START_NS + index * 100_000_000
            writer.write("/clock", stamp, kinds.make("rosgraph_msgs/Clock", clock=now))
            if index == 0:
                writer.add_topic("/text", "std_msgs/String")
            writer.write("/text", stamp, kinds.make("std_msgs/String", data="x"))
    listener = listen({"/clock": Clock})
    thread, result = played(tmp_path / "bag", rate=5.0, wait_s=5.0, clock=True)
    thread.join()
    assert result[0].replaced == ["/clock"]
    assert result[0].counts == {"/text": 10}
    times = [m.clock.sec * 10**9 + m.clock.nanosec for m in listener.got["/clock"]]
    assert times and times == sorted(times) and times[0] >= scene.START_NS


@pytest.mark.parametrize(
    ("number", "again_s"), [(signal.SIGINT, None), (signal.SIGTERM, None), (signal.SIGINT, 0.1)]
)
def test_a_signal_ends_a_looping_player_cleanly(bag, listen, number, again_s):
    image, _ = kinds()
    listener = listen({IMAGE: image})
    command = [sys.executable, "-m", "savos_ros.cli", "play", str(bag), "--loop", "--rate", "20"]
    player = subprocess.Popen(
        [*command, "--topic", IMAGE],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    listener.wait_for({IMAGE: 45}, 30.0)
    player.send_signal(number)
    if again_s is not None:  # as the launch system does
        time.sleep(again_s)
        player.send_signal(number)
    output, _ = player.communicate(timeout=15)

    assert player.returncode == 0, output
    assert "stopped" in output
    assert "Traceback" not in output
    assert len(listener.got[IMAGE]) >= 45  # more than the bag holds once


def test_mistakes_are_named(bag):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from savos_ros.bags.play import play

    with fails(BagError, "no_topic"):
        play(bag, PlayOptions(topics=("/nothing",)))
    with fails(BagError, "no_topic"):
        play(bag, PlayOptions(remaps=("/camera:=/front",)))
    with fails(BagError, "topic_name"):
        play(bag, PlayOptions(remaps=("/camera/image_raw:=/no good",)))
    with refused("rate", "bounds"):
        PlayOptions(rate=0)
    with refused("remap"):
        PlayOptions(remaps=("a=b",))
    assert PlayOptions(remaps=("/a:=/b", "/c:=d")).targets == {"/a": "/b", "/c": "d"}


def test_topics_of_types_that_are_not_installed_are_skipped_and_named(tmp_path):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    from savos_ros.bags.play import play

    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("uint8 x", "nowhere_msgs/msg/Odd"))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        odd = writer.add_connection("/odd", "nowhere_msgs/msg/Odd", typestore=store)
        text = writer.add_connection("/text", "std_msgs/msg/String", typestore=store)
        for stamp in (1, 2):
            writer.write(odd, stamp, b"\x00\x01\x00\x00\x05")
            message = store.types["std_msgs/msg/String"](data="x")
            writer.write(text, stamp, store.serialize_cdr(message, "std_msgs/msg/String"))
    result = play(tmp_path / "bag", PlayOptions())
    assert result.skipped == {"/odd": "nowhere_msgs/msg/Odd"}
    assert result.counts == {"/text": 2}
    with pytest.raises(BagError) as info:
        play(tmp_path / "bag", PlayOptions(topics=("/odd",)))
    assert info.value.kind == "nothing_to_play"


def test_pace_follows_the_recording():
    ticks = []
    pace = Pace(100.0, threading.Event(), ticks.append)
    begun = time.monotonic()
    for stamp in (100, 100 + 5_000_000_000, 100 + 10_000_000_000):
        assert pace.wait_until(stamp)
    took = time.monotonic() - begun
    assert 0.09 < took < 5  # a hundredth of 10 s, on a machine of any load
    assert ticks == sorted(ticks)
    assert ticks[0] == 100
    assert ticks[-1] == 100 + 10_000_000_000


def test_pace_ends_when_stopped():
    stop = threading.Event()
    pace = Pace(1.0, stop)
    assert pace.wait_until(0)
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    assert not pace.wait_until(60_000_000_000)
    assert time.monotonic() - begun < 5
