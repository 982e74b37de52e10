"""Options of the tools and the error that ends them. Quick to load, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from savos_model.commands import option
from savos_model.config import BackendConfig, ModelConfig
from savos_model.settings import SettingError, Settings, UserError, setting
from training.street.config import StreetConfig

LOOP_FRAMES = 100  # of a soak
TRACKS = (1, 4, 10, 20, 50)  # in a step
PRECISIONS = ("fp32", "fp16", "bf16")


class DemoError(UserError):
    """The demo cannot continue; the text says what happened and where to look."""


@dataclass(frozen=True)
class DemoOptions(Settings):
    """Scene and node of the demo."""

    frames: int = setting(150, "frames of the street scene, at 10 Hz", minimum=2, maximum=10_000)
    seed: int = setting(StreetConfig.seed, "seed of the scene", minimum=0, maximum=2**31 - 1)
    weights: str = setting("", "weights of the node; empty for its default")
    backend: str = setting("", "engine of the node; empty for its default")

    @property
    def parameters(self) -> dict[str, str]:
        """Return the ROS parameters of the node that differ from its defaults."""
        given = {"model.weights": self.weights, "model.backend": self.backend}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class NodeOptions(Settings):
    """Settings of a measured node."""

    weights: str = setting("", "weights of the node; empty for its default")
    refine: bool = setting(False, "also publish refined masks, to a subscriber")
    adapt: bool = setting(False, "also adapt, in a separate process")


@dataclass(frozen=True)
class SceneOptions(Settings):
    """Scene that is sent to the nodes."""

    tracks: int = setting(10, "masks per frame", minimum=1, maximum=40)
    seed: int = setting(3, "seed of the scene", minimum=0, maximum=2**31 - 1)


@dataclass(frozen=True)
class BenchOptions(NodeOptions, SceneOptions):
    """How a node is measured."""

    seconds: float = setting(600.0, "length of the run [s]", minimum=5.0, maximum=1e6)


@dataclass(frozen=True)
class CamerasOptions(SceneOptions):
    """How several cameras are measured."""

    cameras: int = setting(3, "largest number of cameras", minimum=1, maximum=16)
    seconds: float = setting(30.0, "length of each run [s]", minimum=5.0, maximum=1e5)


@dataclass(frozen=True)
class StartOptions(Settings):
    """How cold and warm starts are measured."""

    rounds: int = setting(5, "rounds, each of a cold and a warm start", minimum=1)
    backend: str = setting("", "engine of the node; empty for its default")
    seed: int = setting(3, "seed of the scene", minimum=0, maximum=2**31 - 1)


@dataclass(frozen=True)
class BenchStreamConfig(Settings):
    """How whole frames are measured."""

    rounds: int = setting(20, "rounds; each measures every case once", minimum=1)
    frames: int = setting(5, "frames of a case in a round, after one to warm up", minimum=1)
    threads: int = setting(2, "CPU threads of the network", minimum=1)
    device: str = setting("cpu", "cpu, cuda or cuda:N")
    precision: str = setting("fp32", "fp32; fp16 on a GPU, bf16 on a CPU")
    seed: int = setting(0, "seed of the scenes", minimum=0)
    backend: str = setting("auto", "engine; auto takes the first that runs here")


@dataclass(frozen=True)
class BenchMemoryConfig(Settings):
    """How memory is measured."""

    frames: int = setting(12, "frames of each case", minimum=1)
    threads: int = setting(2, "CPU threads of the network", minimum=1)
    seed: int = setting(0, "seed of the scenes", minimum=0)


ENGINES = ("onnx", "openvino", "torch", "tensorrt")
NETWORKS = {
    "online, width 0.5": ModelConfig(),
    "paper, width 1.0": ModelConfig(width=1.0, preset="paper", patch_height=64, patch_width=128),
}


@dataclass(frozen=True)
class BenchStepConfig(Settings):
    """How steps are measured."""

    rounds: int = setting(7, "rounds; medians are reported", minimum=1)
    seconds: float = setting(0.3, "time for each number in a round [s]", minimum=0.0)
    threads: int = setting(1, "CPU threads of the network", minimum=1)
    device: str = setting("cpu", "cpu, cuda or cuda:N")
    precision: str = setting(
        "fp32", "measured next to fp32: fp16 on a GPU, bf16 on a CPU", choices=PRECISIONS
    )
    tracks: tuple[int, ...] = option("numbers of tracks (may be repeated)", TRACKS, repeated=True)
    engine: tuple[str, ...] = option("engines (may be repeated)", ENGINES, repeated=True)
    network: tuple[str, ...] = option(
        "networks by their names in the table (may be repeated); none: all", (), repeated=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.network:
            if name not in NETWORKS:
                known = ", ".join(NETWORKS)
                raise SettingError(f"network must be one of {known}, got {name!r}: choose one")


@dataclass(frozen=True)
class SoakOptions(NodeOptions):
    """Length, load and checks of a soak run."""

    hours: float = setting(
        24.0, "length of the recording at 10 Hz [h]", minimum=0.001, maximum=100_000.0
    )
    size: str = setting("160x96", "image columns x rows [px]")
    tracks: int = setting(3, "largest number of masks per frame", minimum=1, maximum=40)
    seed: int = setting(6, "seed of the scene", minimum=0, maximum=2**31 - 1)
    ahead: int = setting(2, "frames in flight", minimum=1, maximum=100)
    samples: int = setting(200, "measurements over the run", minimum=2, maximum=100_000)
    warm_up: float = setting(
        0.0,
        "time that the verdict ignores, at least a tenth of the run [h]",
        minimum=0.0,
        maximum=100_000.0,
    )
    fresh: int = setting(
        30, "rounds at the end that alternate with a new node; 0: none", minimum=0,
        maximum=10_000,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        sides = self.size.split("x")
        if len(sides) != 2 or not all(side.isdecimal() for side in sides):
            raise SettingError(f"size must be COLUMNSxROWS such as 160x96, got {self.size}")
        _ = self.scene  # refuses sides out of range

    @property
    def scene(self) -> StreetConfig:
        """Return the settings of the loop: crowded, its tracker loses objects often."""
        width, height = map(int, self.size.split("x"))
        return StreetConfig(
            seed=self.seed, frames=LOOP_FRAMES, width=width, height=height, density=2.0,
            lost_share=0.1, min_tracked_px=20, min_full_px=100,
        )  # fmt: skip


@dataclass(frozen=True)
class GpuOptions(Settings):
    """Steps of a benchmark on a GPU, and their time limit."""

    minutes: float = setting(
        8.0, "time limit of all steps together [min]", minimum=0.5, maximum=60.0
    )
    dry_run: bool = setting(False, "short run on the CPU, to try the command")
    weights: str = setting(BackendConfig.weights, "shipped name or .safetensors file")
    only: tuple[str, ...] = setting((), "steps to run, with commas; empty for all")
    seed: int = setting(0, "seed of scenes and weights", minimum=0, maximum=2**31 - 1)

    @property
    def plan(self) -> GpuPlan:
        """Return how much is measured."""
        if self.dry_run:
            return GpuPlan(
                "cpu", self.weights, self.seed, precisions=("fp32",), tracks=(1, 4),
                frame_tracks=(4,), image=(96, 320), seconds=0.05, sequence=3, iterations=2,
                windows=2, trained=("default",), batch=(2, 3),
            )  # fmt: skip
        return GpuPlan("cuda", self.weights, self.seed)


@dataclass(frozen=True)
class GpuPlan:
    """Input of each step of `savos bench gpu`; plain JSON values."""

    device: str  # cuda or cpu
    weights: str  # shipped name or file
    seed: int  # of scenes and weights
    precisions: tuple[str, ...] = ("fp32", "fp16")  # of the engines
    tracks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)  # numbers of tracks in a step
    frame_tracks: tuple[int, ...] = (1, 4, 16, 64)  # numbers of tracks in whole frames
    image: tuple[int, int] = (375, 1242)  # rows and columns of these frames [px]
    seconds: float = 1.0  # shortest time for one number [s]
    sequence: int = 20  # steps in a row whose states are compared at the end
    iterations: int = 60  # of the adaptation that runs next to an engine
    windows: int = 48  # of an iteration of it, and those that measure it
    # Ways of training, of training.bench.train
    trained: tuple[str, ...] = ("default", "short", "paper_bf16")
    batch: tuple[int, int] = (16, 8)  # tracks and frames of a training step
