"""Subscribe to the input topics and synchronize their messages by stamp."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from savos_model.settings import SettingError
from savos_ros.messages.conversions import payload_bytes, stamp_ns
from savos_ros.messages.settings import NodeSettings
from savos_ros.msg import InstanceMaskArray
from savos_ros.node.diagnostics import Health
from savos_ros.node.qos import INPUT_DEPTH, FollowingSubscription, node_name, profile
from savos_ros.node.sync import Joined, StampJoiner
from savos_ros.node.waiting import InputState, waiting_text

REPEAT_UP_TO_S = 60.0
MASKS_TYPE = "savos_ros/msg/AmodalMaskArray"


def message_classes(settings: NodeSettings) -> dict[str, type]:
    """Return the message class of each input; raises SettingError: yolo_msgs is missing."""
    image = CompressedImage if settings.input.image_transport == "compressed" else Image
    classes: dict[str, type] = {"image": image, "instances": Image}
    if settings.input.mask_source == "label_png":
        classes["instances"] = CompressedImage
    elif settings.input.mask_source == "instance_masks":
        classes["instances"] = InstanceMaskArray
    elif settings.input.mask_source == "yolo":
        try:
            from yolo_msgs.msg import DetectionArray
        except ImportError:
            raise SettingError(
                "input.mask_source yolo needs the messages yolo_msgs, which are not installed: "
                "install yolo_ros, or choose label_image or instance_masks"
            ) from None
        classes["instances"] = DetectionArray
    if settings.flow.method == "topic":
        classes["flow"] = Image
    return classes


def image_topic(node: Node, transport: str) -> str:
    """Return the full image topic; a remap of `image` also applies to the compressed one."""
    base = node.resolve_topic_name("image")
    if transport == "raw" or base.endswith("/compressed"):
        return base
    own = node.resolve_topic_name("image/compressed")
    remapped = own != node.resolve_topic_name("image/compressed", only_expand=True)
    return own if remapped else f"{base}/compressed"


def camera_info_topic(node: Node) -> str:
    """Return the full topic of the camera's calibration: next to the image, or as remapped."""
    own = node.resolve_topic_name("camera_info")
    if own != node.resolve_topic_name("camera_info", only_expand=True):
        return own
    image = node.resolve_topic_name("image").removesuffix("/compressed")
    return f"{image.rpartition('/')[0]}/camera_info"


class Inputs:
    """Subscriptions of a configured node; for the executor's thread.

    Messages before `begin` and after `end` are ignored. Losses are counted in `health`;
    `on_camera_info` is called with each CameraInfo. Raises SettingError: two inputs, or an input
    and an output, share a topic.
    """

    def __init__(
        self,
        node: Node,
        settings: NodeSettings,
        health: Health,
        on_camera_info: Callable[[CameraInfo], None],
    ) -> None:
        self._node, self._settings, self._health = node, settings, health
        self._take: Callable[[Joined], None] | None = None
        classes = message_classes(settings)
        slop_ns = round(settings.input.sync_slop_s * 1e9)
        self.joiner = StampJoiner(tuple(classes), settings.input.pair_buffer, slop_ns)
        if slop_ns:
            node.get_logger().warning(
                f"input.sync_slop_s is {settings.input.sync_slop_s}: masks may differ in time "
                "from their image, so moving objects are displaced by their motion"
            )
        self._came_s: dict[str, float] = {}
        self.subscriptions: dict[str, FollowingSubscription] = {}
        self._check_topics(classes)
        with contextlib.ExitStack() as undo:
            undo.callback(self.destroy)
            for name, kind in classes.items():
                self.subscriptions[name] = FollowingSubscription(
                    node,
                    kind,
                    self._topic(name),
                    self._receiver(name),
                    partial(self._lost, f"{name}_lost_on_the_way"),
                )
            self._camera_info = node.create_subscription(
                CameraInfo,
                camera_info_topic(node),
                on_camera_info,
                profile(INPUT_DEPTH, reliable=False),
            )
            undo.pop_all()

    def begin(self, take: Callable[[Joined], None]) -> None:
        """Pass each synchronized set to `take`, which must return immediately."""
        self._last_set_s = self._said_s = time.monotonic()
        self._pause_s = self._settings.diagnostics.waiting_after_s
        self._take = take

    def end(self) -> None:
        """Stop passing sets on; count the messages that wait for a partner."""
        self._take = None
        self.joiner.clear()

    @property
    def idle(self) -> bool:
        """Return whether an active node has waited too long for a synchronized set."""
        if self._take is None:
            return False
        waited_s = time.monotonic() - self._last_set_s
        return waited_s >= self._settings.diagnostics.waiting_after_s

    def watch(self) -> None:
        """Follow the publishers, and log what is missing if no set arrives; call regularly."""
        for subscription in self.subscriptions.values():
            subscription.follow()
        now = time.monotonic()
        if self.idle and now - self._said_s >= self._pause_s:
            self._said_s, self._pause_s = now, min(2 * self._pause_s, REPEAT_UP_TO_S)
            self._node.get_logger().warning(self.waiting())

    def waiting(self) -> str:
        """Return which inputs are connected, what was received and what to do."""
        now = time.monotonic()
        states = [
            InputState(
                name,
                subscription.topic,
                subscription.message_type,
                subscription.peers(),
                self.joiner.received[name],
                self.joiner.last_stamp.get(name),
                now - self._came_s[name] if name in self._came_s else None,
                self._published(subscription.message_type),
            )
            for name, subscription in self.subscriptions.items()
        ]
        return waiting_text(
            states,
            now - self._last_set_s,
            self.joiner.nearest_gap_ns(),
            self._settings.input.sync_slop_s,
            self._health.frames_out,
        )

    def destroy(self) -> None:
        """Unsubscribe from all topics; keep the losses."""
        for subscription in self.subscriptions.values():
            subscription.destroy()
        if hasattr(self, "_camera_info"):
            self._node.destroy_subscription(self._camera_info)
        self._health.keep(self.joiner.losses)

    def _check_topics(self, classes: dict[str, type]) -> None:
        """Raise SettingError for topics that this node uses otherwise."""
        taken = {publisher.topic_name: "publishes it" for publisher in self._node.publishers}
        for name in classes:
            topic = self._topic(name)
            if topic in taken:
                raise SettingError(
                    f"{name} is mapped to {topic}, but this node {taken[topic]}: remap {name} to "
                    "the topic of another node"
                )
            taken[topic] = f"already reads its {name} from it"

    def _lost(self, reason: str, count: int, text: str = "") -> None:
        text = text or f"{count} lost by the middleware: check QoS and config/fastdds.xml"
        line = self._health.drop(reason, text, time.monotonic(), count)
        if line:
            self._node.get_logger().warning(line)

    def _published(self, kind: str) -> tuple[str, ...]:
        """Return topics of this type that no amodal node publishes and no input uses."""
        node = self._node
        ours = {node.get_fully_qualified_name()}
        taken = {subscription.topic for subscription in self.subscriptions.values()}
        topics = node.get_topic_names_and_types()
        for topic, kinds in topics:
            if MASKS_TYPE in kinds:  # its publishers have overlays, too
                ours |= {node_name(info) for info in node.get_publishers_info_by_topic(topic)}
        return tuple(
            topic
            for topic, kinds in topics
            if kind in kinds
            and topic not in taken
            and any(
                info.topic_type == kind and node_name(info) not in ours
                for info in node.get_publishers_info_by_topic(topic)
            )
        )

    def _topic(self, name: str) -> str:
        if name == "image":
            return image_topic(self._node, self._settings.input.image_transport)
        return self._node.resolve_topic_name(name)

    def _receiver(self, name: str) -> Callable[[Any], None]:
        limit = self._settings.input.max_message_bytes

        def receive(message: Any) -> None:
            if self._take is None:
                return
            self._came_s[name] = time.monotonic()
            size = payload_bytes(message)
            if size > limit:
                text = f"{size} bytes, more than {limit}: increase input.max_message_bytes"
                self._lost(f"{name}_message_too_large", 1, text)
                return
            joined = self.joiner.add(name, stamp_ns(message.header), message)
            if joined is not None:
                self._last_set_s = self._said_s = time.monotonic()
                self._pause_s = self._settings.diagnostics.waiting_after_s
                self._take(joined)

        return receive
