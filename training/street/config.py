"""Define the settings of a street clip and what a frame of it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from savos_model.settings import Settings, setting
from savos_model.types import Box

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class StreetConfig(Settings):
    """Settings of one generated street clip."""

    seed: int = setting(5, "seed of the clip", minimum=0, maximum=2**31 - 1)
    frames: int = setting(150, "frames of the clip", minimum=1, maximum=1_000_000)
    width: int = setting(1242, "image columns [px]", minimum=64, maximum=8192)
    height: int = setting(375, "image rows [px]", minimum=32, maximum=8192)
    rate_hz: float = setting(10.0, "frames per second", minimum=1.0, maximum=120.0)
    density: float = setting(
        1.0, "traffic, parked cars, people: 0 empty .. 2 crowded", minimum=0.0, maximum=2.0
    )
    style: str = setting("any", "kind of street", choices=("any", "city", "suburb", "works"))
    max_speed: float = setting(
        11.0, "highest speed of the camera car [m/s]", minimum=0.0, maximum=14.0
    )
    image_noise: float = setting(
        1.0, "blur, sensor noise, exposure change: 0 none .. 2 strong", minimum=0.0, maximum=2.0
    )
    jitter_px: float = setting(
        1.5, "largest rim error of the tracker's masks [px]", minimum=0.0, maximum=8.0
    )
    lost_share: float = setting(
        0.02, "share of frames in which the tracker has lost an object", minimum=0.0, maximum=0.9
    )
    split_share: float = setting(
        0.01, "share of frames in which a tracked mask lacks a part", minimum=0.0, maximum=0.9
    )
    min_tracked_px: int = setting(
        40, "smaller visible masks are missed by the tracker [px]", minimum=1, maximum=1_000_000
    )
    min_full_px: int = setting(
        250, "objects whose full mask is smaller are no objects [px]", minimum=1, maximum=1_000_000
    )
    max_range_m: float = setting(
        42.0, "objects further away are drawn, but are no objects [m]", minimum=1.0, maximum=100.0
    )


@dataclass(frozen=True)
class StreetObject:
    """One car or person of a frame; a mask is (integer box inside the image, uint8 0/1 crop).

    Attributes:
        id: class * 1000 + track as in KITTI MOTS, the same over the clip.
        class_id: 1 car, 2 person.
        full: the object rendered alone; visible: what no nearer thing covers; tracked: what the
            imitated tracker reports. The last two are None when there is nothing.
        depth_m: distance of the nearest point along the viewing axis [m].
        occlusion: 1 - visible area / full area, 0..1.
    """

    id: int
    class_id: int
    full: tuple[Box, np.ndarray]
    visible: tuple[Box, np.ndarray] | None
    tracked: tuple[Box, np.ndarray] | None
    depth_m: float
    occlusion: float


@dataclass(frozen=True)
class StreetFrame:
    """One frame: `image` uint8 BGR [H, W, 3], stamp [ns], objects from near to far."""

    index: int
    stamp_ns: int
    image: np.ndarray
    objects: list[StreetObject]
