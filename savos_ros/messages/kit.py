"""Builds outgoing messages from arrays, with the classes of rclpy or with those of rosbags."""

import array
import math
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from savos_model.geometry import move
from savos_model.masks import slices
from savos_model.types import AmodalObject, Box, Instance, Source

NANOSECONDS = 1_000_000_000
VISIBLE_PIXEL, HIDDEN_PIXEL = np.uint8(255), np.uint8(254)  # as in msg/AmodalMask.msg
OCCLUDER_SHARE = 0.05  # of the hidden part


class MessageKit(Protocol):
    """Interface of a message library: RosKit for rclpy, bags.types.BagKit for rosbags."""

    def make(self, name: str, **fields: Any) -> Any:
        """Build the message `package/Type` from all its fields."""

    def payload(self, data: bytes | np.ndarray) -> Any:
        """Turn bytes, or a uint8 array, into the value of a uint8[] field."""


def full_name(name: str) -> str:
    """Turn `package/Type` into the `package/msg/Type` that bags and graphs hold."""
    return name if name.count("/") == 2 else name.replace("/", "/msg/")


@cache
def message_class(name: str) -> type:
    """Return the class of a message `package/Type` or `package/msg/Type` of this ROS.

    Raises LookupError: it is not installed.
    """
    parts = full_name(name).split("/")
    try:
        if len(parts) == 3 and all(map(str.isidentifier, parts)):
            return getattr(import_module(f"{parts[0]}.{parts[1]}"), parts[2])
    except (ImportError, AttributeError):
        pass
    raise LookupError(f"messages of {parts[0]} are not installed")


class RosKit:
    """Messages of the sourced ROS installation."""

    def make(self, name: str, **fields: Any) -> Any:
        """Build the message `package/Type`; see MessageKit."""
        return message_class(name)(**fields)

    def payload(self, data: bytes | np.ndarray) -> array.array:
        """Return array.array('B'): rclpy checks any other type byte by byte (160 ms an image)."""
        values = array.array("B")
        values.frombytes(data if isinstance(data, bytes) else np.ascontiguousarray(data).data)
        return values


def header(kit: MessageKit, stamp_ns: int, frame_id: str) -> Any:
    """Build a std_msgs/Header; `stamp_ns` in nanoseconds."""
    sec, nanosec = divmod(stamp_ns, NANOSECONDS)
    stamp = kit.make("builtin_interfaces/Time", sec=sec, nanosec=nanosec)
    return kit.make("std_msgs/Header", stamp=stamp, frame_id=frame_id)


def image(kit: MessageKit, head: Any, pixels: np.ndarray, encoding: str) -> Any:
    """Build a sensor_msgs/Image of [H, W] or [H, W, C] pixels of the type that `encoding` names."""
    height, width = pixels.shape[:2]
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return kit.make(
        "sensor_msgs/Image",
        header=head,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.nbytes // height if height else 0,
        data=kit.payload(pixels.reshape(-1).view(np.uint8)),
    )


def compressed_image(kit: MessageKit, head: Any, data: bytes, form: str) -> Any:
    """Build a sensor_msgs/CompressedImage; `form` is "jpeg" or "png"."""
    return kit.make("sensor_msgs/CompressedImage", header=head, format=form, data=kit.payload(data))


def region(kit: MessageKit, box: Box) -> Any:
    """Build a sensor_msgs/RegionOfInterest from an integer box."""
    return kit.make(
        "sensor_msgs/RegionOfInterest",
        x_offset=int(box.x0),
        y_offset=int(box.y0),
        height=int(box.height),
        width=int(box.width),
        do_rectify=False,
    )


def instance_array(
    kit: MessageKit, head: Any, shape: tuple[int, int], instances: Iterable[Instance]
) -> Any:
    """Build a savos_ros/InstanceMaskArray; `shape` is (rows, columns) of the image."""
    masks = [
        kit.make(
            "savos_ros/InstanceMask",
            id=item.id,
            class_id=item.class_id,
            score=float(item.score),
            roi=region(kit, item.box),
            mask=image(kit, head, np.where(item.mask, np.uint8(255), np.uint8(0)), "mono8"),
        )
        for item in instances
    ]
    height, width = shape
    return kit.make(
        "savos_ros/InstanceMaskArray", header=head, height=height, width=width, masks=masks
    )


def amodal_array(
    kit: MessageKit,
    head: Any,
    shape: tuple[int, int],
    objects: Sequence[AmodalObject],
    model: str,
    period_s: float = 0.0,
) -> Any:
    """Build a savos_ros/AmodalMaskArray; `shape` is (rows, columns) of the image.

    `period_s` is the time since the frame in which the motion begins [s]; 0 for none.
    """
    rate_hz = 1 / period_s if period_s > 0 else 0.0
    masks = [
        kit.make(
            "savos_ros/AmodalMask",
            id=item.id,
            class_id=item.class_id,
            score=float(item.score),
            source=int(item.source),
            occlusion=math.nan if item.source == Source.COASTED else float(item.occlusion),
            confidence=float(item.confidence),
            occluder_ids=hiders,
            velocity_x=float(item.motion[0]) * rate_hz,
            velocity_y=float(item.motion[1]) * rate_hz,
            roi=region(kit, item.box),
            mask=image(kit, head, pixels_of(item), "mono8"),
        )
        for item, hiders in zip(objects, occluders(objects), strict=True)
    ]
    height, width = shape
    return kit.make(
        "savos_ros/AmodalMaskArray",
        header=head,
        height=height,
        width=width,
        model=model,
        masks=masks,
    )


def pixels_of(item: AmodalObject) -> np.ndarray:
    """Return the pixels of an AmodalMask: VISIBLE_PIXEL if seen, else at most HIDDEN_PIXEL."""
    # As np.where of np.minimum, in a tenth of its time: NumPy compares with a scalar byte by byte.
    pixels = item.mask - (item.mask > HIDDEN_PIXEL)
    pixels |= (item.visible != 0) * VISIBLE_PIXEL
    return pixels


def part(pixels: np.ndarray, box: Box, inner: Box) -> np.ndarray:
    """Return a view of the pixels of a box in an inner one."""
    return pixels[slices(move(inner, -box.x0, -box.y0))]


def occluders(objects: Sequence[AmodalObject]) -> list[list[str]]:
    """Return for each object the ids of those that cover its hidden part, the largest cover first.

    Those that cover less than OCCLUDER_SHARE of it are left out: rims of masks overlap everywhere.
    """
    if not objects:
        return []
    boxes = np.array([item.box for item in objects])
    corner = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    other_corner = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    meets = (corner < other_corner).all(axis=2)
    found: list[list[str]] = []
    for index, item in enumerate(objects):
        if item.occlusion == 0:
            found.append([])
            continue
        hidden = item.inside & (item.visible == 0)
        least = OCCLUDER_SHARE * np.count_nonzero(hidden)
        covers: dict[str, int] = {}
        for other in np.flatnonzero(meets[index]).tolist() if least else ():
            if other != index:
                box = Box(*corner[index, other].tolist(), *other_corner[index, other].tolist())
                seen, ours = (
                    part(objects[other].visible, objects[other].box, box),
                    part(hidden, item.box, box),
                )
                covers[objects[other].id] = int(np.count_nonzero(ours & (seen != 0)))
        ids = sorted(covers, key=lambda name: -covers[name])
        found.append([name for name in ids if covers[name] >= max(least, 1)])
    return found
