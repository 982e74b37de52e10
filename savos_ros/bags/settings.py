"""Options of what reads and makes bags, and the error that ends it. Quick to load, for commands."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from savos_model.commands import option, part
from savos_model.config import BackendConfig, RefineConfig, StreamConfig
from savos_model.files import FileError
from savos_model.hints import PIP
from savos_model.settings import SettingError, Settings, setting
from savos_ros.messages.settings import InputConfig, OverlayConfig


class BagError(FileError):
    """A bag cannot be read or written."""


@dataclass(frozen=True)
class Topics:
    """Topics to read; an empty name means the usual ones of this package's bags."""

    image: str = setting("", "image topic; empty: search the usual names")
    instances: str = setting("", "topic of the masks; empty: search the usual names")
    truth: str = setting("", "topic of the ground truth; empty: search the usual name")


@dataclass(frozen=True)
class PlayOptions(Settings):
    """How a bag is played."""

    rate: float = setting(1.0, "speed, 2 is twice as fast", minimum=0.01, maximum=100.0)
    loop: bool = setting(False, "start again at the end, until stopped")
    clock: bool = setting(False, "publish bag time on /clock, for nodes with use_sim_time")
    topics: tuple[str, ...] = option("play this topic only (may be repeated)", (), repeated=True)
    remaps: tuple[str, ...] = option(
        "OLD:=NEW, rename a topic (may be repeated)", (), repeated=True
    )
    wait_s: float = setting(0.0, "longest time to wait for subscribers [s]", minimum=0.0)
    # Nodes without use_sim_time then see a live camera, and can measure latency.
    restamp: bool = setting(False, "shift stamps to the present, like a live camera")
    follow: tuple[str, ...] = option(
        "full name of an amodal node (may be repeated): wait until it is active, then play no "
        "faster than it processes frames",
        (),
        repeated=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restamp and (self.clock or self.rate != 1.0):
            raise SettingError(
                "restamp makes stamps of the present: leave out clock, and play at rate 1"
            )
        if self.restamp and self.follow:
            raise SettingError("follow delays messages, restamp plays them in time: leave one out")
        for text in self.remaps:
            old, sign, new = text.partition(":=")
            if not (sign and old.startswith("/") and new):
                raise SettingError(f"remap must read /old/topic:=/new/topic, got {text!r}")

    @property
    def targets(self) -> dict[str, str]:
        """Return the new topic by topic of the bag, of those that are renamed."""
        return dict(text.split(":=", 1) for text in self.remaps)


@dataclass(frozen=True)
class RunOptions(Settings):
    """How a bag is run.

    Crops are as large as the weights were trained with, where they say so.
    """

    backend: BackendConfig = part(BackendConfig, weights="", backend="", device="", precision="")
    stream: StreamConfig = field(default_factory=StreamConfig)
    refine: RefineConfig = part(RefineConfig, enabled="refine", window="", stride="")
    input: InputConfig = part(InputConfig, sync_slop_s="sync_slop", track="")
    overlay: OverlayConfig = field(default_factory=OverlayConfig)
    topics: Topics = part(Topics, image="", instances="", truth="")
    max_frames: int = setting(0, "stop after so many frames; 0 for all", minimum=0)
    video: bool = setting(True, "write the overlay video")
    force: bool = setting(False, "replace the results of an earlier run")


@dataclass(frozen=True)
class LabelOptions(Settings):
    """How bags are labelled; `iterations` of the adaptation to each bag at most, 0 for none."""

    backend: BackendConfig = part(BackendConfig, weights="", backend="", device="", threads="")
    stream: StreamConfig = field(default_factory=StreamConfig)
    input: InputConfig = part(InputConfig, sync_slop_s="sync_slop", track="")
    topics: Topics = part(Topics, image="", instances="", truth="")
    iterations: int = 0
    # A longer bag is processed in windows of this size that overlap by half.
    memory_mb: int = setting(2048, "memory for buffered images of a bag [MiB]", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 0:
            raise SettingError(
                f"iterations must be at least 0, got {self.iterations}: give 0 for none"
            )
        if self.iterations and importlib.util.find_spec("torch") is None:
            raise SettingError(f"adaptation needs PyTorch: {PIP['torch']}, or --no-adapt")


@dataclass(frozen=True)
class RecordOptions(Settings):
    """How frames become topics: masks by `form` ("" for none), and with `truth` a truth topic."""

    form: str = setting(
        "auto",
        "store masks as label_image or instance_masks; auto: depends on the source",
        choices=("auto", "label_image", "instance_masks", ""),
    )
    truth: bool = False
    compressed: bool = setting(False, "JPEG instead of raw images")
    storage: str = setting("mcap", "mcap or sqlite3", choices=("mcap", "sqlite3"))
    force: bool = setting(False, "replace an existing bag")

    def resolved(self, form: str, **changes: Any) -> RecordOptions:
        """Return the options with changes, and with another `form` in place of auto."""
        return replace(self, form=form if self.form == "auto" else self.form, **changes)


@dataclass(frozen=True)
class KittiSource:
    """A sequence of the tracking and MOTS layout, or a drive of the raw layout."""

    root: Path = option("folder with training/image_02, or a drive of KITTI raw", argument=True)
    sequence: str = option("sequence such as 0001 (tracking layout)", "")
    masks: str = option(
        "txt, png, tracker or none; empty: txt, or none for a raw drive without masks", ""
    )
    mask_path: Path | None = option("file or folder of the masks, if not at its usual place", None)
    timestamps: Path | None = option(
        "file with one time per frame; empty: the drive's own, or 10 Hz", None
    )


@dataclass(frozen=True)
class MaskSource(Settings):
    """Images, and the masks that another program wrote for them."""

    images: Path = option("folder of .jpg or .png images, sorted by the numbers in their names")
    masks: Path = option("folder of the masks, or their .json file")
    form: str = option("auto, labels, objects, coco or ultralytics", "auto")
    # At most 10 kHz: below 0.1 ms stamps of neighbours could be equal after rounding.
    rate_hz: float = setting(10.0, "images per second", minimum=0.001, maximum=10_000.0)
