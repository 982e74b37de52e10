"""The topics that the node listens to while it is active, joined by stamp."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from savos_model.settings import SettingError
from savos_ros.conversions import payload_bytes, stamp_ns
from savos_ros.msg import InstanceMaskArray
from savos_ros.qos import FollowingSubscription
from savos_ros.settings import NodeSettings
from savos_ros.sources import StampJoiner
from savos_ros.waiting import InputState, waiting_text

REPEAT_UP_TO_S = 60.0


def message_classes(settings: NodeSettings) -> dict[str, type]:
    """Return the message class of each input.

    Raises:
        SettingError: yolo_msgs is asked for and not installed.
    """
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
    """Return the full image topic; a remap of `image` moves the compressed one along."""
    base = node.resolve_topic_name("image")
    if transport == "raw" or base.endswith("/compressed"):
        return base
    own = node.resolve_topic_name("image/compressed")
    remapped = own != node.resolve_topic_name("image/compressed", only_expand=True)
    return own if remapped else f"{base}/compressed"


class Inputs:
    """Subscriptions of one activation; everything here runs in the executor's thread.

    Args:
        node: the node that listens.
        settings: the settings in use.
        on_set: called with the messages of each joined set; must return at once.
        on_lost: called with a reason, a number and maybe what to do, when the middleware lost
            messages or one is too large to wait for its partner.
    """

    def __init__(
        self,
        node: Node,
        settings: NodeSettings,
        on_set: Callable[[tuple[Any, ...]], None],
        on_lost: Callable[..., None],
    ) -> None:
        self._node, self._settings, self._on_set = node, settings, on_set
        self._on_lost = on_lost
        classes = message_classes(settings)
        slop_ns = round(settings.input.sync_slop_s * 1e9)
        self.joiner = StampJoiner(tuple(classes), settings.input.pair_buffer, slop_ns)
        if slop_ns:
            node.get_logger().warning(
                f"input.sync_slop_s is {settings.input.sync_slop_s}: masks of another moment than "
                "the image are accepted, moving objects will be off by their motion"
            )
        self._last_set_s = self._said_s = time.monotonic()
        self._came_s: dict[str, float] = {}
        self._pause_s = settings.diagnostics.waiting_after_s
        self.subscriptions: dict[str, FollowingSubscription] = {}
        try:
            for name, kind in classes.items():
                self.subscriptions[name] = FollowingSubscription(
                    node,
                    kind,
                    self._topic(name),
                    self._receiver(name),
                    lambda count, name=name: on_lost(f"{name}_lost_on_the_way", count),
                )
        except Exception:
            self.destroy()
            raise

    @property
    def idle_s(self) -> float:
        """Time since the last joined set [s]."""
        return time.monotonic() - self._last_set_s

    def watch(self) -> None:
        """Follow the publishers, and say what is missing when nothing has come; call regularly."""
        for subscription in self.subscriptions.values():
            subscription.follow()
        now = time.monotonic()
        if self.idle_s >= self._settings.diagnostics.waiting_after_s and (
            now - self._said_s >= self._pause_s
        ):
            self._said_s, self._pause_s = now, min(2 * self._pause_s, REPEAT_UP_TO_S)
            self._node.get_logger().warning(self.waiting())

    def waiting(self) -> str:
        """Say which inputs are connected, what came in and what to do."""
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
        gap = self.joiner.nearest_gap_ns()
        idle_s = now - self._last_set_s
        return waiting_text(states, idle_s, gap, self._settings.input.sync_slop_s)

    def destroy(self) -> None:
        """Leave all topics."""
        for subscription in self.subscriptions.values():
            subscription.destroy()

    def _published(self, kind: str) -> tuple[str, ...]:
        """Topics of this type that other nodes publish and no input takes."""
        node, own = self._node, f"{self._node.get_fully_qualified_name()}/"
        taken = {subscription.topic for subscription in self.subscriptions.values()}
        return tuple(
            topic
            for topic, kinds in node.get_topic_names_and_types()
            if kind in kinds
            and topic not in taken
            and not topic.startswith(own)
            and any(info.topic_type == kind for info in node.get_publishers_info_by_topic(topic))
        )

    def _topic(self, name: str) -> str:
        if name == "image":
            return image_topic(self._node, self._settings.input.image_transport)
        return self._node.resolve_topic_name(name)

    def _receiver(self, name: str) -> Callable[[Any], None]:
        limit = self._settings.input.max_message_bytes

        def receive(message: Any) -> None:
            self._came_s[name] = time.monotonic()
            size = payload_bytes(message)
            if size > limit:
                text = f"{size} bytes, more than {limit}: raise input.max_message_bytes if meant"
                self._on_lost(f"{name}_message_too_large", 1, text)
                return
            joined = self.joiner.add(name, stamp_ns(message.header), message)
            if joined is not None:
                self._last_set_s = self._said_s = time.monotonic()
                self._pause_s = self._settings.diagnostics.waiting_after_s
                self._on_set(joined)

        return receive
