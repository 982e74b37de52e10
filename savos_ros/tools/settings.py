"""Options of the tools and the error that ends them. Quick to load, for the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from savos_model.settings import check_settings, setting
from training.street.config import StreetConfig


class DemoError(RuntimeError):
    """The demo cannot go on; the text says what happened and where to look."""


@dataclass(frozen=True)
class DemoOptions:
    """What the demo shows."""

    frames: int = setting(150, "frames of the street scene, at 10 Hz", minimum=2, maximum=10_000)
    seed: int = setting(StreetConfig.seed, "number of the scene", minimum=0, maximum=2**31 - 1)
    weights: str = setting("", "weights of the node; empty for its default")
    backend: str = setting("", "engine of the node; empty for its default")

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def parameters(self) -> dict[str, str]:
        """ROS parameters of the node that differ from its defaults."""
        given = {"model.weights": self.weights, "model.backend": self.backend}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class BenchOptions:
    """What is measured."""

    seconds: float = setting(600.0, "length of the run [s]", minimum=5.0, maximum=1e6)
    tracks: int = setting(10, "masks per frame", minimum=1, maximum=40)
    seed: int = setting(3, "number that fixes the scene", minimum=0, maximum=2**31 - 1)
    weights: str = setting("", "weights of the node; empty for its default")
    refine: bool = setting(False, "with refined masks, which a subscriber takes")
    adapt: bool = setting(False, "with adaptation, in a process of its own")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class CamerasOptions:
    """What is measured."""

    cameras: int = setting(3, "most cameras at once", minimum=1, maximum=16)
    seconds: float = setting(30.0, "length of each run [s]", minimum=5.0, maximum=1e5)
    tracks: int = setting(10, "masks per frame", minimum=1, maximum=40)
    seed: int = setting(3, "number that fixes the scene", minimum=0, maximum=2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class StartOptions:
    """What is measured."""

    rounds: int = setting(5, "rounds, each of a cold and a warm start", minimum=1)
    backend: str = setting("", "engine of the node; empty for its default")
    seed: int = setting(3, "number that fixes the scene", minimum=0, maximum=2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class BenchStreamConfig:
    """How whole frames are measured."""

    rounds: int = setting(20, "rounds; each measures every case once", minimum=1)
    frames: int = setting(5, "frames of a case in a round, after one to warm up", minimum=1)
    threads: int = setting(2, "CPU threads of the network", minimum=1)
    device: str = setting("cpu", "cpu, cuda or cuda:N")
    precision: str = setting("fp32", "fp32; fp16 on a GPU, bf16 on a CPU")
    seed: int = setting(0, "seed of the scenes", minimum=0)
    backend: str = setting("auto", "engine; auto takes the first that runs here")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class ResultsFile:
    """Where measured numbers go."""

    json: Path | None = field(default=None, metadata={"help": "results file to write"})


@dataclass(frozen=True)
class DemoFolder:
    """Where the demo leaves what it made."""

    out: Path = field(default=Path("demo"), metadata={"help": "folder of the results"})
