"""Turns frames of any source into the topics of a bag."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from savos_model.instances import InstanceError, check_instances
from savos_model.masks import slices
from savos_model.progress import progress
from savos_model.types import Frame, Instance
from savos_ros.bags.settings import BagError, RecordOptions
from savos_ros.bags.types import BagKit
from savos_ros.bags.writer import BagWriter
from savos_ros.messages import kit as message_kit
from savos_ros.messages.overlay import jpeg

IMAGE_TOPIC = "/camera/image_raw"
COMPRESSED_TOPIC = "/camera/image_raw/compressed"
LABELS_TOPIC = "/tracker/labels"
MASKS_TOPIC = "/tracker/masks"
TRUTH_TOPIC = "/truth/masks"
FRAME_ID = "camera"
IGNORE_LABEL = 65535
# Stamp of the first frame of sources without a date: any but zero, which means "no time" in ROS.
START_NS = 1_600_000_000_000_000_000
JPEG_QUALITY = 95


@dataclass(frozen=True)
class SourceFrame(Frame):
    """A frame to record, its image in BGR, with what else a bag can hold."""

    # Regions in which nothing is annotated; only a label image can carry them
    ignored: list[Instance] = field(default_factory=list)
    truth: list[Instance] | None = None  # whole objects under the same ids, or None
    # The image as stored, where that was a JPEG: passed on without a second loss, unless its EXIF
    # asks for a turn, which not every reader of the bag makes
    jpeg: bytes | None = None


def topics_of(options: RecordOptions) -> dict[str, str]:
    """Return types by topic, in the order in which messages of one stamp are written."""
    topics = {IMAGE_TOPIC: "sensor_msgs/Image"}
    if options.compressed:
        topics = {COMPRESSED_TOPIC: "sensor_msgs/CompressedImage"}
    if options.form == "label_image":
        topics[LABELS_TOPIC] = "sensor_msgs/Image"
    elif options.form == "instance_masks":
        topics[MASKS_TOPIC] = "savos_ros/InstanceMaskArray"
    if options.truth:
        topics[TRUTH_TOPIC] = "savos_ros/InstanceMaskArray"
    return topics


@dataclass(frozen=True)
class Recorded:
    """A written bag."""

    path: Path  # the bag
    counts: Counter[str]  # messages by topic
    overlap_px: int  # mask pixels lost where masks overlapped in a label image


def record(
    frames: Iterable[SourceFrame], total: int | None, path: str | Path, options: RecordOptions
) -> Recorded:
    """Write frames, in ascending order of stamps, into a new bag.

    Raises BagError: the place is taken, or a frame cannot be written so.
    """
    options, lost = options.resolved("label_image"), 0
    with BagWriter(path, options.storage, options.force) as bag:
        for topic, kind in topics_of(options).items():
            bag.add_topic(topic, kind)
        for number, frame in enumerate(progress(frames, f"writing {Path(path).name}", total)):
            _check(frame, number)
            lost += _write(bag, frame, options)
    return Recorded(Path(path), bag.counts, lost)


def _check(frame: SourceFrame, number: int) -> None:
    """Check what every reader of the bag would refuse."""
    for name, masks in (("masks", frame.instances), ("truth", frame.truth or [])):
        try:
            check_instances(masks, *frame.image.shape[:2])
        except InstanceError as error:
            raise BagError(f"{name} of frame {number}: {error}", "instances") from None


def _write(bag: BagWriter, frame: SourceFrame, options: RecordOptions) -> int:
    kit, lost = BagKit(), 0
    head = message_kit.header(kit, frame.stamp_ns, FRAME_ID)
    shape = frame.image.shape[:2]
    made = {}
    if options.compressed:
        data = frame.jpeg
        if data is None or not _shows(data, frame.image):
            data = jpeg(frame.image, JPEG_QUALITY)
        made[COMPRESSED_TOPIC] = message_kit.compressed_image(kit, head, data, "jpeg")
    else:
        made[IMAGE_TOPIC] = message_kit.image(kit, head, frame.image, "bgr8")
    if options.form == "label_image":
        labels, lost = label_image(frame.instances, frame.ignored, shape)
        made[LABELS_TOPIC] = message_kit.image(kit, head, labels, "16UC1")
    elif options.form == "instance_masks":
        made[MASKS_TOPIC] = message_kit.instance_array(kit, head, shape, frame.instances)
    if options.truth:
        made[TRUTH_TOPIC] = message_kit.instance_array(kit, head, shape, frame.truth or [])
    for topic, message in made.items():
        bag.write(topic, frame.stamp_ns, message)
    return lost


def label_image(
    instances: Iterable[Instance], ignored: Iterable[Instance], shape: tuple[int, int]
) -> tuple[np.ndarray, int]:
    """Paint masks into one image of ids, uint16 [H, W]; a later mask covers an earlier one.

    Ids are whole numbers from 1 to 65534, else BagError is raised; regions of `ignored` become
    65535, under all masks. Also returns how many mask pixels another mask covered.
    """
    labels, lost = np.zeros(shape, np.uint16), 0
    for item in ignored:
        labels[slices(item.box)][item.mask != 0] = IGNORE_LABEL
    for item in instances:
        region, inside = labels[slices(item.box)], item.mask != 0
        held = region[inside]
        lost += int(np.count_nonzero((held != 0) & (held != IGNORE_LABEL)))
        region[inside] = _label_of(item.id)
    return labels, lost


def _label_of(name: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,4}", name) or int(name) >= IGNORE_LABEL:
        raise BagError(
            f"id {name!r} cannot be a label pixel (1 to 65534): write the masks as instance_masks",
            "label_id",
        )
    return int(name)


def _shows(jpeg: bytes, image: np.ndarray) -> bool:
    """Whether a JPEG has the pixels of an image before any turn that its EXIF asks for."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
    return shown is not None and np.array_equal(shown, image)
