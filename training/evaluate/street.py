"""Generated street scenes that no training saw, scored by both protocols."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from savos_model.masks import by_id
from savos_model.types import Frame, Instance
from training.evaluate.fishbowl import MaskBenchmark, masks_video
from training.evaluate.settings import StreetOptions
from training.evaluate.video import Video
from training.street.generate import StreetConfig, generate


@dataclass(frozen=True)
class Street(StreetOptions, MaskBenchmark):
    """Scenes of a range of seeds."""

    name: ClassVar[str] = "street"

    def entries(self) -> list[tuple[int, int]]:
        """List the scenes by their seed."""
        return [(self.first_seed + number, self.frames) for number in range(self.scenes)]

    def open(self, key: int) -> Iterator[Video]:
        """Generate one scene; it is kept in memory."""
        frames, full = [], []
        for made in generate(StreetConfig(seed=key, frames=self.frames)):
            seen = [item for item in made.objects if item.visible is not None]
            masks = [Instance(str(item.id), *item.visible) for item in seen]
            frames.append(Frame(made.stamp_ns, made.image, masks))
            full.append({str(item.id): item.full for item in seen})
        visible = [by_id(frame.instances) for frame in frames]
        shape = frames[0].image.shape[:2]
        yield masks_video(self, f"street_{key:04d}", shape, lambda: iter(frames), visible, full)
