"""All settings of the node as one tree of checked dataclasses, free of ROS."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from savos_model.config import (
    AssociationConfig,
    BackendConfig,
    ComposeConfig,
    FlowConfig,
    RefineConfig,
    SiteConfig,
    StreamConfig,
    TracksConfig,
)
from savos_model.settings import SettingError, bounds_text, check_settings, check_value, setting


@dataclass(frozen=True)
class InputConfig:
    """What the node listens to and how much of it is kept."""

    image_transport: str = setting(
        "raw", "how images arrive: `image`, or `image/compressed`", choices=("raw", "compressed")
    )
    mask_source: str = setting(
        "label_image",
        "what arrives on `instances`: label Image, label CompressedImage (PNG), InstanceMaskArray "
        "or yolo_msgs/DetectionArray",
        choices=("label_image", "label_png", "instance_masks", "yolo"),
    )
    label_divisor: int = setting(
        1000,
        "class of a label pixel = label // divisor, as in KITTI MOTS; 0 for no classes",
        minimum=0,
        maximum=2**31 - 1,
    )
    track: bool = setting(
        False, "give ids here (group `track`): those of the masks, if any, mean nothing"
    )
    ignore_label: int = setting(
        65535, "label pixels of this value are no object", minimum=0, maximum=2**31 - 1
    )
    sync_slop_s: float = setting(
        0.0,
        "largest difference of image and mask stamps [s]; 0 pairs equal stamps only",
        minimum=0.0,
        maximum=1.0,
    )
    queue_depth: int = setting(
        2,
        "joined frames that may wait for the worker; the oldest is dropped",
        minimum=1,
        maximum=100,
    )
    pair_buffer: int = setting(
        20,
        "messages per topic that may wait for their partner: at 10 Hz a tracker may be 2 s late",
        minimum=1,
        maximum=1000,
    )
    max_pixels: int = setting(
        16_777_216,
        "larger images are refused before memory is taken [px]",
        minimum=1,
        maximum=2**28,
    )
    max_instances: int = setting(
        1024, "frames with more masks are refused", minimum=1, maximum=65535
    )
    max_message_bytes: int = setting(
        2**28,
        "messages with more pixels, outlines or text are refused before they wait [bytes]",
        minimum=1024,
        maximum=2**31,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class OverlayConfig:
    """How the result is drawn over the camera image."""

    alpha: float = setting(
        0.45, "opacity of the visible part's fill", minimum=0.0, maximum=1.0, live=True
    )
    hatch_px: int = setting(
        8, "distance of the lines over the hidden part [px]", minimum=2, maximum=64, live=True
    )
    outline_px: int = setting(
        2, "width of the outline, 0 for none [px]", minimum=0, maximum=16, live=True
    )
    labels: bool = setting(True, "write the track id at each object", live=True)
    jpeg_quality: int = setting(
        85, "quality of the compressed overlay", minimum=1, maximum=100, live=True
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When and over which span the node reports on itself."""

    period_s: float = setting(
        1.0, "time between two messages on /diagnostics [s]", minimum=0.1, maximum=60.0
    )
    window: int = setting(
        300, "frames over which latency percentiles are taken", minimum=1, maximum=100_000
    )
    waiting_after_s: float = setting(
        5.0,
        "time without a joined pair after which the node says what it waits for [s]",
        minimum=0.1,
        maximum=3600.0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class NodeSettings:
    """Every setting of the node; a field of a group is the ROS parameter `group.field`."""

    autostart: bool = setting(
        False, "configure and activate at start, for machines without a launch system"
    )
    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    model: BackendConfig = dataclasses.field(default_factory=BackendConfig)
    tracks: TracksConfig = dataclasses.field(default_factory=TracksConfig)
    track: AssociationConfig = dataclasses.field(default_factory=AssociationConfig)
    compose: ComposeConfig = dataclasses.field(default_factory=ComposeConfig)
    flow: FlowConfig = dataclasses.field(default_factory=FlowConfig)
    refine: RefineConfig = dataclasses.field(default_factory=RefineConfig)
    adapt: SiteConfig = dataclasses.field(default_factory=SiteConfig)
    overlay: OverlayConfig = dataclasses.field(default_factory=OverlayConfig)
    diagnostics: DiagnosticsConfig = dataclasses.field(default_factory=DiagnosticsConfig)

    @property
    def stream(self) -> StreamConfig:
        """The part that the online loop takes."""
        associate = self.track if self.input.track else None
        return StreamConfig(self.tracks, self.compose, self.flow, associate)


def fields() -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield every parameter name with the dataclass field that declares it, in order."""
    for field in dataclasses.fields(NodeSettings):
        if "text" in field.metadata:
            yield field.name, field
            continue
        for inner in dataclasses.fields(_group(field)):
            yield f"{field.name}.{inner.name}", inner


def _group(field: dataclasses.Field) -> Any:
    """Return the dataclass of a field that holds a group of settings."""
    return field.default_factory


def values(settings: NodeSettings) -> dict[str, Any]:
    """Flatten settings to {parameter name: value}."""
    flat = {}
    for name, _ in fields():
        group, _, leaf = name.rpartition(".")
        flat[name] = getattr(getattr(settings, group) if group else settings, leaf)
    return flat


def build(flat: Mapping[str, Any]) -> NodeSettings:
    """Build checked settings from {parameter name: value}; names left out keep their default.

    Raises:
        SettingError: a name is unknown or a value breaks its rule; names parameter and remedy.
    """
    known = dict(fields())
    groups: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        if name not in known:
            raise SettingError(f"{name} is not a parameter of the node: `savos params` lists them")
        group, _, leaf = name.rpartition(".")
        with named_by(group):
            check_value(known[name], value)
        groups.setdefault(group, {})[leaf] = value
    top = groups.pop("", {})
    for field in dataclasses.fields(NodeSettings):
        if field.name in groups:
            with named_by(field.name):
                top[field.name] = _group(field)(**groups[field.name])
    return NodeSettings(**top)


@contextmanager
def named_by(group: str) -> Iterator[None]:
    """Put the group, "" for none, before the field that a SettingError begins with, once."""
    try:
        yield
    except SettingError as error:
        text = str(error)
        bare = not group or text.startswith(f"{group}.")
        raise SettingError(text if bare else f"{group}.{text}") from None


def rule(field: dataclasses.Field) -> str:
    """Say the range or set of a setting in words; empty when anything goes."""
    meta = field.metadata
    if meta["choices"] is not None:
        return "one of " + ", ".join(map(str, meta["choices"]))
    if meta["minimum"] is None and meta["maximum"] is None:
        return ""
    return bounds_text(meta["minimum"], meta["maximum"])
