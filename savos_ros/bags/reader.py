"""Reads the frames of a bag in order: image, tracked masks and, where recorded, the truth."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from savos_model.types import Frame, Instance
from savos_ros.bags import recording
from savos_ros.bags.restamp import header_stamp
from savos_ros.bags.settings import BagError, Topics
from savos_ros.bags.storage import Bag, open_bag, topics_text
from savos_ros.messages.conversions import ConversionError, assumed_text
from savos_ros.messages.frames import decode, masks_to_instances
from savos_ros.messages.settings import InputConfig
from savos_ros.node.sync import StampJoiner

IMAGE_KINDS = {"sensor_msgs/msg/Image": "raw", "sensor_msgs/msg/CompressedImage": "compressed"}
MASK_KINDS = {
    "sensor_msgs/msg/Image": "label_image",
    "sensor_msgs/msg/CompressedImage": "label_png",
    "savos_ros/msg/InstanceMaskArray": "instance_masks",
    "yolo_msgs/msg/DetectionArray": "yolo",
}
TRUTH_KINDS = {"savos_ros/msg/InstanceMaskArray": "instance_masks"}
USUAL = {
    "image": (recording.IMAGE_TOPIC, recording.COMPRESSED_TOPIC),
    "instances": (
        recording.LABELS_TOPIC,
        recording.MASKS_TOPIC,
        f"{recording.LABELS_TOPIC}/compressed",
    ),
    "truth": (recording.TRUTH_TOPIC,),
}
PAIRED = ("image", "instances")
PATIENCE = 32  # messages of a topic that may wait for their partner, which bounds the memory
NEAR_NS = 50_000_000  # stamps that differ by less are of one moment [ns]
# What to do about a message that found no place in a group, by the end of its reason.
UNPAIRED = {
    "unpaired": "no message of {topic}'s stamp on {others}: images and masks are paired by "
    "equal stamps of their headers, so a tracker must copy the header of its image",
    "late": "a message on {topic} came behind those of later stamps, too late to be waited for: "
    "record nearer to the order of stamps",
    "duplicate": "two messages on {topic} have one stamp: the last one counts",
    "unstamped": "messages on {topic} have stamp 0, which is no time: let the driver set "
    "header.stamp",
}


@dataclass(frozen=True)
class BagFrame:
    """One frame of a bag."""

    frame: Frame  # what the stream takes
    frame_id: str  # of the image's header
    truth: list[Instance] | None  # whole objects; None when this frame has no truth


@dataclass
class ReadReport:
    """Counts and notes of one pass over a bag."""

    frames: int = 0  # frames yielded
    # By topic, how many messages are in the "index", were "read", "joined" into frames, and "lost"
    # (read but not joined, or not read)
    messages: dict[str, dict[str, int]] = field(default_factory=dict)
    # Frames or messages that could not be used, counted by reason
    refused: Counter[str] = field(default_factory=Counter)
    # Single masks that could not be used, counted by reason
    masks_skipped: Counter[str] = field(default_factory=Counter)
    restarts: int = 0  # how often the stamps fell back
    damage: str = ""  # why reading stopped early, or ""
    # What was assumed of the images, by encoding
    notes: dict[str, str] = field(default_factory=dict)
    # For each reason of `refused` the text of its first case
    examples: dict[str, str] = field(default_factory=dict)


class BagFrames:
    """The frames of one bag; use it in a with block, and iterate once, which fills `report`.

    `topics` are those read, by "image", "instances" and, where present, "truth"; `expected` counts
    the images in the bag.
    """

    def __init__(
        self, path: str | Path, topics: Topics | None = None, config: InputConfig | None = None
    ) -> None:
        """Prepare; the with block opens the bag, and raises BagError when it is unusable."""
        self.path = Path(path)
        self._wanted = topics or Topics()
        self._config = config or InputConfig()
        self.report = ReadReport()
        self._joined: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._at_zero: set[str] = set()
        self._whole = False

    def __enter__(self) -> BagFrames:
        """Open the bag and find its topics."""
        wanted = self._wanted
        with ExitStack() as opened:
            self._bag = opened.enter_context(open_bag(self.path))
            image, transport = find_topic(self._bag, "image", wanted.image, IMAGE_KINDS)
            masks, source = find_topic(self._bag, "instances", wanted.instances, MASK_KINDS)
            self.topics = {"image": image, "instances": masks}
            usual_truth = self._bag.topics.get(recording.TRUTH_TOPIC)
            if wanted.truth or (usual_truth is not None and usual_truth.msgcount):
                self.topics["truth"], _ = find_topic(self._bag, "truth", wanted.truth, TRUTH_KINDS)
            self._config = dataclasses.replace(
                self._config, image_transport=transport, mask_source=source
            )
            self.expected = self._bag.topics[image].msgcount
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *details: Any) -> None:
        """Close the bag."""
        self._opened.close()

    def __iter__(self) -> Iterator[BagFrame]:
        """Yield the frames in order of their stamps; what cannot be used is counted."""
        optional = [name for name in self.topics if name == "truth"]
        slop_ns = round(self._config.sync_slop_s * 1e9)
        joiner = StampJoiner([*PAIRED, *optional], PATIENCE, slop_ns, optional)
        try:
            for found in self._sets(joiner):
                pairs = zip(joiner.channels, found, strict=True)
                group = {name: data for name, data in pairs if data is not None}
                self._joined.update(list(group))
                frame = self._decode(group)
                if frame is not None:
                    self.report.frames += 1
                    yield frame
        finally:  # also when the caller stops early
            self._count(joiner)
            self.report.restarts = joiner.restarts
            self.report.damage = "; ".join(self._bag.damage)

    def _count(self, joiner: StampJoiner) -> None:
        losses = joiner.losses + self._lost
        for name, topic in self.topics.items():
            info = self._bag.topics[topic]
            lost = sum(losses[f"{name}_{kind}"] for kind in (*UNPAIRED, "broken"))
            if self._whole:
                lost += max(info.msgcount - info.read, 0)
            counts = {"index": info.msgcount, "read": info.read, "joined": self._joined[name]}
            self.report.messages[topic] = counts | {"lost": lost}
        self.report.refused.update(losses)
        for reason in losses:
            name, _, kind = reason.rpartition("_")
            if kind not in UNPAIRED:
                continue
            others = " and ".join(self.topics[other] for other in PAIRED if other != name)
            text = UNPAIRED[kind].format(topic=self.topics[name], others=others)
            if kind == "unpaired" and joiner.missed_ns is not None and joiner.missed_ns < NEAR_NS:
                slop = math.ceil(joiner.missed_ns / 1000) / 1e6
                text += f". The nearest differ by {joiner.missed_ns} ns: --sync-slop {slop:g}"
            self.report.examples.setdefault(reason, text)

    def _sets(self, joiner: StampJoiner) -> Iterator[tuple[bytes | None, ...]]:
        for topic, _, data in self._bag.messages(set(self.topics.values())):
            stamp = header_stamp(data)
            # One topic may serve twice, such as the truth given as the masks.
            for name in (name for name, mine in self.topics.items() if mine == topic):
                if stamp is None:
                    self._lost[f"{name}_broken"] += 1
                    text = f"a message on {topic} has no header"
                    self.report.examples.setdefault(f"{name}_broken", text)
                elif stamp == 0 and name in self._at_zero:  # simulations begin at 0, once
                    self._lost[f"{name}_unstamped"] += 1
                else:
                    if stamp == 0:
                        self._at_zero.add(name)
                    yield from joiner.feed(name, stamp, data)
        self._whole = True
        yield from joiner.flush()

    def _decode(self, group: dict[str, bytes]) -> BagFrame | None:
        try:
            image, masks = (self._deserialize(name, group) for name in ("image", "instances"))
            frame, skipped = decode(image, masks, self._config)
        except ConversionError as error:
            self.refuse(error.reason, str(error))
            return None
        self.report.masks_skipped.update(skipped)
        if note := assumed_text(getattr(image, "encoding", "")):
            self.report.notes.setdefault(image.encoding, note)
        return BagFrame(frame, image.header.frame_id, self._truth(group, frame.image.shape[:2]))

    def _truth(self, group: dict[str, bytes], shape: tuple[int, int]) -> list[Instance] | None:
        if "truth" not in group:
            return None
        try:
            truth, skipped = masks_to_instances(self._deserialize("truth", group), *shape)
        except ConversionError as error:  # the frame itself is good: it continues without truth
            self.refuse(f"truth_{error.reason}", str(error))
            return None
        self.report.masks_skipped.update({f"truth_{key}": n for key, n in skipped.items()})
        return truth

    def _deserialize(self, name: str, group: dict[str, bytes]) -> Any:
        try:
            return self._bag.deserialize(self.topics[name], group[name])
        except Exception as error:  # what the parser raises is not documented
            text = f"a message on {self.topics[name]} is damaged: {error}"
            raise ConversionError(f"{name}_broken", text) from None

    def refuse(self, reason: str, text: str) -> None:
        """Count a frame or message that could not be used; the first text of a reason is kept."""
        self.report.refused[reason] += 1
        self.report.examples.setdefault(reason, text)


def find_topic(bag: Bag, what: str, wanted: str, kinds: dict[str, str]) -> tuple[str, str]:
    """Return the topic of a bag that holds "image", "instances" or "truth", and its kind.

    `wanted` is its name, "" for the usual ones; `kinds` are by message type. Raises BagError: none
    has messages of such a type.
    """
    names = (wanted,) if wanted else USUAL[what]
    for name in names:
        info = bag.topics.get(name)
        if info and info.msgtype in kinds and info.msgcount and info.encoding == "cdr":
            return name, kinds[info.msgtype]
    raise BagError(
        f"{bag.path} has no topic for {what}: looked for {' or '.join(names)} with messages "
        f"of type {' or '.join(kinds)}; {topics_text(bag)}\nname it with --{what}",
        "no_topic",
    )
