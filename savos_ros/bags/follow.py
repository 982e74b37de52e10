"""Plays no faster than nodes answer, so that a busy machine drops no frame of a bag."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from savos_ros.bags.restamp import header_stamp

if TYPE_CHECKING:
    from rclpy.node import Node

AHEAD = 2  # frames without an answer that may be out; the node's queue holds as many
GIVE_UP_S = 10.0  # longest wait for an answer: a frame that the node refuses gets none
FIND_S = 5.0  # longest wait for the names of subscribers
POLL_S = 0.02
READER_DEPTH = 100


class Unanswered:
    """The frames of one node that are out without an answer: messages of one stamp on `topics`."""

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = frozenset(topics)
        self._sent: Counter[int] = Counter()
        self._frames: list[int] = []

    def __len__(self) -> int:
        return len(self._frames)

    def sent(self, topic: str, stamp_ns: int | None) -> None:
        """Note a message that goes out; the last one of a stamp completes a frame."""
        if topic not in self._topics or stamp_ns is None:
            return
        self._sent[stamp_ns] += 1
        if self._sent[stamp_ns] == len(self._topics):
            del self._sent[stamp_ns]
            self._frames.append(stamp_ns)

    def answered(self, stamp_ns: int | None) -> None:
        """Note an answer; frames before it were refused or dropped and get none any more."""
        if stamp_ns in self._frames:
            del self._frames[: self._frames.index(stamp_ns) + 1]

    def clear(self) -> None:
        """Expect nothing any more."""
        self._frames.clear()
        self._sent.clear()


class Followers:
    """The amodal nodes that a player waits for, by full names; used from one thread.

    `given_up` counts the frames whose answer was no longer waited for.
    """

    def __init__(self, node: Node, names: Collection[str], stop: threading.Event) -> None:
        self._node, self._stop = node, stop
        self._active = dict.fromkeys((f"/{name.strip('/')}" for name in names), False)
        self._open: dict[str, Unanswered] = {}
        self.given_up = 0
        if names:
            self._listen()

    def _listen(self) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from std_msgs.msg import Bool

        from savos_ros.msg import AmodalMaskArray
        from savos_ros.node.qos import profile

        node = self._node
        for name in self._active:
            active, masks = partial(self._on_active, name), partial(self._on_masks, name)
            node.create_subscription(Bool, f"{name}/active", active, profile(1, latched=True))
            node.create_subscription(
                AmodalMaskArray, f"{name}/masks", masks, profile(READER_DEPTH), raw=True
            )
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    def wait_until_active(self) -> None:
        """Wait, without a limit, until every node is active."""
        while not all(self._active.values()) and not self._stop.is_set():
            self._executor.spin_once(POLL_S)

    def find_inputs(self, publishers: dict[str, Any]) -> None:
        """Note which topics of the bag, each with its publisher, each node has subscribed to."""
        begun, taken = time.monotonic(), {}
        while not self._stop.is_set():
            taken = {topic: self._takers(item.topic_name) for topic, item in publishers.items()}
            # Discovery learns the name of a subscriber's node later than the subscription.
            known = all(any(name in takers for takers in taken.values()) for name in self._active)
            if known or time.monotonic() - begun > FIND_S:
                break
            self._executor.spin_once(POLL_S)
        for name in self._active:
            topics = {topic for topic, takers in taken.items() if name in takers}
            self._open[name] = Unanswered(topics)

    def _takers(self, topic: str) -> set[str]:
        """Return the full names of the nodes that subscribe to a topic that belongs to frames."""
        return {
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self._node.get_subscriptions_info_by_topic(topic)
            if info.topic_type != "sensor_msgs/msg/CameraInfo"
        }

    def sent(self, topic: str, data: bytes) -> None:
        """Note a message that goes out."""
        for frames in self._open.values():
            frames.sent(topic, header_stamp(data))

    def hold(self, ahead: int = AHEAD) -> float:
        """Wait until every node has less than `ahead` frames to answer; returns how long [s]."""
        if not self._open:
            return 0.0
        self._executor.spin_once(0)
        begun = changed = time.monotonic()
        before = self._unanswered()
        while not self._stop.is_set():
            if all(len(self._open[name]) < ahead for name, on in self._active.items() if on):
                break
            if time.monotonic() - changed > GIVE_UP_S:
                self.given_up += self._unanswered()
                self._clear()
                break
            self._executor.spin_once(POLL_S)
            if self._unanswered() != before:
                before, changed = self._unanswered(), time.monotonic()
        return time.monotonic() - begun

    def end_pass(self) -> None:
        """Wait for the last answers, and expect none of this pass in the next one."""
        self.hold(ahead=1)
        self._clear()

    def close(self) -> None:
        """Stop to listen."""
        if self._active:
            self._executor.shutdown()

    def _clear(self) -> None:
        for frames in self._open.values():
            frames.clear()

    def _unanswered(self) -> int:
        return sum(map(len, self._open.values()))

    def _on_active(self, name: str, message: Any) -> None:
        self._active[name] = message.data

    def _on_masks(self, name: str, data: bytes) -> None:
        if name in self._open:
            self._open[name].answered(header_stamp(data))
