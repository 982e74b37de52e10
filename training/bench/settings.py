"""Options of the training benchmark. Quick to load, for the command line."""

from dataclasses import dataclass

from savos_model.settings import Settings, setting


@dataclass(frozen=True)
class BenchTrainConfig(Settings):
    """How the training benchmark runs."""

    rounds: int = setting(5, "rounds; each measures every variant once", minimum=1)
    tracks: int = setting(4, "objects in a batch", minimum=2, maximum=16)
    frames: int = setting(8, "frames of each object", minimum=3, maximum=40)
    seconds: float = setting(4.0, "shortest time a variant is measured for [s]", minimum=0.0)
    threads: int = setting(1, "CPU threads", minimum=1)
    device: str = setting("cpu", "where the network runs", choices=("cpu", "cuda"))
    seed: int = setting(0, "seed of videos and weights", minimum=0)
