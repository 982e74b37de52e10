"""Run the method over videos: online as on a robot, or with the bidirectional pass."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from savos_model.config import BackendConfig, RefineConfig, StreamConfig
from savos_model.network.weights import Weights
from savos_model.settings import SettingError
from savos_model.types import AmodalObject, Frame

WHOLE = RefineConfig(window=10_000, stride=10_000)  # longer than a video: due at its end
LAG = re.compile(r"lag:([1-9][0-9]{0,3})")
MODES = (
    "forward (online), single (each frame as if it were the first), "
    "bidirectional (whole video), lag:N (N frames later)"
)


def refine_config(mode: str) -> RefineConfig | None:
    """Return the pass of a mode of MODES, None for forward and single.

    Raises SettingError: no such mode.
    """
    if mode in ("forward", "single"):
        return None
    if mode == "bidirectional":
        return WHOLE
    lag = LAG.fullmatch(mode)
    if not lag:
        raise SettingError(f"--mode must be one of {MODES}, got {mode!r}", "choices")
    return RefineConfig(window=int(lag[1]) + 1, stride=1)


@dataclass(frozen=True)
class Setup:
    """Settings of our method in an evaluation: weights and engine, stream, one of MODES."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    mode: str = "forward"

    def __post_init__(self) -> None:
        refine_config(self.mode)


def cropped_as_trained(stream: StreamConfig, info: Mapping[str, str]) -> StreamConfig:
    """Return the stream with the crop factor that the weights were trained with, if known."""
    if "enlarge" not in info:
        return stream
    tracks = dataclasses.replace(stream.tracks, enlarge=float(info["enlarge"]))
    return dataclasses.replace(stream, tracks=tracks)


def described(weights: Weights) -> dict:
    """Return name, network settings and training data of weights, for results."""
    return {
        "weights": weights.name,
        "settings": dataclasses.asdict(weights.model),
        "training": weights.info,
    }


class Online:
    """Our method with loaded weights; `model` describes them for result files."""

    def __init__(self, setup: Setup) -> None:
        # Imported here, so that heuristics can be scored without a network engine.
        from savos_model.backends.choose import make_backend

        self.refine, self.single = refine_config(setup.mode), setup.mode == "single"
        self.engine = make_backend(setup.backend)
        weights = self.engine.weights
        self.stream = cropped_as_trained(setup.stream, weights.info)
        self.model = {"engine": self.engine.name, **described(weights)}

    def run(self, frames: Iterable[Frame]) -> Iterator[list[AmodalObject]]:
        """Yield the objects of each frame of a video in order; read `frames` lazily."""
        from savos_model.stream.refine import WindowRefiner
        from savos_model.stream.stream import AmodalStream

        stream = AmodalStream(self.engine, self.stream, records=self.refine is not None)
        if self.refine is None:
            for frame in frames:
                if self.single:  # what memory and motion add is the difference to forward
                    stream.reset()
                yield stream.step(frame)
            return
        refiner = WindowRefiner(self.engine, self.stream, self.refine)
        for frame in frames:
            stream.step(frame)
            if stream.report.reset:
                yield from (done.objects for done in refiner.flush())
            if stream.record is not None:
                refiner.push(stream.record)
            if refiner.due:
                yield from (done.objects for done in refiner.refine())
        yield from (done.objects for done in refiner.flush())
