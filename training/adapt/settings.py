"""Options of adaptations. Quick to load, for the command line."""

from dataclasses import dataclass
from pathlib import Path

from savos_model.commands import option
from savos_model.config import SiteConfig, check_device
from savos_model.settings import SettingError, Settings, setting


@dataclass(frozen=True)
class AdaptConfig(Settings):
    """One adaptation; an iteration is an optimiser step on windows drawn from the whole video."""

    learning_rate: float = setting(
        SiteConfig().learning_rate, "learning rate of Adam", minimum=0.0, maximum=1.0
    )
    max_iterations: int = setting(
        SiteConfig().max_iterations, "largest number of iterations", minimum=1
    )
    warmup: int = setting(
        20, "iterations in which the rate rises; the stopping rule begins after them", minimum=0
    )
    ema: float = setting(0.95, "decay of the averaged weights", minimum=0.0, maximum=0.999)
    stop_gain: float = setting(
        0.01, "stop when the visible IoU gained less", minimum=-1.0, maximum=1.0
    )
    stop_window: int = setting(10, "over so many iterations", minimum=1)
    measure_every: int = setting(5, "iterations between measurements", minimum=1)
    batch: int = setting(16, "windows per iteration", minimum=2)
    length: int = setting(8, "frames per window", minimum=3)
    checked: int = setting(48, "windows that measure the visible IoU", minimum=1)
    min_px: int = setting(100, "smallest visible area of a window [px]", minimum=1)
    seed: int = setting(0, "random seed", minimum=0)
    device: str = setting(SiteConfig().device, "cpu, cuda or cuda:N")
    bf16: bool = setting(True, "bfloat16 convolutions")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)
        for name in ("stop_window", "warmup"):
            value = getattr(self, name)
            if value % self.measure_every:
                raise SettingError(
                    f"{name} must be a multiple of measure_every, got {value} and "
                    f"{self.measure_every}: the rule compares measurements {self.stop_window} apart"
                )

    def rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration, counted from 1."""
        return self.learning_rate * min(1.0, iteration / max(1, self.warmup))


@dataclass(frozen=True)
class CurveOptions:
    """Options of the learning curve of one clip."""

    clip: Path = option("a FISHBOWL clip, path without ending")
    types: tuple[str, ...] = option("species scored, with commas; none: all", ())
