"""Feeds a node over DDS as fast as it answers, never more than a few frames ahead of it."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

import psutil

from savos_ros.bags.recording import IMAGE_TOPIC, LABELS_TOPIC
from savos_ros.bags.restamp import header_stamp
from savos_ros.messages import kit
from savos_ros.tools.harness import READER_DEPTH, Recorder
from savos_ros.tools.settings import DemoError
from savos_ros.tools.soak_scene import SoakFrame

POLL_S = 1.0
LOST_AFTER = 15  # polls in which nothing came while the node was running: what is out is lost
GIVE_UP_AFTER = 120  # such polls in a row
MASKS, REFINED = "masks", "masks_refined"


class Feeder(Recorder):
    """Publishes frames and takes their answers; every frame ends as answered or as lost.

    Time counts only while both processes run: either may be stopped and go on later.

    Args:
        limits: by topic of answers, the frames that may be out.
        process: of the node.
        check: raises when the node has ended.

    Attributes:
        answered, lost: frames by topic.
        unmatched: answers, of any topic, to a frame that was not out.
    """

    def __init__(
        self, limits: dict[str, int], process: psutil.Process, check: Callable[[], None]
    ) -> None:
        super().__init__()
        self._limits, self._process, self._check = limits, process, check
        self._answers: queue.SimpleQueue[tuple[str, float, bytes]] = queue.SimpleQueue()
        self._out: dict[str, dict[int, float]] = {topic: {} for topic in limits}
        self.answered, self.lost = dict.fromkeys(limits, 0), dict.fromkeys(limits, 0)
        self.unmatched = self._silent = 0
        self._kit = kit.RosKit()

    def __enter__(self) -> Feeder:
        """Connect, and wait for the node and its topics."""
        super().__enter__()
        try:
            self._connect()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _connect(self) -> None:
        from sensor_msgs.msg import Image

        from savos_ros.node.qos import profile

        if REFINED in self._limits:
            self.subscribe(REFINED, lambda data: self._came(REFINED, data))
        self._publishers = [
            self._node.create_publisher(Image, topic, profile(READER_DEPTH))
            for topic in (IMAGE_TOPIC, LABELS_TOPIC)
        ]
        self.wait_for_node(self._check)
        while not all(publisher.get_subscription_count() for publisher in self._publishers):
            self._check()
            time.sleep(0.05)

    def _on_masks(self, data: bytes) -> None:
        self._came(MASKS, data)

    def _came(self, topic: str, data: bytes) -> None:
        self._answers.put((topic, time.monotonic(), data))

    def send(self, stamp_ns: int, frame: SoakFrame, labels: Any) -> None:
        """Publish one frame with its labels uint16 [H, W]."""
        head = kit.header(self._kit, stamp_ns, "camera")
        pair = ((frame.image, "bgr8"), (labels, "16UC1"))
        now = time.monotonic()
        for out in self._out.values():
            out[stamp_ns] = now
        for publisher, (pixels, encoding) in zip(self._publishers, pair, strict=True):
            publisher.publish(kit.image(self._kit, head, pixels, encoding))

    def full(self) -> bool:
        """Whether an answer must come before the next frame."""
        return any(self.out(topic) >= limit for topic, limit in self._limits.items())

    def out(self, topic: str) -> int:
        """Frames of which the answer by this topic is still out."""
        return len(self._out[topic])

    @property
    def waiting(self) -> bool:
        """Whether any answer is still out."""
        return any(self._out.values())

    def take(self) -> tuple[int, float, bytes] | None:
        """Wait for an answer: stamp [ns], latency [s] and message; None when it is not of ~/masks.

        Raises:
            DemoError: the node has ended, or answers nothing any more.
        """
        try:
            topic, came_s, data = self._answers.get(timeout=POLL_S)
        except queue.Empty:
            self._nothing_came()
            return None
        self._silent = 0
        stamp = header_stamp(data)
        sent_s = self._out[topic].pop(stamp, None) if stamp is not None else None
        if stamp is None or sent_s is None:
            self.unmatched += 1
            return None
        self.answered[topic] += 1
        return (stamp, came_s - sent_s, data) if topic == MASKS else None

    def _nothing_came(self) -> None:
        self._check()
        if self._process.status() == psutil.STATUS_STOPPED:
            return
        self._silent += 1
        if self._silent >= GIVE_UP_AFTER:
            raise DemoError(f"the node answered nothing for {GIVE_UP_AFTER * POLL_S:.0f} s")
        if self._silent % LOST_AFTER == 0:
            for topic, out in self._out.items():
                self.lost[topic] += len(out)
                out.clear()
