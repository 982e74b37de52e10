"""Gathers what a run does, frame by frame, for one HTML page about it."""

from __future__ import annotations

import base64
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from savos_model.files import write_file
from savos_model.types import AmodalObject, Source
from savos_ros.bags.reader import BagFrame
from savos_ros.bags.report_page import Course, Strip, page
from savos_ros.bags.run import MASKS_TOPIC
from savos_ros.bags.strips import Row, hidden_px, keep_best, pictures

STRIPS, STRIP_PX, JPEG_QUALITY = 6, 720, 82


@dataclass
class RunReport:
    """The watch of a run (savos_ros.bags.run.Watch) and the page that comes of it.

    Attributes:
        stamps_ns: of the frames answered.
        times_ms: by stage, of every frame.
        courses: of each track, in order of birth.
        rows: frames in which most is hidden.
    """

    stamps_ns: list[int] = field(default_factory=list)
    times_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    courses: dict[str, Course] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def watch(
        self, topic: str, item: BagFrame, objects: list[AmodalObject], times: dict[str, float]
    ) -> None:
        """Take the answer to a frame; refined ones are scored, not drawn."""
        if topic != MASKS_TOPIC:
            return
        for stage, value in times.items():
            self.times_ms[stage].append(value)
        for found in objects:
            course = self.courses.setdefault(found.id, Course(found.id, found.class_id))
            course.places.append(len(self.stamps_ns))
            course.occlusion.append(float(found.occlusion))
            course.confidence.append(float(found.confidence))
        self.stamps_ns.append(item.frame.stamp_ns)
        # What coasts is wholly hidden: it must not outweigh what is completed.
        completed = [found for found in objects if found.source != Source.COASTED]
        keep_best(self.rows, Row(hidden_px(completed), item, objects), STRIPS)

    def write(self, path: Path, summary: dict) -> None:
        """Write the page, whole or not at all; it needs no other file.

        Args:
            path: HTML file.
            summary: what run_bag returned.
        """
        start = self.stamps_ns[0] if self.stamps_ns else 0
        strips = [
            _strip(row, (row.item.frame.stamp_ns - start) / 1e9)
            for row in sorted(self.rows, key=lambda row: row.item.frame.stamp_ns)
        ]
        seconds = (max(self.stamps_ns, default=start) - start) / 1e9
        write_file(path, page(summary, strips, self.times_ms, [*self.courses.values()], seconds))


def _strip(row: Row, seconds: float) -> Strip:
    _, seen, result, truth = pictures(row)
    shown = [("visible masks in", seen), ("amodal masks out", result)]
    if row.item.truth is not None:
        shown.append(("truth", truth))
    return Strip(seconds, row.hidden_px, [(title, _uri(image)) for title, image in shown])


def _uri(image: np.ndarray) -> str:
    """Return an image as a data address."""
    scale = min(1.0, STRIP_PX / image.shape[1])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
