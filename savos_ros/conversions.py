"""Messages to arrays without copies, for rclpy and rosbags messages alike; never imports rclpy."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from savos_model.image_size import encoded_size


class ConversionError(ValueError):
    """A message cannot be used; `reason` is the key under which the loss is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


# encoding: (dtype, channels, channel order)
_IMAGES = {
    "rgb8": (np.uint8, 3, "rgb"),
    "bgr8": (np.uint8, 3, "bgr"),
    "rgba8": (np.uint8, 4, "rgb"),
    "bgra8": (np.uint8, 4, "bgr"),
    "mono8": (np.uint8, 1, "bgr"),
    "mono16": (np.uint16, 1, "bgr"),
}
_LABELS = {
    "16UC1": (np.uint16, 1, ""),
    "mono16": (np.uint16, 1, ""),
    "8UC1": (np.uint8, 1, ""),
    "mono8": (np.uint8, 1, ""),
    "32SC1": (np.int32, 1, ""),
}
_FLOW = {"32FC2": (np.float32, 2, "")}


def stamp_ns(header: Any) -> int:
    """Return the stamp of a std_msgs/Header [ns]."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def payload_bytes(message: Any) -> int:
    """Bytes of pixels, outlines and text in an input message; all else of it is small."""
    if hasattr(message, "data"):
        return len(message.data)
    if hasattr(message, "masks"):
        return sum(len(m.mask.data) + len(m.id) + len(m.class_id) for m in message.masks)
    # yolo_msgs: a point of an outline is two doubles.
    return sum(16 * len(d.mask.data) + len(d.id) + len(d.class_name) for d in message.detections)


def image_array(message: Any, max_pixels: int) -> tuple[np.ndarray, str]:
    """View a sensor_msgs/Image as pixels.

    Args:
        message: Image message of rclpy or rosbags.
        max_pixels: larger images are refused.

    Returns:
        uint8 [H, W, 3] or [H, W] (a view where the encoding allows, maybe read-only), and the
        channel order "bgr" or "rgb".

    Raises:
        ConversionError: encoding, size or data do not fit.
    """
    if message.encoding not in _IMAGES:
        return _by_cv_bridge(message, max_pixels), "bgr"
    array = _view(message, _IMAGES[message.encoding], max_pixels)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    return array[..., :3] if array.ndim == 3 else array, _IMAGES[message.encoding][2]


def compressed_array(message: Any, max_pixels: int) -> tuple[np.ndarray, str]:
    """Decode a sensor_msgs/CompressedImage (JPEG or PNG) to uint8 [H, W, 3] in "bgr" order.

    Raises:
        ConversionError: not a picture of a known kind, larger than max_pixels, or broken.
    """
    if "compresseddepth" in message.format.lower():
        raise ConversionError(
            "image_encoding",
            f"compressed format {message.format!r} is a depth image: give a colour camera's topic",
        )
    data = np.frombuffer(message.data, np.uint8)
    size = encoded_size(data)
    if size is None:
        raise ConversionError(
            "image_encoding",
            f"compressed image of format {message.format!r} is neither JPEG nor PNG: "
            "publish one of these, or use input.image_transport: raw",
        )
    _check_size("compressed image", *size, max_pixels)
    # The masks belong to the pixels as stored, so a turn noted in EXIF must not be applied.
    try:
        array = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        array = None
    if array is None:
        raise ConversionError(
            "image_data", f"compressed image of format {message.format!r} cannot be decoded"
        )
    return array, "bgr"


def label_array(message: Any, max_pixels: int) -> np.ndarray:
    """View a label image (16UC1, mono16, 8UC1, mono8 or 32SC1) as uint16, uint8 or int32 [H, W].

    Raises:
        ConversionError: encoding, size or data do not fit.
    """
    if message.encoding not in _LABELS:
        raise ConversionError(
            "labels_encoding",
            f"label image has encoding {message.encoding!r}, must be one of {', '.join(_LABELS)}: "
            "publish track ids as 16UC1, or set input.mask_source",
        )
    return _view(message, _LABELS[message.encoding], max_pixels)


def flow_array(message: Any, max_pixels: int) -> np.ndarray:
    """View an optical flow image (32FC2) as float32 [H, W, 2] in pixels.

    Raises:
        ConversionError: encoding, size or data do not fit.
    """
    if message.encoding not in _FLOW:
        raise ConversionError(
            "flow_encoding", f"flow has encoding {message.encoding!r}, must be 32FC2"
        )
    return _view(message, _FLOW[message.encoding], max_pixels)


def _view(message: Any, layout: tuple[type, int, str], max_pixels: int) -> np.ndarray:
    """View the data of an Image as [H, W] or [H, W, C], minding row padding and byte order."""
    kind, channels, _ = layout
    height, width, step = int(message.height), int(message.width), int(message.step)
    what = f"{message.encoding} image of {width}x{height}"
    _check_size(what, height, width, max_pixels)
    item = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    row = width * channels * item.itemsize
    if step < row:
        raise ConversionError(
            "image_data", f"{what} needs a step of at least {row} bytes, got {step}"
        )
    data = np.frombuffer(message.data, np.uint8)
    # The last row may end without its padding.
    if data.size < step * (height - 1) + row:
        raise ConversionError(
            "image_data",
            f"{what} with step {step} needs {step * (height - 1) + row} bytes, got {data.size}",
        )
    shape, strides = (height, width), (step, channels * item.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, item.itemsize)
    array = np.ndarray(shape, item, buffer=data, strides=strides)
    return array if item.isnative else array.astype(kind)


def _check_size(what: str, height: int, width: int, max_pixels: int) -> None:
    if height <= 0 or width <= 0:
        raise ConversionError("image_empty", f"{what} has no pixels: check the camera driver")
    if height * width > max_pixels:
        raise ConversionError(
            "image_too_large",
            f"{what} ({width}x{height}) has more than {max_pixels} pixels: raise input.max_pixels "
            "if it is meant",
        )


def _by_cv_bridge(message: Any, max_pixels: int) -> np.ndarray:
    """Convert an unusual encoding with cv_bridge where it is installed."""
    text = f"image has encoding {message.encoding!r}, must be one of {', '.join(_IMAGES)}"
    _check_size(f"{message.encoding} image", int(message.height), int(message.width), max_pixels)
    try:
        from cv_bridge import CvBridge

        array = np.asarray(CvBridge().imgmsg_to_cv2(message, "bgr8"))
    except Exception as error:  # of another NumPy, or without its C++ part, it raises anything
        if isinstance(error, ModuleNotFoundError) and error.name == "cv_bridge":
            raise ConversionError(
                "image_encoding",
                f"{text}: let the driver send one of these, or install cv_bridge "
                "(ros-$ROS_DISTRO-cv-bridge)",
            ) from None
        raise ConversionError("image_encoding", f"{text}; cv_bridge says: {error}") from None
    return array
