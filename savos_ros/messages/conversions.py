"""Messages to arrays without copies, for rclpy and rosbags messages alike; never imports rclpy."""

from typing import Any, NamedTuple

import cv2
import numpy as np

from savos_model.encoded_image import decode_image, encoded_size

PNG_START = b"\x89PNG"


class ConversionError(ValueError):
    """A message cannot be used; `reason` is the key under which the loss is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Layout(NamedTuple):
    """How the pixels of an encoding lie in memory."""

    kind: type  # type of an item
    channels: int  # items of a pixel
    order: str = ""  # channel order of the result, "bgr" or "rgb"
    code: int | None = None  # of cv2.cvtColor, which makes colours of it; None where it has them
    rows: float = 1.0  # rows of data for each row of pixels


# OpenCV names a mosaic by the pixels of its second row, ROS by those of the first.
_MOSAICS = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}
_IMAGES = {
    "rgb8": Layout(np.uint8, 3, "rgb"),
    "bgr8": Layout(np.uint8, 3, "bgr"),
    "rgba8": Layout(np.uint8, 4, "rgb"),
    "bgra8": Layout(np.uint8, 4, "bgr"),
    "mono8": Layout(np.uint8, 1, "bgr"),
    "rgb16": Layout(np.uint16, 3, "rgb"),
    "bgr16": Layout(np.uint16, 3, "bgr"),
    "rgba16": Layout(np.uint16, 4, "rgb"),
    "bgra16": Layout(np.uint16, 4, "bgr"),
    "mono16": Layout(np.uint16, 1, "bgr"),
    "8UC1": Layout(np.uint8, 1, "bgr"),
    "8UC3": Layout(np.uint8, 3, "bgr"),
    "8UC4": Layout(np.uint8, 4, "bgr"),
    "yuv422": Layout(np.uint8, 2, "bgr", cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": Layout(np.uint8, 2, "bgr", cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": Layout(np.uint8, 2, "bgr", cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": Layout(np.uint8, 2, "bgr", cv2.COLOR_YUV2BGR_YUY2),
    "nv12": Layout(np.uint8, 1, "bgr", cv2.COLOR_YUV2BGR_NV12, 1.5),
    "nv21": Layout(np.uint8, 1, "bgr", cv2.COLOR_YUV2BGR_NV21, 1.5),
} | {
    f"bayer_{name}{bits}": Layout(kind, 1, "bgr", code)
    for name, code in _MOSAICS.items()
    for bits, kind in ((8, np.uint8), (16, np.uint16))
}
# Types of OpenCV, which a publisher that names no encoding sends: they do not say the colours.
ASSUMED = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
_LABELS = {
    "16UC1": Layout(np.uint16, 1),
    "mono16": Layout(np.uint16, 1),
    "8UC1": Layout(np.uint8, 1),
    "mono8": Layout(np.uint8, 1),
    "32SC1": Layout(np.int32, 1),
}


def stamp_ns(header: Any) -> int:
    """Return the stamp of a std_msgs/Header [ns]."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def payload_bytes(message: Any) -> int:
    """Count the bytes of pixels, outlines and text in an input message; all else of it is small."""
    if hasattr(message, "data"):
        return len(message.data)
    if hasattr(message, "masks"):
        return sum(len(m.mask.data) + len(m.id) + len(m.class_id) for m in message.masks)
    # yolo_msgs: a point of an outline is two doubles.
    return sum(16 * len(d.mask.data) + len(d.id) + len(d.class_name) for d in message.detections)


def image_array(message: Any, max_pixels: int) -> tuple[np.ndarray, str]:
    """View a sensor_msgs/Image of rclpy or rosbags as pixels; larger images are refused.

    Returns uint8 [H, W, 3] or [H, W] (a view where the encoding allows, maybe read-only), and the
    channel order "bgr" or "rgb". Raises ConversionError: encoding, size or data do not fit.
    """
    layout = _IMAGES.get(message.encoding)
    if layout is None:
        raise ConversionError(
            "image_encoding",
            f"image has encoding {message.encoding!r}, must be one of {', '.join(_IMAGES)}: set "
            "the camera driver to bgr8 or rgb8",
        )
    array = _view(message, layout, max_pixels)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if layout.code is not None:
        try:
            array = cv2.cvtColor(array, layout.code)
        except cv2.error:
            raise ConversionError(
                "image_data",
                f"{message.encoding} image of {message.width}x{message.height} cannot be converted "
                "to colours: both sides must be even",
            ) from None
    return array[..., :3] if array.ndim == 3 else array, layout.order


def assumed_text(encoding: str) -> str:
    """Say how an image is read whose encoding does not name its colours; "" where it does."""
    if encoding not in ASSUMED:
        return ""
    return (
        f"images have encoding {encoding!r}, read as {ASSUMED[encoding]}: if red and blue are "
        "swapped, publish with encoding bgr8 or rgb8"
    )


def compressed_array(message: Any, max_pixels: int) -> tuple[np.ndarray, str]:
    """Decode a sensor_msgs/CompressedImage (JPEG or PNG) to uint8 [H, W, 3] in "bgr" order.

    Raises ConversionError: not a picture of a known kind, larger than max_pixels, or broken.
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
    array = decode_image(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        raise ConversionError(
            "image_data", f"compressed image of format {message.format!r} cannot be decoded"
        )
    return array, "bgr"


def label_array(message: Any, max_pixels: int) -> np.ndarray:
    """Read a label image as uint16, uint8 or int32 [H, W].

    `message` is an Image (16UC1, mono16, 8UC1, mono8 or 32SC1), or a CompressedImage with a PNG of
    8 or 16 bits. Raises ConversionError: encoding, size or data do not fit.
    """
    if hasattr(message, "format"):
        return _label_png(message, max_pixels)
    if message.encoding not in _LABELS:
        raise ConversionError(
            "labels_encoding",
            f"label image has encoding {message.encoding!r}, must be one of {', '.join(_LABELS)}: "
            "publish track ids as 16UC1, or set input.mask_source",
        )
    return _view(message, _LABELS[message.encoding], max_pixels)


def _label_png(message: Any, max_pixels: int) -> np.ndarray:
    what = f"compressed label image of format {message.format!r}"
    data = np.frombuffer(message.data, np.uint8)
    size = encoded_size(data) if data[:4].tobytes() == PNG_START else None
    if size is None:
        raise ConversionError(
            "labels_encoding", f"{what} is no PNG: other formats change the ids, publish PNG"
        )
    _check_size(what, *size, max_pixels)
    labels = decode_image(data, cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise ConversionError("labels_data", f"{what} cannot be decoded: it is cut off")
    if labels.ndim != 2:
        raise ConversionError(
            "labels_encoding", f"{what} has colours: publish track ids as grey PNG of 16 bits"
        )
    return labels


def flow_array(message: Any, max_pixels: int) -> np.ndarray:
    """View an optical flow image (32FC2) as float32 [H, W, 2] in pixels.

    Raises ConversionError: encoding, size or data do not fit.
    """
    if message.encoding != "32FC2":
        raise ConversionError(
            "flow_encoding", f"flow has encoding {message.encoding!r}, must be 32FC2"
        )
    return _view(message, Layout(np.float32, 2), max_pixels)


def _view(message: Any, layout: Layout, max_pixels: int) -> np.ndarray:
    """View the data of an Image as [H, W] or [H, W, C], minding row padding and byte order."""
    kind, channels = layout.kind, layout.channels
    height, width, step = int(message.height), int(message.width), int(message.step)
    what = f"{message.encoding} image of {width}x{height}"
    _check_size(what, height, width, max_pixels)
    height = int(height * layout.rows)
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
    shape: tuple[int, ...] = (height, width)
    strides: tuple[int, ...] = (step, channels * item.itemsize)
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
