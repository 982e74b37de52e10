"""Plays a bag onto ROS topics, for machines without `ros2 bag`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savos_model.progress import progress_bar
from savos_ros.bags.follow import Followers
from savos_ros.bags.restamp import begins_with_header, moved_stamp
from savos_ros.bags.settings import BagError, PlayOptions
from savos_ros.bags.storage import Bag, open_bag, topics_text
from savos_ros.messages.kit import NANOSECONDS, message_class
from savos_ros.node.ros_start import ros_node

if TYPE_CHECKING:
    from rclpy.node import Node

NODE_NAME, CLOCK = "savos_play", "/clock"
CLOCK_PERIOD_S = 0.025  # /clock at 40 Hz, as `ros2 bag play --clock` does
QUEUE_DEPTH = 10
ACKNOWLEDGE_S = 5.0
FOLLOWED_S = 1.0  # a subscriber that follows its publishers takes less
SETTLED_S = 2.0  # discovery of a reader takes up to 2.7 s; an unused topic must not block


@dataclass
class Played:
    """The result of playing a bag."""

    counts: Counter[str] = field(default_factory=Counter)  # messages published by (remapped) topic
    # Topics whose message type is not installed
    skipped: dict[str, str] = field(default_factory=dict)
    # Topics that would have put a second time on /clock
    replaced: list[str] = field(default_factory=list)
    # Topics that had no subscriber when playing began
    silent: list[str] = field(default_factory=list)
    damage: str = ""  # why reading stopped early, or ""
    stopped: bool = False  # whether a signal ended it
    unanswered: int = 0  # frames that a followed node did not answer in time
    offset_ns: int = 0  # what restamp added to the stamps of the last pass [ns]


class Pace:
    """Maps bag time to the wall at `rate`; the first message sets the start, `stop` ends a wait.

    `tick` is called with the bag time [ns] at every message and at least at 40 Hz.
    """

    def __init__(
        self, rate: float, stop: threading.Event, tick: Callable[[int], None] | None = None
    ) -> None:
        self._rate, self._stop, self._tick = rate, stop, tick
        self._start: tuple[int, float] | None = None

    def delay(self, seconds: float) -> None:
        """Move all that is still to come by so much time of the wall [s]."""
        if self._start is not None:
            self._start = self._start[0], self._start[1] + seconds

    def wait_until(self, stamp_ns: int) -> bool:
        """Wait for the time of a message [ns]; False when stopped."""
        if self._start is None:
            self._start = stamp_ns, time.monotonic()
        first, begun = self._start
        due = begun + (stamp_ns - first) / 1e9 / self._rate
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= due:
                if self._tick is not None:
                    self._tick(stamp_ns)
                return True
            rest = due - now
            if self._tick is not None and rest > CLOCK_PERIOD_S:
                self._tick(first + int((now - begun) * self._rate * 1e9))
                rest = CLOCK_PERIOD_S
            self._stop.wait(rest)
        return False


def play(path: str | Path, options: PlayOptions, stop: threading.Event | None = None) -> Played:
    """Publish the messages of a bag at its pace, as the bytes that were recorded.

    Publishers are reliable with a queue of 10. Raises BagError: the bag is unreadable, or has
    nothing that can be played; RosStartError: ROS 2 is missing, or cannot start.
    """
    stop = stop or threading.Event()
    with open_bag(path) as bag:
        topics = _chosen(path, bag, options)
        with ros_node(NODE_NAME) as node:
            played = Played()
            publishers = _publishers(node, bag, topics, options, played)
            if not publishers:
                raise BagError(
                    f"{path} has nothing to play: types that are not installed {played.skipped}, "
                    f"replaced by --clock {played.replaced}",
                    "nothing_to_play",
                )
            followers = Followers(node, options.follow, stop)
            followers.wait_until_active()
            if options.wait_s:
                _wait_for_subscribers(node, publishers.values(), options.wait_s, stop, played)
            followers.find_inputs(publishers)
            clock = _clock_publisher(node) if options.clock else None
            while not stop.is_set():
                pace = Pace(options.rate, stop, clock)
                _play_once(bag, publishers, pace, followers, played, options.restamp)
                followers.end_pass()
                if not options.loop or played.damage:
                    break
            played.stopped, played.unanswered = stop.is_set(), followers.given_up
            _finish(publishers.values(), played)
            followers.close()
    return played


def _play_once(
    bag: Bag,
    publishers: dict[str, Any],
    pace: Pace,
    followers: Followers,
    played: Played,
    restamp: bool,
) -> None:
    total = sum(bag.topics[topic].msgcount for topic in publishers)
    kinds = {topic: bag.topics[topic].msgtype for topic in publishers if restamp}
    moved = {topic for topic, kind in kinds.items() if begins_with_header(bag.store(topic), kind)}
    played.offset_ns = 0
    with progress_bar() as bar:
        task = bar.add_task("playing", total=total)
        for topic, stamp, data in bag.messages(publishers):
            if not pace.wait_until(stamp):
                break
            pace.delay(followers.hold())
            publisher, data = publishers[topic], bytes(data)  # other types would be converted
            if restamp and not played.offset_ns:  # the first message of a pass is stamped "now"
                played.offset_ns = time.time_ns() - stamp
            if topic in moved:
                data = moved_stamp(data, played.offset_ns)
            followers.sent(topic, data)
            publisher.publish(data)
            played.counts[publisher.topic_name] += 1
            bar.advance(task)
    played.damage = "; ".join(bag.damage)


def _chosen(path: str | Path, bag: Bag, options: PlayOptions) -> list[str]:
    topics = list(options.topics) or sorted(bag.topics)
    for name in [*topics, *options.targets]:
        if name not in bag.topics:
            raise BagError(f"{path} has no topic {name}: {topics_text(bag)}", "no_topic")
    return topics


def _publishers(
    node: Node, bag: Bag, topics: Sequence[str], options: PlayOptions, played: Played
) -> dict[str, Any]:
    from rclpy.exceptions import InvalidTopicNameException

    from savos_ros.node.qos import profile

    publishers, targets = {}, options.targets
    for topic in topics:
        info, target = bag.topics[topic], targets.get(topic, topic)
        try:
            message = message_class(info.msgtype) if info.encoding == "cdr" else None
        except LookupError:
            message = None
        if message is None:
            played.skipped[topic] = info.msgtype or "several types"
            continue
        if options.clock and target == CLOCK:
            played.replaced.append(topic)
            continue
        try:
            qos = profile(QUEUE_DEPTH, latched=info.latched)
            publishers[topic] = node.create_publisher(message, target, qos)
        except InvalidTopicNameException as error:
            why = str(error).splitlines()[0].rstrip(":")
            raise BagError(
                f"{target!r} cannot be played ({why}): give another name with "
                f"--remap {topic}:=NEW, or leave it out with --topic",
                "topic_name",
            ) from None
    return publishers


def _wait_for_subscribers(
    node: Node, publishers: Any, limit_s: float, stop: threading.Event, played: Played
) -> None:
    """Wait for a subscriber on every topic, or until no further one has come for a while.

    One that asks for best effort may ask again for what is offered: a reliable one is waited for.
    """
    from rclpy.qos import ReliabilityPolicy

    begun = changed = time.monotonic()
    waiting = everyone = list(publishers)
    while waiting and time.monotonic() - begun < limit_s and not stop.wait(0.05):
        still = [publisher for publisher in waiting if not publisher.get_subscription_count()]
        if len(still) < len(waiting):
            waiting, changed = still, time.monotonic()
        elif len(still) < len(everyone) and time.monotonic() - changed > SETTLED_S:
            break
    while time.monotonic() - changed < FOLLOWED_S and not stop.wait(0.05):
        askers = [node.get_subscriptions_info_by_topic(item.topic_name) for item in everyone]
        kinds = [{info.qos_profile.reliability for info in infos} for infos in askers]
        if all(not kind or ReliabilityPolicy.RELIABLE in kind for kind in kinds):
            break
    played.silent = [publisher.topic_name for publisher in waiting]


def _finish(publishers: Any, played: Played) -> None:
    """Let the last reliable messages arrive before the publishers go."""
    from rclpy.duration import Duration

    limit = Duration(nanoseconds=int((0.2 if played.stopped else ACKNOWLEDGE_S) * NANOSECONDS))
    for publisher in publishers:
        publisher.wait_for_all_acked(limit)


def _clock_publisher(node: Node) -> Any:
    """Return a function that publishes a bag time [ns] on /clock."""
    from rosgraph_msgs.msg import Clock

    publisher = node.create_publisher(Clock, CLOCK, QUEUE_DEPTH)

    def tick(stamp_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp_ns, NANOSECONDS)
        publisher.publish(message)

    return tick
