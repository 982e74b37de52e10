"""IDs by trackers of the package `trackers`, to compare our association with."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from savos_model.hints import installed
from savos_model.types import Frame

# What differs from the defaults: an ID is kept for 30 frames, as with track.max_age (the buffer is
# in frames of a camera at 30 Hz), and given early, as every mask is certain.
OPTIONS = {"lost_track_buffer": 30, "frame_rate": 30.0, "minimum_consecutive_frames": 1}
CLASSES = {
    "sort": "SORTTracker",
    "bytetrack": "ByteTrackTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
}


def absent() -> str:
    """Return why the trackers cannot be used here; "" if they can."""
    return "" if installed("trackers") else "trackers is not installed: pip install trackers"


def version() -> str:
    """Return the installed version of the package."""
    return importlib.metadata.version("trackers")


def outside_tracker(name: str) -> Callable[[Frame], list[str]]:
    """Return a function that gives the masks of the next frame of a video their IDs.

    The tracker sees the boxes of the visible masks and their scores, BoT-SORT also the image, which
    it estimates the motion of the camera from. A mask that it leaves without an ID has "".

    Args:
        name: one of settings.TRACKERS.
    """
    import supervision
    import trackers

    tracker: Any = getattr(trackers, CLASSES[name])(**OPTIONS)

    def ids(frame: Frame) -> list[str]:
        boxes = [item.box for item in frame.instances]
        detections = supervision.Detections(
            xyxy=np.array(boxes, float).reshape(-1, 4),
            confidence=np.array([item.score for item in frame.instances], float),
            data={"place": np.arange(len(boxes))},
        )
        image = {"frame": np.ascontiguousarray(frame.image)} if name == "botsort" else {}
        found = tracker.update(detections, **image)
        given = [""] * len(boxes)
        if len(found):
            for place, number in zip(found.data["place"], found.tracker_id, strict=True):
                given[place] = "" if number < 0 else str(number)
        return given

    return ids
