"""Options of `savos prepare models`. Quick to load, for the command line."""

import math
from dataclasses import dataclass
from pathlib import Path

from savos_model.commands import option
from savos_model.settings import SettingError, Settings, setting

KINDS = ("table", "street")
UPS = ("auto", "y", "z")


@dataclass(frozen=True)
class RenderOptions(Settings):
    """Which clips are rendered."""

    assets: Path = option("folder of .glb, .gltf, .obj, .ply, .stl files")
    out: Path = option("folder of the rendered clips")
    kind: str = setting("table", "table (piles) or street", choices=KINDS)
    clips: int = setting(60, "clips to render", minimum=1)
    seed: int = setting(0, "seed of the first clip", minimum=0, maximum=2**31)
    frames: int = setting(60, "frames of a clip", minimum=2, maximum=1000)
    processes: int = setting(1, "worker processes", minimum=1)


@dataclass(frozen=True)
class AssetOptions(Settings):
    """How files of models are understood; `allowed` bounds the longest side of a model [m]."""

    scale: float = option("metres of a unit of the files, such as 0.001 for millimetres", 1.0)
    size: float | None = option("longest side of every model [m], instead of --scale", None)
    up: str = setting("auto", "axis up in the files: y, z; auto: y in glTF, else z", choices=UPS)
    allowed: tuple[float, float] = (0.01, 30.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SettingError(f"--{name} must be a positive number, got {value}", "bounds")
        if self.size is not None and self.scale != 1.0:
            raise SettingError("--size replaces the files' sizes, --scale converts them: give one")
