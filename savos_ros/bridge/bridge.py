"""Offers the topics of a ROS graph to viewers; subscribes only to what one of them shows."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import foxglove
import foxglove.messages as foxglove_messages
from foxglove.channels import ImageAnnotationsChannel
from foxglove.websocket import ChannelView, Client, ServerListener
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.serialization import deserialize_message

from savos_ros.bridge.schemas import Schemas
from savos_ros.bridge.settings import BridgeError, BridgeOptions
from savos_ros.messages.extras import image_annotations
from savos_ros.messages.kit import message_class
from savos_ros.messages.results import amodal_objects
from savos_ros.node.qos import all_reliable, peer, profile
from savos_ros.node.ros_start import ros_node

FOLLOW_S = 1.0  # between two looks at the graph
STOP_S = 0.2  # longest time until a stop is seen
DEPTH = 5  # of subscriptions: images are large, and an old one is useless
MASKS = "savos_ros/msg/AmodalMaskArray"


@dataclass
class Offered:
    """A channel that viewers see."""

    name: str  # topic that viewers see
    topic: str  # ROS topic that it is fed from
    kind: str  # type of that topic, `package/msg/Type`
    send: Callable[[bytes], None]  # gives the bytes of a message to the viewers that subscribe
    close: Callable[[], None]  # withdraws the channel
    viewers: set[int] = field(default_factory=set)  # ids of the clients that subscribe
    subscription: Any = None  # the one of ROS, while there are viewers
    # Reliability and durability of that subscription, True for the higher ones
    qos: tuple[bool, bool] = (False, False)


class Viewers(ServerListener):
    """Hands subscriptions of the server's threads over to the executor's thread."""

    def __init__(self, change: Callable[[int, int, bool], None]) -> None:
        self._change = change

    def on_subscribe(self, client: Client, channel: ChannelView) -> None:
        """As ServerListener."""
        self._change(client.id, channel.id, True)

    def on_unsubscribe(self, client: Client, channel: ChannelView) -> None:
        """As ServerListener; also called when the client is gone."""
        self._change(client.id, channel.id, False)


class Bridge:
    """A server for viewers on a node, at TCP `port`; raises BridgeError: the address is not free.

    All but `_changed` runs in the executor's thread. The server has no capability that changes the
    robot: viewers can neither publish nor call services nor set parameters. It sends from its own
    threads and drops the oldest message of a viewer that does not keep up, so nothing here waits.
    """

    def __init__(self, node: Node, options: BridgeOptions) -> None:
        self._node, self._options, self._schemas = node, options, Schemas()
        self._context = foxglove.Context()
        self._channels: dict[int, Offered] = {}
        self._topics: dict[str, str] = {}  # type by topic that is offered, or was refused
        self._changes: SimpleQueue[tuple[int, int, bool]] = SimpleQueue()
        self._guard = node.create_guard_condition(self._apply)
        try:
            self._server = foxglove.start_server(
                name="savos_ros",
                host=options.host,
                port=options.port,
                server_listener=Viewers(self._changed),
                context=self._context,
                message_backlog_size=options.backlog,
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise BridgeError(
                f"cannot listen on {options.host}:{options.port}: {error}. Choose another "
                "--port or --host"
            ) from error
        self.port = self._server.port
        self._timer = node.create_timer(FOLLOW_S, self.follow)
        self.follow()

    def close(self) -> None:
        """Disconnect all viewers and unsubscribe."""
        self._timer.cancel()
        self._server.stop()
        for offered in self._channels.values():
            self._unsubscribe(offered)
        self._node.destroy_guard_condition(self._guard)

    def follow(self) -> None:
        """Offer topics that have a publisher by now; adapt subscriptions to their publishers."""
        for topic, kinds in self._node.get_topic_names_and_types():
            if len(kinds) != 1 or not self._options.offers(topic):
                continue
            if self._topics.get(topic) != kinds[0] and self._node.count_publishers(topic):
                self._offer(topic, kinds[0])
        for offered in self._channels.values():
            if offered.subscription is not None and self._wanted_qos(offered) != offered.qos:
                self._unsubscribe(offered)
                self._subscribe(offered)

    def _offer(self, topic: str, kind: str) -> None:
        self._withdraw(topic)
        self._topics[topic] = kind
        try:
            message_class(kind)
            text = self._schemas.text(kind)
        except LookupError as error:
            self._node.get_logger().warning(f"{topic} ({kind}) is not offered: {error}")
            return
        schema = foxglove.Schema(name=kind, encoding="ros2msg", data=text.encode())
        channel = foxglove.Channel(
            topic, schema=schema, message_encoding="cdr", context=self._context
        )

        def send(data: bytes) -> None:
            channel.log(data, log_time=time.time_ns())

        self._channels[channel.id()] = Offered(topic, topic, kind, send, channel.close)
        if kind == MASKS and topic.endswith("/masks"):
            self._offer_annotations(topic)

    def _offer_annotations(self, masks: str) -> None:
        """Offer annotations made here, unless the node publishes them itself."""
        topic = masks.removesuffix("masks") + "annotations"
        if self._node.count_publishers(topic) or not self._options.offers(topic):
            return
        channel = ImageAnnotationsChannel(topic, context=self._context)

        def send(data: bytes) -> None:
            channel.log(annotations_of(data), log_time=time.time_ns())

        self._channels[channel.id()] = Offered(topic, masks, MASKS, send, channel.close)

    def _withdraw(self, topic: str) -> None:
        """Close the channels under this name, or fed from a topic of this name."""
        for number, offered in list(self._channels.items()):
            if topic in (offered.name, offered.topic):
                self._unsubscribe(offered)
                offered.close()
                del self._channels[number]

    def _changed(self, client: int, channel: int, subscribed: bool) -> None:
        """Note what a viewer asks for; called in threads of the server."""
        self._changes.put((client, channel, subscribed))
        self._guard.trigger()

    def _apply(self) -> None:
        """Subscribe to what a viewer shows now, unsubscribe from what none does any more."""
        while True:
            try:
                client, channel, subscribed = self._changes.get_nowait()
            except Empty:
                return
            offered = self._channels.get(channel)
            if offered is None:
                continue
            if subscribed:
                offered.viewers.add(client)
            else:
                offered.viewers.discard(client)
            if offered.viewers and offered.subscription is None:
                self._subscribe(offered)
            elif not offered.viewers:
                self._unsubscribe(offered)

    def _subscribe(self, offered: Offered) -> None:
        offered.qos = reliable, latched = self._wanted_qos(offered)
        offered.subscription = self._node.create_subscription(
            message_class(offered.kind),
            offered.topic,
            offered.send,
            profile(DEPTH, reliable, latched),
            raw=True,
        )

    def _unsubscribe(self, offered: Offered) -> None:
        if offered.subscription is not None:
            self._node.destroy_subscription(offered.subscription)
            offered.subscription = None

    def _wanted_qos(self, offered: Offered) -> tuple[bool, bool]:
        """Return the highest reliability and durability that every publisher of a topic offers."""
        infos = self._node.get_publishers_info_by_topic(offered.topic)
        if not infos:
            return offered.qos  # a node that starts again has the same QoS as before
        latched = all(i.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for i in infos)
        return all_reliable([peer(info) for info in infos]), latched


def annotations_of(masks: bytes) -> foxglove_messages.ImageAnnotations:
    """Turn a serialized AmodalMaskArray into outlines and ids over the image."""
    message = deserialize_message(masks, message_class(MASKS))
    at = message.header.stamp
    return image_annotations(
        foxglove_messages,
        foxglove_messages.Timestamp(sec=at.sec, nsec=at.nanosec),
        amodal_objects(message),
        foxglove_messages.PointsAnnotationType.LineLoop,
    )


def run_bridge(options: BridgeOptions, stop: threading.Event, ready: Callable[[int], None]) -> None:
    """Serve viewers until `stop` is set.

    Raises BridgeError: the address is in use or does not exist; RosStartError: ROS 2 cannot start.
    """
    with ros_node("savos_bridge") as node:
        bridge = Bridge(node, options)
        executor = SingleThreadedExecutor(context=node.context)
        executor.add_node(node)
        ready(bridge.port)
        try:
            while not stop.is_set():
                spin_once(executor, node)
        finally:
            executor.shutdown()
            bridge.close()


def spin_once(executor: SingleThreadedExecutor, node: Node) -> None:
    """Run one callback; a message that cannot be forwarded is reported."""
    try:
        executor.spin_once(timeout_sec=STOP_S)
    except Exception as error:
        node.get_logger().error(
            f"a message was not forwarded: {type(error).__name__}: {error}",
            throttle_duration_sec=10.0,
        )
