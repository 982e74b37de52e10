"""Options of the evaluations: what is scored, and how. Quick to load, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from savos_model.commands import option
from savos_model.config import BackendConfig, FlowConfig, StreamConfig
from savos_model.settings import SettingError, Settings, setting
from training.data.settings import KinsSource

if TYPE_CHECKING:
    from savos_model.stream.video import Setup

TRACKERS = ("sort", "bytetrack", "ocsort", "botsort")  # of the package trackers
FILES = "deocclusion:FILE, deocclusion+tta:FILE, oracle:FILE, external:FOLDER"


@dataclass(frozen=True)
class Output:
    """Where results go, and how they are computed."""

    json: Path | None = option("results file to write", None)
    processes: int = setting(0, "worker processes; 0: one per core, for long videos", minimum=0)
    seed: int = option("random seed", 0)


DEFAULT_OUTPUT = Output()


@dataclass(frozen=True)
class RunOptions(Output):
    """How our method runs, and where the results go."""

    weights: str = option("shipped name or .safetensors file", BackendConfig().weights)
    mode: str = option(
        "forward: online; single: each frame as if it were the first; bidirectional: whole video; "
        "lag:N: N frames later",
        "forward",
    )
    flow: str = option(
        "flow of ours: dis_fast, dis_medium; topic: what the data brings", FlowConfig().method
    )

    @property
    def ours(self) -> Setup:
        """Return how our method runs."""
        from savos_model.stream.video import Setup

        stream = StreamConfig(flow=FlowConfig(self.flow))
        return Setup(BackendConfig(self.weights), stream, self.mode)


@dataclass(frozen=True)
class Methods:
    """Which methods are scored."""

    methods: tuple[str, ...] = option(
        f"with commas: ours, visible, convex, {FILES}", ("ours", "visible", "convex")
    )


@dataclass(frozen=True)
class FlowMethods(Methods):
    """Which methods are scored where optical flow can be followed, too."""

    methods: tuple[str, ...] = option(
        f"with commas: ours, visible, convex, flowK, flowK_forward, flowK_backward "
        f"(each also with _any), {FILES}",
        ("ours", "visible", "convex", "flow3", "flow5"),
    )


@dataclass(frozen=True)
class ClipOptions:
    """Clips of a folder in the layout of FISHBOWL."""

    data: Path = option("folder of clips, or of the released test data")


@dataclass(frozen=True)
class FishbowlOptions(ClipOptions):
    """FISHBOWL clips."""

    subset: str = option("of the released test data: test, test1 to test4", "")
    types: tuple[str, ...] = option("species scored, with commas; none: all", ())
    half: bool = option("score the second half of each video alone; adapt learns the first", False)


@dataclass(frozen=True)
class StreetOptions(Settings):
    """Which generated scenes are scored; their masks are exact."""

    scenes: int = setting(12, "scenes, with consecutive seeds", minimum=1)
    frames: int = setting(60, "frames of each", minimum=5)
    first_seed: int = setting(1000, "seed of the first; far from those trained on", minimum=0)


@dataclass(frozen=True)
class KinsOptions(KinsSource):
    """Drives of KINS-Video-Car in either layout."""

    split: str = option("train, val or test of the released set", "test")


@dataclass(frozen=True)
class GumOptions(Settings):
    """A set of Chewing Gum videos."""

    data: Path | None = option("folder of the released generator; none: generate", None)
    videos: int = setting(1000, "videos to generate; of a folder all are taken", minimum=1)
    video_seed: int = option("seed of the generated videos", 1)


@dataclass(frozen=True)
class KittiOptions(Settings):
    """Sequences in the KITTI MOTS layout."""

    data: Path = option("folder of KITTI MOTS")
    sequences: tuple[str, ...] = option("four-digit names, with commas")
    masks: str = setting("truth", "input masks: truth or tracker", choices=("truth", "tracker"))
    shrink: int = setting(0, "erosion of all given masks [px]", minimum=0, maximum=20)
    half: bool = option("score the second half of each video alone; adapt learns the first", False)


@dataclass(frozen=True)
class LagOptions:
    """Modes that are compared."""

    modes: tuple[str, ...] = option(
        "with commas; gains are over the first, shares of the last",
        ("forward", "lag:2", "lag:5", "lag:10", "lag:20", "bidirectional"),
    )


@dataclass(frozen=True)
class TrackingOptions(Settings):
    """Videos whose tracks are known; each set takes the options that concern it."""

    set: str = setting(
        "street",
        "data set: street (generated), fishbowl, rendered or kitti",
        choices=("street", "fishbowl", "rendered", "kitti"),
    )
    data: Path | None = option("folder of the clips, or of KITTI MOTS", None)
    sequences: tuple[str, ...] = option("of KITTI MOTS: four-digit names, with commas", ())
    scenes: int = option("generated scenes, with consecutive seeds", StreetOptions().scenes)
    frames: int = option("frames of each", StreetOptions().frames)
    trackers: tuple[str, ...] = option(
        f"also IDs by trackers of the package trackers, with commas: {', '.join(TRACKERS)}", ()
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.trackers if name not in TRACKERS]:
            raise SettingError(
                f"trackers must be of {', '.join(TRACKERS)}, got {', '.join(unknown)}", "choices"
            )
        if self.set != "street" and self.data is None:
            raise SettingError(f"data must be a folder for set {self.set}, got none: give --data")
