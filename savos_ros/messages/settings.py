"""Define all settings of the node as a tree of validated dataclasses, without ROS."""

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
from savos_model.settings import SettingError, Settings, bounds_text, check_value, setting


@dataclass(frozen=True)
class InputConfig(Settings):
    """Inputs of the node and their limits."""

    image_transport: str = setting(
        "raw", "transport of images: `image`, or `image/compressed`", choices=("raw", "compressed")
    )
    mask_source: str = setting(
        "label_image",
        "type of `instances`: label Image, label CompressedImage (PNG), InstanceMaskArray "
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
        False, "assign IDs by association (group `track`), ignoring those of the input"
    )
    ignore_label: int = setting(
        65535, "label pixels of this value are not an object", minimum=0, maximum=2**31 - 1
    )
    sync_slop_s: float = setting(
        0.0,
        "largest difference of image and mask stamps [s]; 0 pairs equal stamps only",
        minimum=0.0,
        maximum=1.0,
    )
    queue_depth: int = setting(
        2,
        "synchronized frames that may wait for the worker; the oldest is dropped",
        minimum=1,
        maximum=100,
    )
    pair_buffer: int = setting(
        20,
        "messages per topic that may wait for a partner; 20 allow masks to be 2 s late at 10 Hz",
        minimum=1,
        maximum=1000,
    )
    max_pixels: int = setting(
        16_777_216,
        "larger images are rejected before memory is taken [px]",
        minimum=1,
        maximum=2**28,
    )
    max_instances: int = setting(
        1024, "frames with more masks are rejected", minimum=1, maximum=65535
    )
    max_message_bytes: int = setting(
        2**28,
        "larger messages (pixels, outlines and text) are rejected before they are buffered [bytes]",
        minimum=1024,
        maximum=2**31,
    )


@dataclass(frozen=True)
class OverlayConfig(Settings):
    """Style of the overlay on the camera image."""

    alpha: float = setting(
        0.45, "opacity of the visible part's fill", minimum=0.0, maximum=1.0, live=True
    )
    hatch_px: int = setting(
        8, "distance of the hatching lines [px]", minimum=2, maximum=64, live=True
    )
    outline_px: int = setting(
        2, "width of the outline, 0 for none [px]", minimum=0, maximum=16, live=True
    )
    labels: bool = setting(True, "draw the track ID of each object", live=True)
    jpeg_quality: int = setting(
        85, "JPEG quality of the compressed overlay", minimum=1, maximum=100, live=True
    )


@dataclass(frozen=True)
class DiagnosticsConfig(Settings):
    """Period and window of the node's diagnostics."""

    period_s: float = setting(
        1.0, "time between two messages on /diagnostics [s]", minimum=0.1, maximum=60.0
    )
    window: int = setting(
        300, "number of frames for latency percentiles", minimum=1, maximum=100_000
    )
    waiting_after_s: float = setting(
        5.0,
        "time without a synchronized pair after which the node logs what it waits for [s]",
        minimum=0.1,
        maximum=3600.0,
    )


@dataclass(frozen=True)
class NodeSettings:
    """Every setting of the node; a field of a group is the ROS parameter `group.field`."""

    autostart: bool = setting(False, "configure and activate at start, without a launch system")
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
        """Return the settings of the online loop."""
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

    Raises SettingError: a name is unknown or a value breaks its rule; names parameter and remedy.
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
    """Add the group, "" for none, to the field at the start of a SettingError."""
    try:
        yield
    except SettingError as error:
        text = str(error)
        bare = not group or text.startswith(f"{group}.")
        raise SettingError(text if bare else f"{group}.{text}", error.kind) from None


def rule(field: dataclasses.Field) -> str:
    """Return the range or choices of a setting as text; empty without a rule."""
    meta = field.metadata
    if meta["choices"] is not None:
        return "one of " + ", ".join(map(str, meta["choices"]))
    if meta["minimum"] is None and meta["maximum"] is None:
        return ""
    return bounds_text(meta["minimum"], meta["maximum"])
