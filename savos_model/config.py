"""Define typed settings of the model and of the online stream, validated on construction."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from dataclasses import dataclass

from savos_model.hints import PIP
from savos_model.settings import SettingError, Settings, setting


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Shape and conventions of one network; stored in the metadata of its weights.

    `online` is our recurrent U-Net: a step gets the frame whose mask it estimates, and the flow
    into the frame before. The other two are the paper's encoder-decoder, whose step estimates the
    mask of the next frame: `paper` follows the paper (mask completer fed with V, flow in patch
    pixels, per-frame resize); `official` repeats the released code (completer fed with horizontal
    flow, flow in image pixels) for its checkpoint. docs/departures.md rows 45 to 47.
    """

    width: float = setting(
        0.5, "channel multiplier; 1.0 is the paper's network", minimum=0.0625, maximum=2.0
    )
    patch_height: int = setting(32, "patch rows [px]", choices=(32, 48, 64))
    patch_width: int = setting(64, "patch columns [px]", choices=(64, 96, 128))
    preset: str = setting(
        "online",
        "kind of network and which frame's mask a step estimates",
        choices=("online", "paper", "official"),
    )
    occluder_hint: bool = setting(
        True, "mark other objects' visible pixels as -1 in the mask channel"
    )
    blank_others: bool = setting(
        True, "preset online: hide colours and flow where the mask channel shows other objects"
    )
    # Memory in the form of a mask, in addition to h; docs/departures.md row 39.
    prior_mask: bool = setting(True, "feed the prediction for this frame back in as a channel")
    # The paper's eq. 12 is uniform; hybrid is the released code's (docs/departures.md row 10).
    motion_base: str = setting(
        "hybrid",
        "base of the residual motion: flow on V and base motion elsewhere, or base motion alone",
        choices=("hybrid", "uniform"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch_width != 2 * self.patch_height:
            raise SettingError(
                f"patch_width must be twice patch_height ({2 * self.patch_height}), "
                f"got {self.patch_width}: use 32x64, 48x96 or 64x128"
            )
        ours = self.occluder_hint or self.prior_mask or self.motion_base != "hybrid"
        if self.preset == "official" and (ours or self.patch_height != 64):
            raise SettingError(
                "preset official needs patch 64x128, occluder_hint and prior_mask False and "
                "motion_base hybrid: the released network supports nothing else"
            )

    def channels(self, paper_channels: int) -> int:
        """Scale a channel count of the paper by `width` (at least 8, a multiple of 8)."""
        return max(8, round(paper_channels * self.width / 8) * 8)

    @property
    def same_frame(self) -> bool:
        """Return whether a step estimates the mask of its frame, not of the next one."""
        return self.preset == "online"

    @property
    def blanks(self) -> bool:
        """Return whether colours and flow of other objects' visible pixels are set to zero."""
        return self.preset == "online" and self.occluder_hint and self.blank_others

    @property
    def hidden(self) -> int:
        """Return the size D of the recurrent state."""
        return self.channels(256)

    @property
    def patch(self) -> tuple[int, int]:
        """Return patch rows and columns [px]."""
        return self.patch_height, self.patch_width


def check_device(device: str) -> None:
    """Raise SettingError unless the text names a device."""
    if re.fullmatch(r"cpu|cuda(:\d+)?", device) is None:
        raise SettingError(
            f"device must be cpu, cuda or cuda:N, got {device!r}: choose one of them"
        )


@dataclass(frozen=True)
class BackendConfig(Settings):
    """Which weights run on which engine (ROS group `model`)."""

    weights: str = setting(
        "savos_online", "name of shipped weights, or a path to a .safetensors file"
    )
    backend: str = setting(
        "auto",
        "engine that runs the network; auto selects the first one that runs here",
        choices=("auto", "onnx", "openvino", "tensorrt", "torch"),
    )
    device: str = setting("cpu", "cpu, cuda or cuda:N")
    precision: str = setting(
        "fp32",
        "arithmetic of the network; fp16 for GPUs, bf16 for CPUs that support it",
        choices=("fp32", "fp16", "bf16"),
    )
    threads: int = setting(2, "CPU threads of the network", minimum=1, maximum=64)
    engine_dir: str = setting(
        "", "folder of built TensorRT engines; empty: savos_ros/engines in the user's cache folder"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)
        if self.precision == "bf16" and self.device != "cpu":
            raise SettingError(
                f"precision bf16 is for CPUs, device is {self.device}: use fp16 or fp32"
            )
        if self.precision == "fp16" and self.device == "cpu":
            raise SettingError(
                "precision fp16 is for GPUs, device is cpu: use fp32 or bf16, or set device cuda"
            )


@dataclass(frozen=True)
class TracksConfig(Settings):
    """Birth, coasting and end of tracks."""

    max_tracks: int = setting(
        64,
        "maximum number of tracks completed per frame; others keep their visible mask",
        minimum=1,
        maximum=1024,
    )
    min_mask_px: int = setting(
        16,
        "visible masks with fewer pixels are passed on but not completed",
        minimum=1,
        maximum=1_000_000,
    )
    # The released code uses 1.5, which covers an object with a fifth of it hidden; 2.0 covers one
    # with a third (docs/departures.md row 4). Weights are trained for one value.
    enlarge: float = setting(
        2.0, "crop size as a multiple of the visible box", minimum=1.0, maximum=4.0
    )
    coast_frames: int = setting(
        5, "frames a track is kept alive without a mask", minimum=0, maximum=1000
    )
    reset_gap_s: float = setting(
        0.5, "a longer gap between stamps deletes all tracks [s]", minimum=0.001, maximum=60.0
    )


@dataclass(frozen=True)
class ComposeConfig(Settings):
    """Composition of predictions and visible masks into published masks."""

    # Measured on the shipped weights (departures row 43). Hysteresis: the threshold gives a hidden
    # region its extent, the peak decides whether there is one.
    threshold: float = setting(
        0.42,
        "probability from which an occluded pixel is published",
        minimum=0.01,
        maximum=0.99,
        live=True,
    )
    peak: float = setting(
        0.76,
        "probability that a connected hidden region must reach somewhere",
        minimum=0.01,
        maximum=1.0,
        live=True,
    )
    occluder_margin_px: int = setting(
        3, "rim around occluders that may also be completed [px]", minimum=0, maximum=32, live=True
    )
    # There is no evidence of an occluder here, so the network has to be more certain.
    untracked_threshold: float = setting(
        0.42,
        "threshold where no other object is visible, with `complete_into: anything`",
        minimum=0.01,
        maximum=1.0,
        live=True,
    )
    untracked_peak: float = setting(
        0.92,
        "peak where no other object is visible, with `complete_into: anything`",
        minimum=0.01,
        maximum=1.0,
        live=True,
    )
    # Little hidden area is more often an error than not; departures row 43.
    min_hidden: float = setting(
        0.04,
        "least hidden area that is published, as a share of the visible area",
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    order_strength: float = setting(
        2.0,
        "reduction of the weaker of two objects that are completed into each other: logits per "
        "natural logarithm of the ratio of their claims; 0 disables it",
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    complete_into: str = setting(
        "anything",
        "where occluded pixels may be: behind other tracked objects, or anywhere",
        choices=("others", "anything"),
    )
    mask_values: str = setting(
        "binary",
        "published pixels: 0/255, or probability 0..255",
        choices=("binary", "probability"),
        live=True,
    )


@dataclass(frozen=True)
class FlowConfig(Settings):
    """Source of optical flow."""

    method: str = setting(
        "dis_fast",
        "flow estimator; topic for an external one",
        choices=("dis_fast", "dis_medium", "topic"),
    )


@dataclass(frozen=True)
class RefineConfig(Settings):
    """The bidirectional pass over the last frames."""

    enabled: bool = setting(
        False, "output every frame again, refined using later ones (`~/masks_refined`)", live=True
    )
    window: int = setting(
        12, "frames of one pass, kept in memory with their images", minimum=2, maximum=10_000
    )
    stride: int = setting(4, "frames that a pass outputs, the oldest of its window", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride > self.window:
            raise SettingError(
                f"stride must be at most window ({self.window}), got {self.stride}: "
                "a pass cannot publish more frames than its window has"
            )


@dataclass(frozen=True)
class SiteConfig(Settings):
    """Test-time adaptation to the site that a node runs at (ROS group `adapt`)."""

    enabled: bool = setting(
        False, "adapt the weights to the camera, in a separate process", live=True
    )
    device: str = setting("cpu", "device for adaptation: cpu, cuda or cuda:N")
    learning_rate: float = setting(5e-4, "learning rate of Adam", minimum=0.0, maximum=1.0)
    max_iterations: int = setting(
        100, "maximum number of iterations per burst of frames", minimum=1
    )
    min_frames: int = setting(
        30,
        "frames of a burst, kept in memory; the last third is held out for the check",
        minimum=12,
        maximum=1000,
    )
    folder: str = setting(
        "", "folder of accepted weights; empty: savos_ros/adapted in the user's cache folder"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)
        if self.enabled and importlib.util.find_spec("torch") is None:
            raise SettingError(f"adapt.enabled needs PyTorch: {PIP['torch']}, or set it to false")


@dataclass(frozen=True)
class AssociationConfig(Settings):
    """Association of masks without IDs (ROS group `track`)."""

    masks: str = setting(
        "amodal",
        "masks are compared with: predicted amodal masks, or last visible masks alone",
        choices=("amodal", "visible"),
    )
    max_age: int = setting(
        30, "frames for which an ID without a mask is kept", minimum=0, maximum=10_000
    )
    sure: float = setting(
        0.5,
        "overlap (IoU) from which a mask is matched in the first stage",
        minimum=0.0,
        maximum=1.0,
    )
    least: float = setting(0.05, "score below which a mask gets a new ID", minimum=0.0, maximum=1.0)
    inside_weight: float = setting(
        0.9,
        "score of a mask inside the expected amodal mask",
        minimum=0.0,
        maximum=1.0,
    )
    reach: float = setting(
        2.0,
        "maximum distance of a mask from its expected position, in diagonals of the object",
        minimum=0.0,
        maximum=100.0,
    )


@dataclass(frozen=True)
class StreamConfig:
    """All settings of one camera's online loop; without `associate`, masks have IDs."""

    tracks: TracksConfig = dataclasses.field(default_factory=TracksConfig)
    compose: ComposeConfig = dataclasses.field(default_factory=ComposeConfig)
    flow: FlowConfig = dataclasses.field(default_factory=FlowConfig)
    associate: AssociationConfig | None = None
