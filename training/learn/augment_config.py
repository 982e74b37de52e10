"""How training windows are varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from savos_model.config import TracksConfig
from savos_model.settings import check_settings, setting


def share(default: float, text: str) -> Any:
    """Declare a setting that is a share of windows (or what the text says), 0..1."""
    return setting(default, text, minimum=0.0, maximum=1.0)


@dataclass(frozen=True)
class AugmentConfig:
    """How training windows are varied; every share is a probability per window."""

    paste: float = share(0.8, "share of windows with a pasted occluder")
    several: float = share(0.3, "share of those with a second one")
    poles: float = share(0.25, "share of pasted occluders that are thin vertical poles")
    rectangles: float = share(0.15, "share of pasted occluders that are rectangles")
    sides: float = share(0.3, "share of pasted occluders that come in from a side")
    sweeps: float = share(
        0.25, "share of pasted occluders that come over the object (or leave it) within the window"
    )
    hide: float = share(
        0.0,
        "share of the object that a pasted occluder in front of it hides at least in one frame",
    )
    behind: float = share(0.35, "share of pasted occluders that lie behind the object")
    untold: float = share(
        0.35, "share of pasted occluders that the mask channel does not show, as things untracked"
    )
    pasted_weight: float = setting(
        4.0, "loss weight of pixels under a pasted occluder", minimum=1.0, maximum=100.0
    )
    mirror: float = share(0.5, "share of stored windows that training mirrors from left to right")
    memory: float = share(0.5, "share of windows whose box still spans the hidden part")
    jitter: float = setting(0.1, "relative spread of box size and place", minimum=0.0, maximum=0.5)
    mask_noise: float = share(
        0.4, "share of windows whose masks are shrunk or grown, each object by its own amount"
    )
    noise_px: float = setting(
        3.0, "most that masks are shrunk or grown [image px]", minimum=0.0, maximum=16.0
    )
    ragged: float = share(0.5, "share of those where only parts of the outline are")
    holes: float = share(0.1, "share of windows whose input mask has holes, as windows of cars")
    split: float = share(0.1, "share of windows whose input mask is cut by a stripe")
    colour: float = share(0.3, "relative spread of the colours")
    no_colour: float = share(0.1, "share of windows without image")
    low_resolution: float = share(0.15, "share of windows with the colours of 2x2 or 4x4 pixels")
    motion_blur: float = share(0.15, "share of windows blurred along rows or columns")
    compression: float = share(
        0.15, "share of windows whose 8x8 blocks are quantised, a simple form of what JPEG does"
    )
    hindsight: bool = setting(
        False, "targets know what other frames show of the hidden part, boxes what earlier ones do"
    )
    enlarge: float = setting(
        TracksConfig().enlarge, "crop box over visible box", minimum=1.0, maximum=4.0
    )

    def __post_init__(self) -> None:
        check_settings(self)


NOTHING = dict.fromkeys(
    (
        "paste", "several", "poles", "rectangles", "sides", "sweeps", "hide", "behind", "untold",
        "memory", "jitter", "mask_noise", "holes", "split", "colour", "no_colour", "low_resolution",
        "motion_blur", "compression",
    ),
    0.0,
)  # fmt: skip


def plain(**kept: Any) -> AugmentConfig:
    """Return the settings that vary nothing but what is given; what is pasted is one object."""
    return AugmentConfig(**{**NOTHING, **kept})
