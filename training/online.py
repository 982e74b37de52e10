"""Opens the online stream for an evaluation."""

from __future__ import annotations

from typing import Protocol

from savos_model.config import BackendConfig, StreamConfig
from savos_model.types import AmodalObject, Frame


class Stream(Protocol):
    """What evaluations need of the stream."""

    def step(self, frame: Frame) -> list[AmodalObject]:
        """Complete the objects of the next frame."""

    def reset(self) -> None:
        """Forget all tracks, before another video."""


def open_stream(backend: BackendConfig, stream: StreamConfig) -> tuple[Stream, dict[str, str]]:
    """Build the stream exactly as a robot runs it.

    Returns:
        The stream, and what runs in it: weights and engine, for result files.
    """
    # Imported here, so that rules alone are scored without a network engine.
    from savos_model.backends.base import make_backend
    from savos_model.stream import AmodalStream

    engine = make_backend(backend)
    return AmodalStream(engine, stream), {"weights": engine.weights_name, "engine": engine.name}
