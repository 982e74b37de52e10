"""Generated street scenes that no training saw, scored by both protocols."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from savos_model.masks import by_id
from training.data.kitti_time import PERIOD_NS
from training.data.prepare import street_frames
from training.evaluate.fishbowl import MaskBenchmark, masks_video
from training.evaluate.settings import StreetOptions
from training.evaluate.video import Video, stream_frames


@dataclass(frozen=True)
class Street(StreetOptions, MaskBenchmark):
    """Scenes of a range of seeds."""

    name: ClassVar[str] = "street"

    def entries(self) -> list[tuple[int, int]]:
        """List the scenes by their seed."""
        return [(self.first_seed + number, self.frames) for number in range(self.scenes)]

    def open(self, key: int) -> Iterator[Video]:
        """Generate one scene; it is kept in memory."""
        frames = list(street_frames(key, self.frames))
        stamps = [index * PERIOD_NS for index in range(len(frames))]
        visible = [by_id(frame.instances) for frame in frames]
        yield masks_video(
            self,
            f"street_{key:04d}",
            frames[0].image.shape[:2],
            lambda: stream_frames(frames, stamps),
            visible,
            [frame.full or {} for frame in frames],
        )
