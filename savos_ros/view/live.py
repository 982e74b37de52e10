"""Shows a running node; subscribes to masks and camera only while a page is watched."""

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import NameValidationException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from savos_model.settings import SettingError
from savos_ros.messages.conversions import ConversionError, stamp_ns
from savos_ros.messages.settings import InputConfig, OverlayConfig
from savos_ros.msg import AmodalMaskArray
from savos_ros.node.diagnostics import OTHER_CLOCK_MS
from savos_ros.node.qos import FollowingSubscription
from savos_ros.node.ros_start import ros_node
from savos_ros.node.sync import StampJoiner
from savos_ros.view.picture import Shown, packet, pair_shown
from savos_ros.view.source import Answer, Sink

NAME = "savos_view"
WATCH_S = 0.25  # between two looks at what the topics and their publishers are
WAITING = 10  # images that may wait for their masks
SILENT_S = 5.0  # without diagnostics the node is taken to be away
ANSWER_S = 5.0
SERVICES = {"reset": Trigger, "rollback": Trigger, "adapt": SetBool}
COMPRESSED = "sensor_msgs/msg/CompressedImage"


class LiveSource:
    """One node of this package (a Source); without `image`, its diagnostics name the camera.

    Raises SettingError: `node` or `image` is no name of ROS.
    """

    keeps = False

    def __init__(self, node: str, image: str = "", control: bool = False) -> None:
        self._name, self._asked = f"/{node.strip('/')}", image
        for option, name in (("--node", self._name), ("--image", image or "/any")):
            try:
                validate_full_topic_name(name)
            except NameValidationException as error:
                why = str(error).splitlines()[0].rstrip(":")
                raise SettingError(
                    f"{option} {name} cannot be used: {why}: give a full name such as /savos"
                ) from None
        self._control, self._overlay = control, OverlayConfig()
        self._lock, self._news = threading.Lock(), threading.Event()
        self._pair: tuple[Any, Any] | None = None  # the newest that waits to be drawn
        self._watched = self._stopped = False
        self._subscriptions: list[FollowingSubscription] = []
        self._values: dict[str, str] = {}
        self._level, self._message, self._heard_s = 0, "", 0.0
        self._others: set[str] = set()
        self._problem = ""
        self._clients: dict[str, Any] = {}
        self._opened = ExitStack()

    def start(self, sink: Sink) -> None:
        """Join ROS (see Source); raises RosStartError: rclpy cannot start here."""
        self._sink = sink
        self._node = self._opened.enter_context(ros_node(NAME, enable_rosout=False))
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._node.create_timer(WATCH_S, self._follow, clock=steady)
        if self._control:
            for name, kind in SERVICES.items():
                self._clients[name] = self._node.create_client(kind, f"{self._name}/{name}")
        self._executor = SingleThreadedExecutor(context=self._node.context)
        self._executor.add_node(self._node)
        self._threads = [
            threading.Thread(target=work, name=f"{NAME}_{work.__name__}")
            for work in (self._spin, self._draw)
        ]
        for thread in self._threads:
            thread.start()

    def watch(self, on: bool) -> None:
        """Subscribe while a page is watched; see Source."""
        self._watched = on
        self._executor.create_task(self._follow)

    def status(self) -> dict[str, Any]:
        """Return the node's newest diagnostics; see Source."""
        with self._lock:
            values, age = dict(self._values), time.monotonic() - self._heard_s
            level, message, others = self._level, self._message, sorted(self._others)
        state = values.get("state", "unknown")
        if not values or age > SILENT_S:
            level, state = 2, "away"
            message = f"nothing is heard of {self._name}: is it running, in this ROS_DOMAIN_ID?"
            if others:
                message += f" Heard of: {', '.join(others)}: give --node"
        elif self._problem:
            level, message = max(level, 1), f"{message}; {self._problem}"
        return {
            "kind": "node", "name": self._name, "level": level, "message": message,
            "state": state, "values": values,
        }  # fmt: skip

    def ask(self, said: dict[str, Any]) -> None:
        """Refuse: a node cannot be paused; see Source."""
        raise ValueError("a running node has no pause or seek")

    async def order(self, name: str, on: bool) -> Answer:
        """Call a service of the node; see Source."""
        client = self._clients[name]
        request = SetBool.Request(data=on) if name == "adapt" else Trigger.Request()
        answer: Future = Future()

        def call() -> None:
            if answer.cancelled():
                return
            if not client.service_is_ready():
                answer.set_result(None)
                return
            client.call_async(request).add_done_callback(partial(_hand_over, answer))

        self._executor.create_task(call)
        try:
            response = await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_S)
        except (TimeoutError, asyncio.TimeoutError):
            return Answer(False, f"{self._name} has not answered in {ANSWER_S:.0f} s")
        if response is None:
            return Answer(False, f"{self._name}/{name} is not there: is the node running?")
        return Answer(response.success, response.message or f"{name}: done")

    def close(self) -> None:
        """Leave ROS; see Source."""
        self._stopped = True
        self._news.set()
        self._executor.shutdown()
        for thread in self._threads:
            thread.join()
        for subscription in self._subscriptions:
            subscription.destroy()
        self._opened.close()

    def _spin(self) -> None:
        while not self._stopped:
            try:
                self._executor.spin()
                return
            except ExternalShutdownException:
                return
            except Exception as error:  # also of rclpy, for a message that it cannot read
                self._problem = f"a message was lost: {error}"

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name, _, what = status.name.partition(":")
            if name == self._name:
                with self._lock:
                    self._values = {item.key: item.value for item in status.values}
                    self._level, self._message = ord(status.level), status.message
                    self._heard_s = time.monotonic()
            elif what == " amodal masks":
                with self._lock:
                    self._others.add(name)

    def _follow(self) -> None:
        """Have the subscriptions that are wanted now; in the executor's thread."""
        image = self._asked or self._values.get("topic.image", "")
        wanted = [image, f"{self._name}/masks"] if self._watched and image else []
        if [item.topic for item in self._subscriptions] != wanted:
            for item in self._subscriptions:
                item.destroy()
            self._subscriptions = []
            self._joiner = StampJoiner(("image", "masks"), WAITING)
            if wanted:
                self._subscribe(image, self._image_class(image), "image")
                self._subscribe(wanted[1], AmodalMaskArray, "masks")
        for item in self._subscriptions:
            item.follow()

    def _image_class(self, topic: str) -> type:
        types = dict(self._node.get_topic_names_and_types()).get(topic, [])
        packed = COMPRESSED in types if types else topic.endswith("/compressed")
        return CompressedImage if packed else Image

    def _subscribe(self, topic: str, kind: type, channel: str) -> None:
        def receive(message: Any) -> None:
            joined = self._joiner.add(channel, stamp_ns(message.header), message)
            if joined is not None:
                with self._lock:
                    self._pair = joined.messages
                self._news.set()

        made = FollowingSubscription(self._node, kind, topic, receive, lambda count: None)
        self._subscriptions.append(made)

    def _draw(self) -> None:
        """Draw the newest frame whenever a page can take one."""
        while True:
            self._news.wait()
            if self._stopped:
                return
            if not self._sink.wait_hungry(WATCH_S):
                continue
            self._news.clear()
            with self._lock:
                pair, self._pair = self._pair, None
            if pair is None:
                continue
            try:
                frame, compare = pair_shown(*pair, InputConfig.max_pixels), self._sink.comparing()
                self._sink.offer(packet(frame, self._overlay, compare, age_ms=_age_ms(frame)))
                self._problem = ""
            except ConversionError as error:
                self._problem = str(error)
            except Exception as error:  # the next frame may be better
                self._problem = f"a frame cannot be drawn: {error!r}"


def _age_ms(frame: Shown) -> float | None:
    """Return the time since the frame's stamp [ms]; None where that is of another clock."""
    age = (time.time_ns() - frame.stamp_ns) / 1e6
    return round(age, 1) if 0 <= age < OTHER_CLOCK_MS else None


def _hand_over(answer: Future, future: Any) -> None:
    """Hand the result of a call in ROS over to another thread."""
    if answer.cancelled():  # the caller has given up
        return
    try:
        answer.set_result(future.result())
    except Exception as error:
        answer.set_exception(error)
