"""Loads weights and backend for a node, with a sign of life while it takes long."""

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
    """What one configured node works with.

    Attributes:
        stream: the online loop of this camera.
        backend: name of the engine.
        reason: why this engine was chosen.
    """

    stream: AmodalStream
    backend: str
    reason: str

    @property
    def weights(self) -> Weights:
        """The weights in force; adaptation changes them between two frames."""
        return self.stream.backend.weights


def load_engine(settings: NodeSettings) -> Engine:
    """Load weights and start the engine.

    Raises:
        WeightsError, BackendError: the text says what to do.
    """
    backend = make_backend(settings.model, measure=True)
    stream = AmodalStream(backend, settings.stream)
    return Engine(stream, backend.name, backend.reason)


def crop_advice(engine: Engine) -> str:
    """What to set where the weights learnt from other crops than the stream cuts; "" if nothing."""
    learnt = engine.weights.info.get("enlarge", "")
    used = engine.stream.config.tracks.enlarge
    if not learnt or learnt == str(used):
        return ""
    return (
        f"tracks.enlarge is {used}, the weights {engine.weights.name} learnt from boxes enlarged "
        f"{learnt} times: set it to {learnt}"
    )


def background(backend: Backend, weights: Weights) -> Backend:
    """An engine for a thread beside the stream's.

    On ONNX Runtime and OpenVINO one of these weights that runs in the calling thread, with its
    priority: threads shared with the stream's engine would take the stream's turn. Other engines
    are shared, with the weights that they have.
    """
    if backend.name not in ("onnx", "openvino"):
        return backend
    config = BackendConfig(threads=1, precision=getattr(backend, "precision", "fp32"))
    return start(backend.name, weights, config, backend.reason)


@contextmanager
def progress(
    what: str, say: Callable[[str], None], every_s: float = REPORT_EVERY_S
) -> Iterator[None]:
    """Say that something begins, that it still goes on every few seconds, and how long it took."""
    done, begun = threading.Event(), time.monotonic()

    def tell() -> None:
        while not done.wait(every_s):
            say(f"{what}: still at it after {time.monotonic() - begun:.0f} s")

    say(f"{what} ...")
    teller = threading.Thread(target=tell, name="savos_progress")
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
    say(f"{what}: done in {time.monotonic() - begun:.1f} s")
