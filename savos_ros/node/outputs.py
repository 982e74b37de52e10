"""Publish masks, overlay and companion messages of a configured node."""

from __future__ import annotations

import copy
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from savos_model.types import AmodalObject
from savos_ros.messages import extras, kit
from savos_ros.messages.overlay import draw
from savos_ros.messages.settings import OverlayConfig
from savos_ros.msg import AmodalMaskArray
from savos_ros.node.qos import OUTPUT_DEPTH, node_name, output_events, profile


class Outputs:
    """Publishers of a configured node; `publish_*` run in the worker thread.

    `set_overlay` changes the style of the overlay; `burst` is the largest number of refined results
    in a burst.
    """

    def __init__(self, node: Node, overlay: OverlayConfig, burst: int) -> None:
        self._node, self._overlay = node, overlay
        self._burst = max(OUTPUT_DEPTH, burst)
        self._made: list[Any] = []
        self._refined: Any = None
        self._info: CameraInfo | None = None
        self._crowd = 1  # publishers of ~/masks at the last check
        try:
            self._create_all()
        except Exception:
            self.destroy()
            raise

    def _create_all(self) -> None:
        self._kit = kit.RosKit()
        self._vision = extras.optional("vision_msgs")
        self._foxglove = extras.optional("foxglove_msgs")
        self._masks = self._create(AmodalMaskArray, "~/masks")
        self._picture = self._create(Image, "~/overlay")
        self._jpeg = self._create(CompressedImage, "~/overlay/compressed")
        self._calibration = self._create(CameraInfo, "~/camera_info")
        self._detections: Any = None
        self._annotations: Any = None
        if self._vision is not None:
            self._detections = self._create(self._vision.Detection2DArray, "~/detections")
        if self._foxglove is not None:
            self._annotations = self._create(self._foxglove.ImageAnnotations, "~/annotations")

    def open(self) -> bool:
        """Return whether messages can still be published; a signal shuts the middleware down."""
        return self._node.context.ok()

    def set_overlay(self, config: OverlayConfig) -> None:
        """Set the style of the next overlay."""
        self._overlay = config

    def offer_refined(self, wanted: bool) -> None:
        """Create or destroy ~/masks_refined; for the executor's thread."""
        if wanted and self._refined is None:
            self._refined = self._create(AmodalMaskArray, "~/masks_refined", self._burst)
        elif not wanted and self._refined is not None:
            refined, self._refined = self._refined, None
            self._made.remove(refined)
            self._node.destroy_publisher(refined)

    def set_camera_info(self, info: CameraInfo) -> None:
        """Keep the newest calibration of the camera."""
        self._info = info

    def rivals(self) -> str:
        """Return a warning if the number of publishers of ~/masks changed to several, else ""."""
        infos = self._node.get_publishers_info_by_topic(self._masks.topic_name)
        before, self._crowd = self._crowd, len(infos)
        if len(infos) < 2 or len(infos) == before:
            return ""
        return (
            f"{self._masks.topic_name} has {len(infos)} publishers "
            f"({', '.join(sorted(map(node_name, infos)))}): subscribers receive the masks of all. "
            "Give each node another namespace or name (namespace:=, node_name:= in launch files, "
            "-r __ns:=, -r __node:= otherwise)"
        )

    def publish_masks(
        self,
        header: Any,
        shape: tuple[int, int],
        model: str,
        objects: list[AmodalObject],
        period_s: float,
    ) -> None:
        """Publish the masks of one image, an empty array if there are none.

        `header` is that of the image, copied; `shape` its rows and columns [px]; `model` the name
        of the weights; `period_s` the time since the frame in which their motion starts [s], 0 for
        none.
        """
        message = kit.amodal_array(self._kit, header, shape, objects, model, period_s)
        self._masks.publish(message)

    def publish_refined(
        self,
        header: Any,
        shape: tuple[int, int],
        model: str,
        objects: list[AmodalObject],
        period_s: float,
    ) -> None:
        """Publish refined masks of an earlier image, like `publish_masks`; for a single thread."""
        refined = self._refined
        if refined is not None:
            refined.publish(kit.amodal_array(self._kit, header, shape, objects, model, period_s))

    def publish_extras(
        self, header: Any, image: np.ndarray, order: str, objects: list[AmodalObject]
    ) -> None:
        """Publish overlay and companion messages that have subscribers.

        `header` is that of the image, copied; the image uint8 [H, W, 3] in `order` ("bgr" or
        "rgb"), or [H, W].
        """
        if self._detections is not None and self._detections.get_subscription_count():
            self._detections.publish(extras.detections(self._vision, header, objects))
        if self._annotations is not None and self._annotations.get_subscription_count():
            found = extras.image_annotations(self._foxglove, header.stamp, objects)
            self._annotations.publish(found)
        info = self._info
        if info is not None and self._calibration.get_subscription_count():
            self._calibration.publish(_with_header(info, header))
        raw, jpeg = (pub.get_subscription_count() for pub in (self._picture, self._jpeg))
        if not raw and not jpeg:
            return
        config = self._overlay
        bgr = image[..., ::-1] if order == "rgb" and image.ndim == 3 else image
        drawn = draw(bgr, objects, config)
        if raw:
            self._picture.publish(kit.image(self._kit, header, drawn, "bgr8"))
        if jpeg:
            quality = [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality]
            data = cv2.imencode(".jpg", drawn, quality)[1].tobytes()
            self._jpeg.publish(kit.compressed_image(self._kit, header, data, "jpeg"))

    def destroy(self) -> None:
        """Destroy all publishers; the threads that publish must have stopped."""
        for publisher in self._made:
            self._node.destroy_publisher(publisher)

    def _create(self, kind: type, topic: str, depth: int = OUTPUT_DEPTH) -> Any:
        events = output_events(self._node, topic)
        self._made.append(
            self._node.create_publisher(kind, topic, profile(depth), event_callbacks=events)
        )
        return self._made[-1]


def _with_header(info: CameraInfo, header: Any) -> CameraInfo:
    """Return a calibration with the header of an image."""
    moved = copy.copy(info)
    moved.header = header
    return moved
