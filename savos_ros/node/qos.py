"""Follow the QoS of publishers, and warn about incompatible endpoints by name."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)

from savos_ros.messages.conversions import stamp_ns
from savos_ros.node.waiting import Peer

INPUT_DEPTH, OUTPUT_DEPTH = 10, 5
OVERLAP_S = 2.0  # longest time in which two subscriptions deliver the same messages
AFTER_S = 0.5  # the new one may still deliver duplicates for so long


def profile(depth: int, reliable: bool = True, latched: bool = False) -> QoSProfile:
    """Return a keep-last profile; `latched` ones send the newest message to late subscribers."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def peer(info: Any) -> Peer:
    """Return the peer that discovery reports for an endpoint (a TopicEndpointInfo)."""
    reliable = info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    return Peer(node_name(info), info.topic_type, reliable)


def node_name(info: Any) -> str:
    """Return the full name of an endpoint's node, or a substitute until discovery knows it."""
    if info.node_name == "_NODE_NAME_UNKNOWN_":
        return "a node not yet named"
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def describe(info: Any) -> str:
    """Return node and QoS of an endpoint as text."""
    return f"{node_name(info)} ({profile_text(info.qos_profile)})"


def profile_text(qos: QoSProfile) -> str:
    """Return a profile as text: "reliable, volatile"."""
    words = (qos.reliability.name, qos.durability.name)
    return ", ".join(word.lower().replace("_", " ") for word in words)


def all_reliable(peers: Sequence[Peer]) -> bool:
    """Return whether every publisher is reliable; True without any."""
    return all(item.reliable for item in peers)


class FollowingSubscription:
    """A subscription that is reliable if every publisher is, else best effort.

    Without publishers it requests best effort, which every publisher offers; a higher request would
    trigger QoS warnings in best-effort drivers. On a change the old subscription is kept until the
    new one is matched, and messages, which need a header, that both deliver count once. `on_lost`
    is called with the number of messages lost by the middleware.
    """

    def __init__(
        self,
        node: Node,
        message_class: type,
        topic: str,
        callback: Callable[[Any], None],
        on_lost: Callable[[int], None],
    ) -> None:
        self._node, self._class, self.topic = node, message_class, topic
        self._callback, self._on_lost = callback, on_lost
        package, _, _ = message_class.__module__.partition(".")
        self.message_type = f"{package}/msg/{message_class.__name__}"
        publishers = self._same_type()
        self.reliable = bool(publishers) and all_reliable(publishers)
        self._followed = bool(publishers)
        self._old: Any = None  # previous subscription, until the new one is matched
        self._matched, self._changed_s = 0, -OVERLAP_S
        self._once: deque[int] = deque(maxlen=2 * INPUT_DEPTH)  # stamps that may be duplicated
        # A subscription must not be destroyed inside its event callback: the guard runs after it.
        self._guard = node.create_guard_condition(self.follow)
        self._subscription = self._create()

    def peers(self) -> tuple[Peer, ...]:
        """Return the publishers of the topic, of any type."""
        return tuple(peer(info) for info in self._node.get_publishers_info_by_topic(self.topic))

    def follow(self) -> None:
        """Subscribe again if the publishers need the other reliability; call regularly."""
        publishers = self._same_type()
        if self._old is not None:
            late = time.monotonic() - self._changed_s > OVERLAP_S
            if self._matched < len(publishers) and not late:
                return
            self._node.destroy_subscription(self._old)
            self._old, self._changed_s = None, time.monotonic()
        wanted = all_reliable(publishers)
        if not publishers or wanted == self.reliable:
            return  # a restarted driver has the same QoS as before
        offers = ", ".join(map(describe, self._node.get_publishers_info_by_topic(self.topic)))
        if not wanted:
            self._node.get_logger().warning(
                f"{self.topic}: not all publishers are reliable any more: {offers}; "
                "falling back to best effort, images may be dropped"
            )
        elif self._followed:
            self._node.get_logger().info(
                f"{self.topic}: all publishers are reliable now: {offers}; subscribing reliably"
            )
        self._old, self._changed_s, self._matched = self._subscription, time.monotonic(), 0
        self.reliable, self._followed = wanted, True
        self._subscription = self._create()

    def destroy(self) -> None:
        """Unsubscribe from the topic."""
        for subscription in filter(None, (self._old, self._subscription)):
            self._node.destroy_subscription(subscription)
        self._node.destroy_guard_condition(self._guard)

    def _same_type(self) -> list[Peer]:
        return [item for item in self.peers() if item.message_type == self.message_type]

    def _create(self) -> Any:
        made: list[Any] = []

        def matched(info: Any) -> None:
            if made[0] is self._subscription:
                self._matched = info.current_count
            self._guard.trigger()

        def lost(info: Any) -> None:
            self._on_lost(info.total_count_change)

        events = SubscriptionEventCallbacks(
            incompatible_qos=self._incompatible,
            matched=matched,
            message_lost=lost,
        )
        made.append(
            self._node.create_subscription(
                self._class,
                self.topic,
                self._receive,
                profile(INPUT_DEPTH, self.reliable),
                event_callbacks=events,
            )
        )
        return made[0]

    def _receive(self, message: Any) -> None:
        if self._old is not None or time.monotonic() - self._changed_s < AFTER_S:
            stamp = stamp_ns(message.header)
            if stamp in self._once:
                self._once.remove(stamp)
                return
            self._once.append(stamp)
        elif self._once:
            self._once.clear()
        self._callback(message)

    def _incompatible(self, info: Any) -> None:
        policy = qos_policy_name_from_kind(info.last_policy_kind)
        if policy != "RELIABILITY":
            offers = ", ".join(map(describe, self._node.get_publishers_info_by_topic(self.topic)))
            self._node.get_logger().warning(
                f"{self.topic}: incompatible QoS ({policy.lower()}): {offers or 'a publisher'} "
                f"and {self._node.get_fully_qualified_name()}: change the publisher's profile"
            )
        self._guard.trigger()


def output_events(node: Node, topic: str) -> PublisherEventCallbacks:
    """Return events that warn, by name, of a subscriber with incompatible QoS."""

    def incompatible(info: Any) -> None:
        policy = qos_policy_name_from_kind(info.last_policy_kind).lower()
        full = node.resolve_topic_name(topic)
        askers = ", ".join(describe(other) for other in node.get_subscriptions_info_by_topic(full))
        node.get_logger().warning(
            f"{full}: incompatible QoS ({policy}): {askers or 'a subscriber'} and "
            f"{node.get_fully_qualified_name()} ({profile_text(profile(OUTPUT_DEPTH))}): "
            "the subscriber receives nothing until it requests a compatible QoS"
        )

    return PublisherEventCallbacks(incompatible_qos=incompatible)
