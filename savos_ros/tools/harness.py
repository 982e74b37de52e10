"""One run of the node as its own process: starts it, plays a bag, collects what comes out."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from savos_ros.bags import recording
from savos_ros.bags.play import play
from savos_ros.bags.restamp import header_stamp, moved_stamp
from savos_ros.bags.settings import PlayOptions
from savos_ros.messages import kit
from savos_ros.node.ros_start import ros_node
from savos_ros.paths import share_dir
from savos_ros.tools.domain import own_domain
from savos_ros.tools.settings import DemoError, NodeOptions

NODE = "/savos"
START_LIMIT_S = 60.0
QUIET_S = 3.0
STOP_LIMIT_S = 20.0
READER_DEPTH = 100


class Session(NamedTuple):
    """Results of one run."""

    sent: int  # frames published
    results: dict[int, bytes]  # serialized AmodalMaskArray by stamp of the bag [ns]
    values: dict[str, str]  # last diagnostics of the node, by key


def environment(place: int = 0) -> dict[str, str]:
    """Return what keeps a command's traffic to itself and on this machine, with room for images.

    Nodes of another `place` do not hear each other. Raises DemoError: all domains are taken.
    """
    return {
        "ROS_DOMAIN_ID": str(own_domain(place)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(share_dir() / "config" / "fastdds.xml"),
    }


def node_parameters(options: NodeOptions, folder: Path) -> dict[str, str]:
    """Return the ROS parameters that options ask for; adapted weights go below `folder`."""
    found = {"model.weights": options.weights} if options.weights else {}
    if options.refine:
        found["refine.enabled"] = "true"
    if options.adapt:
        found |= {"adapt.enabled": "true", "adapt.folder": str(folder / "adapted")}
    return found


def latencies(values: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return percentiles by stage [ms] from the node's diagnostics."""
    found: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        if key.startswith("latency_ms."):
            _, stage, part = key.split(".")
            found.setdefault(stage, {})[part] = float(value)
    return found


def run_session(bag: Path, log: Path, parameters: dict[str, str]) -> Session:
    """Play a bag at its pace to a fresh node and return what it published.

    Raises DemoError: the node did not start, died, answered nothing, or did not end cleanly.
    """
    with log.open("w") as output, NodeProcess(parameters, output, log) as node:
        with Recorder() as recorder:
            recorder.wait_for_node(node.check)
            topics = (recording.IMAGE_TOPIC, recording.LABELS_TOPIC)
            played = play(bag, PlayOptions(topics=topics, wait_s=START_LIMIT_S, restamp=True))
            if played.stopped:
                raise KeyboardInterrupt
            if what := played.damage or played.skipped or played.silent:
                raise DemoError(f"the bag could not be played: {what}")
            recorder.wait_until_quiet(played.counts[recording.IMAGE_TOPIC], node.check)
            node.check()
        node.stop()
    moved = (moved_stamp(data, -played.offset_ns) for data in recorder.messages)
    back = {stamp: data for data in moved if (stamp := header_stamp(data)) is not None}
    if not back:
        raise DemoError(f"the node answered no frame: {log} says why")
    return Session(played.counts[recording.IMAGE_TOPIC], back, recorder.values)


class NodeProcess:
    """The node in a separate process; use it in a with block, which never leaves it behind."""

    def __init__(
        self, parameters: dict[str, str], output: IO[str], log: Path, namespace: str = ""
    ) -> None:
        remaps = {"image": recording.IMAGE_TOPIC, "instances": recording.LABELS_TOPIC}
        self._command = [sys.executable, "-m", "savos_ros.node.main", "--autostart", "--ros-args"]
        if namespace:
            self._command += ["-r", f"__ns:={namespace}"]
        for name, topic in remaps.items():
            self._command += ["-r", f"{name}:={topic}"]
        for name, value in parameters.items():
            self._command += ["-p", f"{name}:={value}"]
        self._output, self._log = output, log

    def __enter__(self) -> NodeProcess:
        """Start it."""
        self._process = subprocess.Popen(
            self._command, stdout=self._output, stderr=subprocess.STDOUT
        )
        return self

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise DemoError when it has ended."""
        status = self._process.poll()
        if status is not None:
            tail = self._log.read_text(errors="replace").splitlines()[-15:]
            raise DemoError(f"the node ended with status {status}:\n" + "\n".join(tail))

    def stop(self) -> None:
        """End it as Ctrl-C does; DemoError when that is not clean."""
        self._process.send_signal(signal.SIGINT)
        try:
            if self._process.wait(STOP_LIMIT_S):
                self.check()
        except subprocess.TimeoutExpired:
            raise DemoError(
                f"the node did not end in {STOP_LIMIT_S:.0f} s: see {self._log}"
            ) from None

    def __exit__(self, *_: object) -> None:
        """Leave no process behind."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Recorder:
    """Collects the masks as the bytes that came in, and the diagnostics, in a thread."""

    def __init__(self, node: str = NODE) -> None:
        self._name = node
        self.messages: list[bytes] = []
        self.values: dict[str, str] = {}
        self._last_s = time.monotonic()
        self._matched = 0

    def __enter__(self) -> Recorder:
        """Connect and start to listen."""
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.event_handler import SubscriptionEventCallbacks
        from rclpy.executors import SingleThreadedExecutor

        self._opened = ros_node("savos_demo", enable_rosout=False)
        self._node = self._opened.__enter__()
        events = SubscriptionEventCallbacks(matched=self._count_match)
        self.subscribe("masks", self._on_masks, events)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=self._node.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, name="savos_recorder")
        self._thread.start()
        return self

    def subscribe(self, topic: str, callback: Callable[[bytes], None], events: Any = None) -> None:
        """Hand a topic of masks of the node over as the bytes that come in."""
        from savos_ros.msg import AmodalMaskArray
        from savos_ros.node.qos import profile

        name, qos = f"{self._name}/{topic}", profile(READER_DEPTH)
        self._node.create_subscription(
            AmodalMaskArray, name, callback, qos, event_callbacks=events, raw=True
        )

    def open_inputs(self) -> None:
        """Open what `send` publishes on: the image and its labels."""
        from sensor_msgs.msg import Image

        from savos_ros.node.qos import profile

        self._kit = kit.RosKit()
        topics = (recording.IMAGE_TOPIC, recording.LABELS_TOPIC)
        self.inputs = [self._node.create_publisher(Image, t, profile(READER_DEPTH)) for t in topics]

    def send(self, stamp_ns: int, image: np.ndarray, labels: np.ndarray) -> None:
        """Publish an image, uint8 BGR [H, W, 3], and its labels, uint16 [H, W]."""
        head = kit.header(self._kit, stamp_ns, "camera")
        pair = ((image, "bgr8"), (labels, "16UC1"))
        for publisher, (pixels, encoding) in zip(self.inputs, pair, strict=True):
            publisher.publish(kit.image(self._kit, head, pixels, encoding))

    def wait_for_node(self, check: Callable[[], None]) -> None:
        """Wait until the node is active and connected; `check` raises when it has died."""
        begun = time.monotonic()
        while not (self._matched and self.values.get("state") == "active"):
            check()
            if time.monotonic() - begun > START_LIMIT_S:
                raise DemoError(f"the node was not active after {START_LIMIT_S:.0f} s")
            time.sleep(0.05)

    def wait_until_quiet(self, wanted: int, check: Callable[[], None]) -> None:
        """Wait for `wanted` results, or until none has come for a while; then for diagnostics."""
        self._last_s = time.monotonic()
        while len(self.messages) < wanted and time.monotonic() - self._last_s < QUIET_S:
            check()
            time.sleep(0.05)
        begun, self.values = time.monotonic(), {}
        while not self.values and time.monotonic() - begun < QUIET_S:
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        """Stop to listen."""
        self._executor.shutdown()
        self._thread.join()
        self._opened.__exit__(None, None, None)

    def _on_masks(self, data: bytes) -> None:
        self.messages.append(data)
        self._last_s = time.monotonic()

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(f"{self._name}:"):
                self.values = {item.key: item.value for item in status.values}

    def _count_match(self, info: Any) -> None:
        self._matched = info.current_count
