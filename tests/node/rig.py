"""A node under test with a camera, a tracker and a listener, on real DDS in one process."""

import gc
import os
import threading
import time
from concurrent.futures import Future

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from domain_coordinator import domain_id
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from savos_ros.msg import AmodalMaskArray
from sensor_msgs.msg import Image

from savos_model.stream.stream import AmodalStream
from savos_ros.messages import kit
from savos_ros.node.engine import Engine
from savos_ros.node.node import AmodalNode, spin
from savos_ros.node.qos import all_reliable, profile
from tests.tiny_scene import EchoBackend

HEIGHT, WIDTH = 48, 80
PERIOD_NS = 100_000_000
START_NS = 7_000_000_000
LIMIT_S = 15.0


def own_name():
    """Return a name of a node for tests that ask the graph by name.

    It may hold another "savos": one that has just ended, or that of another run in this domain.
    """
    return f"savos_{os.getpid()}_{time.monotonic_ns()}"


def echo_engine(settings):
    return Engine(AmodalStream(EchoBackend(), settings.stream), "echo", "for tests")


def wait_for(condition, limit_s=LIMIT_S, what="condition"):
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, f"{what} did not come true in {limit_s} s"
        time.sleep(0.01)


class Rig:
    """Owns a ROS context; `close` ends it. Everything of the node runs in one executor thread."""

    def __init__(self, load=echo_engine, namespace="", name="savos", arguments=(), **parameters):
        self._domain = domain_id()
        self.number = number = self._domain.__enter__()
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = rclpy.Context()
        arguments = ["test", *arguments, "--ros-args", "-r", f"savos:__node:={name}"]
        rclpy.init(args=arguments, context=self.context, domain_id=number)
        overrides = [Parameter(name.replace("__", "."), value=v) for name, v in parameters.items()]
        self.node = AmodalNode(
            load=load, namespace=namespace, context=self.context, parameter_overrides=overrides
        )
        self.helper = rclpy.create_node("helper", context=self.context)
        self.kit = kit.RosKit()
        self.masks, self.refined, self.statuses = [], [], []
        self.executors = [SingleThreadedExecutor(context=self.context) for _ in range(2)]
        self.executors[0].add_node(self.node)
        self.executors[1].add_node(self.helper)
        self.threads = [
            threading.Thread(target=spin, args=(self.executors[0], self.node)),
            threading.Thread(target=self.executors[1].spin),
        ]
        for thread in self.threads:
            thread.start()
        self.helper.create_subscription(
            AmodalMaskArray, f"{namespace}/{name}/masks", self.masks.append, profile(100)
        )
        self.helper.create_subscription(
            AmodalMaskArray, f"{namespace}/{name}/masks_refined", self.refined.append, profile(100)
        )
        self.helper.create_subscription(DiagnosticArray, "/diagnostics", self.statuses.append, 10)
        self.publishers = {}

    def close(self):
        self.do(self.node._free)
        for executor, thread in zip(self.executors, self.threads, strict=True):
            executor.shutdown()
            thread.join(10)
        self.node.destroy_node()
        self.helper.destroy_node()
        rclpy.try_shutdown(context=self.context)
        # The node's lifecycle topic stays in the graph until its last reference is gone.
        self.node = self.helper = self.context = self.executors = self.publishers = None
        gc.collect()
        self._domain.__exit__(None, None, None)

    def do(self, function, *arguments):
        """Run something in the thread of the node, as a service call would."""
        results = Future()

        def call():
            try:
                results.set_result(function(*arguments))
            except Exception as error:
                results.set_exception(error)

        self.executors[0].create_task(call)
        return results.result(40)

    def activate(self):
        assert self.do(self.node.autostart)
        outputs = self.node._outputs
        wait_for(outputs._masks.get_subscription_count, what="a reader of masks")
        if outputs._refined is not None:
            wait_for(outputs._refined.get_subscription_count, what="a reader of refined masks")
        return self

    def publisher(self, kind, topic, qos=None):
        if topic not in self.publishers:
            made = self.helper.create_publisher(kind, topic, qos or profile(50))
            self.publishers[topic] = made
            wait_for(lambda: made.get_subscription_count() > 0, what=f"a subscriber of {topic}")
            wait_for(self.settled, what="subscriptions that follow their publishers")
        return self.publishers[topic]

    def settled(self):
        """Whether the node has followed all publishers that there are."""
        followed = self.node._inputs.subscriptions.values() if self.node._inputs else ()
        return all(
            item._old is None and item.reliable == all_reliable(item._same_type())
            for item in followed
            if item._same_type()
        )

    def head(self, index, frame_id="front_camera"):
        return kit.header(self.kit, START_NS + index * PERIOD_NS, frame_id)

    def image(self, index, pixels=None, encoding="bgr8"):
        if pixels is None:
            rng = np.random.default_rng(index % 3)
            pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        return kit.image(self.kit, self.head(index), pixels, encoding)

    def labels(self, index, array=None, encoding="16UC1"):
        if array is None:
            array = np.zeros((HEIGHT, WIDTH), np.uint16)
            array[10:30, 10 + index % 20 : 40 + index % 20] = 1007
        return kit.image(self.kit, self.head(index), array, encoding)

    def send(self, index, image=None, labels=None):
        """Publish one frame."""
        self.publisher(Image, "image").publish(image or self.image(index))
        kind = type(labels) if labels is not None else Image
        self.publisher(kind, "instances").publish(labels or self.labels(index))

    def stamps(self, messages=None):
        """Indices of the frames that were answered, or of other messages."""
        found = []
        for message in list(self.masks if messages is None else messages):
            ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            found.append((ns - START_NS) // PERIOD_NS)
        return found

    def answered(self, *indices):
        wait_for(lambda: set(indices) <= set(self.stamps()), what=f"answers to {indices}")

    def values(self, after=None):
        """Values of a diagnostics message that was sent from now on."""
        seen = len(self.statuses)
        wait_for(lambda: len(self.statuses) > seen + 1, what="diagnostics")
        status = self.statuses[-1].status[0]
        return {item.key: item.value for item in status.values} | {
            "level": ord(status.level),
            "message": status.message,
            "name": status.name,
        }


def joinable_rig(monkeypatch):
    """Yield an active rig whose DDS domain programs that the test starts join; for a fixture."""
    made = Rig(name=own_name(), diagnostics__period_s=0.2).activate()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(made.number))
    yield made
    made.close()
