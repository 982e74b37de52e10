"""Options of `savos report`. Quick to load, for the command line."""

from dataclasses import dataclass
from pathlib import Path

from savos_model.commands import option
from savos_model.config import BackendConfig
from savos_model.settings import Settings, setting

WEIGHTS = BackendConfig().weights
RESULTS, REPORT = Path("docs/results"), Path("docs/report")


@dataclass(frozen=True)
class CollectOptions(Settings):
    """Options of recording the inside of the network over clips."""

    data: Path = option("folder of FISHBOWL clips")
    weights: str = option("shipped name or .safetensors file", WEIGHTS)
    out: Path = option("folder of alpha.json and tsne.json", RESULTS)
    processes: int = setting(1, "worker processes", minimum=1)
    seed: int = option("seed of t-SNE", 0)


@dataclass(frozen=True)
class StripOptions:
    """Videos whose completed objects are drawn."""

    data: Path | None = option("folder of FISHBOWL clips", None)
    clips: tuple[str, ...] = option("names of its clips, with commas", ())
    gum: tuple[str, ...] = option("indices of generated Chewing Gum videos", ())
    street: tuple[str, ...] = option("seeds of generated street clips", ())
    weights: str = option("shipped name or .safetensors file", WEIGHTS)
    out: Path = option("folder of the report", REPORT)
    results: Path = option("folder of strips.json", RESULTS)


@dataclass(frozen=True)
class MethodOptions(Settings):
    """The scene that is followed through the method."""

    street: int = setting(5, "seed of the generated street", minimum=0)
    weights: str = option("shipped name or .safetensors file", WEIGHTS)
    out: Path = option("folder of the pictures", Path("docs/images/method"))


@dataclass(frozen=True)
class RunsOptions:
    """Training runs that are compared."""

    runs: tuple[Path, ...] = option("folders of savos train --out", argument=True)
    json: Path | None = option("results file to write: docs/results/runs_NAME.json", None)
