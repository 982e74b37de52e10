"""Times the node's pipeline from messages in to messages out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from savos_model.stream.stream import AmodalStream
from savos_model.types import AmodalObject, Frame
from savos_ros.messages import kit
from savos_ros.messages.settings import NodeSettings
from savos_ros.node.engine import Engine
from savos_ros.node.pipeline import Frameline, Job
from savos_ros.tools.bench_scene import PERIOD_NS


class Taker:
    """Builds the messages that a node publishes, and sends them nowhere (Pipeline's Publisher)."""

    def __init__(self) -> None:
        self.kit = kit.RosKit()

    def publish_masks(
        self,
        header: Any,
        shape: tuple[int, int],
        model: str,
        objects: list[AmodalObject],
        period_s: float,
    ) -> None:
        """Build the masks' message."""
        kit.amodal_array(self.kit, header, shape, objects, model, period_s)

    def publish_extras(
        self, header: Any, image: np.ndarray, order: str, objects: list[AmodalObject]
    ) -> None:
        """Nobody listens."""

    def publish_refined(
        self,
        header: Any,
        shape: tuple[int, int],
        model: str,
        objects: list[AmodalObject],
        period_s: float,
    ) -> None:
        """Refinement is off."""

    def open(self) -> bool:
        """Always."""
        return True


def message_runner(
    stream: AmodalStream, clip: list[tuple[np.ndarray, np.ndarray]]
) -> Callable[[], dict[str, float]]:
    """What takes the clip's next frame through the node's pipeline, without DDS.

    Returns:
        A function that returns the time of each stage of the stream, "total", and "overhead": all
        of it but the stream's step [ms].
    """
    taker = Taker()
    engine = Engine(stream, stream.backend.name, "")
    line = Frameline.build(engine, NodeSettings(), taker, logging.getLogger("bench"))
    step, took, count = stream.step, [0.0], 0

    def timed(frame: Frame) -> list[AmodalObject]:
        began = time.perf_counter()
        objects = step(frame)
        took[0] = 1e3 * (time.perf_counter() - began)
        return objects

    vars(stream)["step"] = timed  # of this one object

    def run() -> dict[str, float]:
        nonlocal count
        image, labels = clip[count % len(clip)]
        head = kit.header(taker.kit, count * PERIOD_NS, "camera")
        count += 1
        pair = (
            kit.image(taker.kit, head, image, "bgr8"),
            kit.image(taker.kit, head, labels, "16UC1"),
        )
        began = time.perf_counter()
        line.pipeline.work(Job(pair, time.monotonic(), count))
        total = 1e3 * (time.perf_counter() - began)
        return {**stream.report.timings_ms, "overhead": total - took[0], "total": total}

    return run
