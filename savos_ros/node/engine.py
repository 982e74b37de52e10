"""Load weights and engine of a node, and report progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from savos_model.backends.choose import make_backend, start
from savos_model.backends.interface import Backend
from savos_model.config import BackendConfig
from savos_model.network.weights import Weights
from savos_model.stream.stream import AmodalStream
from savos_ros.messages.settings import NodeSettings

REPORT_EVERY_S = 10.0


@dataclass(frozen=True)
class Engine:
    """Stream and engine (`backend`, chosen for a `reason`) of a configured node."""

    stream: AmodalStream
    backend: str
    reason: str

    @property
    def weights(self) -> Weights:
        """Return the active weights; adaptation replaces them between two frames."""
        return self.stream.backend.weights


def load_engine(settings: NodeSettings) -> Engine:
    """Load weights and start the engine; raises WeightsError, BackendError with the remedy."""
    backend = make_backend(settings.model, measure=True)
    stream = AmodalStream(backend, settings.stream)
    return Engine(stream, backend.name, backend.reason)


def crop_advice(engine: Engine) -> str:
    """Return a hint if the weights were trained with another crop scale, else ""."""
    trained = engine.weights.info.get("enlarge", "")
    used = engine.stream.config.tracks.enlarge
    if not trained or trained == str(used):
        return ""
    return (
        f"tracks.enlarge is {used}, but the weights {engine.weights.name} were trained with "
        f"{trained}: set it to {trained}"
    )


def background(backend: Backend, weights: Weights) -> Backend:
    """Return an engine for a background thread.

    On ONNX Runtime and OpenVINO it is a separate one with these weights, which runs in the calling
    thread and with its priority: threads shared with the stream's engine would delay the stream.
    Other engines are shared, with the weights that they have.
    """
    if backend.name not in ("onnx", "openvino"):
        return backend
    config = BackendConfig(threads=1, precision=getattr(backend, "precision", "fp32"))
    return start(backend.name, weights, config, backend.reason)


@contextmanager
def progress(
    what: str, say: Callable[[str], None], every_s: float = REPORT_EVERY_S
) -> Iterator[None]:
    """Log the start of an operation, its progress every few seconds, and its duration."""
    done, begun = threading.Event(), time.monotonic()

    def report() -> None:
        while not done.wait(every_s):
            say(f"{what}: in progress for {time.monotonic() - begun:.0f} s")

    say(f"{what} ...")
    reporter = threading.Thread(target=report, name="savos_progress")
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
    say(f"{what}: done in {time.monotonic() - begun:.1f} s")
