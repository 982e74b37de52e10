"""Test-time adaptation behind the node: feeds the process that learns, takes its weights."""

from __future__ import annotations

import contextlib
import enum
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from savos_model.adaptation_link import SiteError, Start, file_of, name_of
from savos_model.config import SiteConfig
from savos_model.memory import give_back_memory
from savos_model.network.weights import Weights, WeightsError, load_weights
from savos_model.types import Frame
from savos_ros.node.adaptation_process import HANG_S, SiteProcess
from savos_ros.node.engine import Engine
from savos_ros.node.refinement import lower_priority

POLL_S = 0.2
WAITING = 4  # frames that may wait to be handed over
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # before the process is started again
COUNTS = ("accepted", "rejected", "rolled_back", "skipped", "restarts", "frames_dropped")


class Log(Protocol):
    """The two levels of a ROS logger that are used here."""

    def info(self, text: str) -> Any:
        """Log what went well."""

    def warning(self, text: str) -> Any:
        """Log what a user should look at."""


class State(enum.Enum):
    """What the adaptation does; the values stand in /diagnostics.

    OFF -> STARTING -> COLLECTING -> ADAPTING -> CHECKING -> COLLECTING and so on; an error leads
    from each of them to DOWN, which leads to STARTING again; switched off, each leads to OFF.
    """

    OFF = "off"  # not enabled, or the node is not active
    STARTING = "starting"  # a process comes up
    COLLECTING = "collecting"  # it takes frames of a burst, the only state that does
    ADAPTING = "adapting"  # it learns from a burst
    CHECKING = "checking"  # it compares old and new weights on frames held out
    DOWN = "down"  # it failed; the next one starts after a pause


class Order(enum.Enum):
    """What other threads ask of the one that talks to the process."""

    ROLL_BACK = "go back to the base weights"
    STOP = "end"


@dataclass
class Burst:
    """The frames that were handed over since the process last asked for some."""

    sent: int = 0
    broken: bool = False  # a frame was dropped: the next one does not follow the one before


class Adaptation:
    """Keeps a process at work that adapts the weights in use, and offers what it accepted.

    It lives as long as the engine, so that weights and their numbering outlast a deactivation. The
    thread behind it talks to the process; what is called from other threads returns at once.

    Args:
        engine: whose weights are adapted.
        config: of the adaptation.
        folder: where accepted weights are kept.
        log: where decisions and failures are logged.
    """

    def __init__(self, engine: Engine, config: SiteConfig, folder: Path, log: Log) -> None:
        self._backend, self._config, self._folder, self._log = (
            engine.stream.backend, config, folder, log,
        )  # fmt: skip
        self._base = self._weights = self._backend.weights
        self._version = self._last_version = 0  # of self._weights; the last one given out
        self._enabled = config.enabled
        self._state, self._problem = State.OFF, ""
        self._facts: dict[str, Any] = {}
        self._counts = Counter(dict.fromkeys(COUNTS, 0))
        self._lock = threading.Lock()
        self._ready: Callable[[], None] | None = None  # puts other weights in force
        self._frames: queue.Queue[tuple[Frame, bool]] = queue.Queue(WAITING)
        self._burst = Burst()
        self._pause_s = FIRST_PAUSE_S
        self._wake = threading.Event()  # there is an order, or `_enabled` has changed
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._process: SiteProcess | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work, as far as it is enabled."""
        self._thread = threading.Thread(target=self._run, name="savos_adapt")
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> bool:
        """End process and thread; weights in use stay. False when the thread does not end."""
        if self._thread is None:
            return True
        self._orders.put(Order.STOP)
        self._interrupt()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def set_enabled(self, enabled: bool) -> None:
        """Switch the adaptation on or off; off, the weights in use stay."""
        if enabled != self._enabled:
            self._enabled = enabled
            self._interrupt()

    def roll_back(self) -> None:
        """Go back to the base weights; later bursts start from there."""
        self._orders.put(Order.ROLL_BACK)
        self._interrupt()

    @property
    def collecting(self) -> bool:
        """Whether it takes frames."""
        return self._state is State.COLLECTING

    def put(self, frame: Frame, fresh: bool) -> None:
        """Take an answered frame where one is wanted; for the worker thread.

        `fresh` says that the frame does not follow the one before.
        """
        if not self.collecting:
            return
        burst = self._burst
        try:
            self._frames.put_nowait((frame, fresh or burst.broken))
            burst.broken = False
        except queue.Full:
            burst.broken = True
            self._counts["frames_dropped"] += 1

    def take(self) -> Callable[[], None] | None:
        """What puts newer weights in force when called between two frames; None without any."""
        with self._lock:
            ready, self._ready = self._ready, None
        return ready

    def report(self) -> tuple[str, dict[str, str]]:
        """What is wrong ("" when nothing), and values for /diagnostics."""
        with self._lock:
            facts, counts = dict(self._facts), dict(self._counts)
        shown = {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in facts.items()}
        values = shown | {"version": str(self._version)} | {k: str(v) for k, v in counts.items()}
        return self._problem, {"adapt": self._state.value} | {
            f"adapt.{k}": v for k, v in values.items()
        }

    def _interrupt(self) -> None:
        self._wake.set()
        process = self._process
        if process is not None:
            process.kill()

    def _run(self) -> None:
        lower_priority()
        while True:
            self._wake.clear()  # before a look at what it announces
            try:
                if self._obey() is Order.STOP:
                    break
                if self._enabled:
                    self._session()
                else:
                    self._state, self._problem = State.OFF, ""
                    self._wake.wait()
            except Exception as error:  # whatever it is, the node keeps the weights in use
                if not self._wake.is_set():
                    self._down(error)
        self._state, self._problem = State.OFF, ""

    def _obey(self) -> Order | None:
        """Carry the orders out; returns STOP when that is one of them."""
        with contextlib.suppress(queue.Empty):
            while True:
                order = self._orders.get_nowait()
                if order is Order.STOP:
                    return order
                self._use(self._base, 0)
        return None

    def _session(self) -> None:
        """One life of the process, until it fails (an error) or something else is wanted."""
        self._state = State.STARTING
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with SiteProcess() as process:
                self._process = process
                if self._wake.is_set():
                    return  # by somebody who saw no process to end
                parts = (self._base, self._weights, self._last_version, self._config, self._folder)
                process.send(Start(*parts))
                heard_s = time.monotonic()
                while not self._wake.is_set():
                    if process.waits(0 if self.collecting else POLL_S):
                        self._hear(process.hear())
                    elif self.collecting:
                        self._feed(process)
                    elif time.monotonic() - heard_s > HANG_S:
                        raise SiteError(f"it gave no sign of life for {HANG_S} s")
                    else:
                        continue
                    heard_s = time.monotonic()
        finally:
            self._process, self._state = None, State.STARTING

    def _feed(self, process: SiteProcess) -> None:
        """Hand one frame over, of a burst of consecutive ones."""
        try:
            frame, fresh = self._frames.get(timeout=POLL_S)
        except queue.Empty:
            return
        burst = self._burst
        if fresh and burst.sent:
            process.send(None)
            burst.sent = 0
        process.send(frame)
        burst.sent += 1
        if burst.sent >= self._config.min_frames:
            self._state = State.ADAPTING  # weights accepted before this burst are active by now
            give_back_memory()  # of the engines before them, and of the frames

    def _hear(self, facts: dict[str, Any]) -> None:
        """Act on what the process says."""
        if "error" in facts:
            raise SiteError(facts["error"])
        if "decision" in facts:
            self._decided(facts["decision"], facts.get("version", 0))
            self._pause_s = FIRST_PAUSE_S
            self._log.info(f"adaptation: {facts['decision']}: {facts.get('reason', '')}")
        with self._lock:
            self._facts |= {k: v for k, v in facts.items() if k not in ("state", "version")}
        if facts.get("state") == "collecting":
            self._problem = ""
            while not self._frames.empty():  # of a burst before
                self._frames.get_nowait()
            self._burst = Burst()
        if "state" in facts:
            self._state = State(facts["state"])

    def _decided(self, decision: str, version: int) -> None:
        if decision == "accepted":
            if version != self._last_version + 1:
                raise SiteError(f"it accepted version {version} after {self._last_version}")
            self._use(self._read(version), version)
            self._last_version = version
        elif decision == "rolled_back":
            self._use(self._base, 0)
        with self._lock:
            self._counts[decision] += 1

    def _read(self, version: int) -> Weights:
        """Accepted weights, checked; what is wrong with them is removed."""
        path = file_of(self._folder, name_of(self._base, version))
        try:
            weights = load_weights(str(path))
            if weights.model != self._base.model:
                raise WeightsError(f"{path} is of another network")
        except WeightsError:
            path.unlink(missing_ok=True)
            raise
        return weights

    def _use(self, weights: Weights, version: int) -> None:
        """Make an engine of the weights aside, and offer it."""
        ready = self._backend.update_weights(weights)
        with self._lock:
            self._ready, self._weights, self._version = ready, weights, version

    def _down(self, error: Exception) -> None:
        """Say what happened, and wait before the next start."""
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._state = State.DOWN
        self._problem = f"adaptation is down: {error}; it starts again {pause:.0f} s later"
        self._log.warning(self._problem)
        with self._lock:
            self._counts["restarts"] += 1
        self._wake.wait(pause)
