"""Run test-time adaptation: feed the adaptation process and offer its weights."""

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
from typing import Any

from savos_model.adaptation_link import SiteError, Start, file_of, name_of
from savos_model.config import SiteConfig
from savos_model.memory import give_back_memory
from savos_model.network.weights import Weights, WeightsError, load_weights
from savos_model.types import Frame
from savos_ros.node.adaptation_process import HANG_S, SiteProcess
from savos_ros.node.engine import Engine
from savos_ros.node.interfaces import Log
from savos_ros.node.refinement import lower_priority

POLL_S = 0.2
WAITING = 4  # frames that may wait for their transfer
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # before the process is restarted
COUNTS = ("accepted", "rejected", "rolled_back", "skipped", "restarts", "frames_dropped")


class State(enum.Enum):
    """State of the adaptation; the values appear in /diagnostics.

    OFF -> STARTING -> COLLECTING -> ADAPTING -> CHECKING -> COLLECTING and so on. An error in any
    state leads to DOWN, then to STARTING. Disabling it leads to OFF from any state.
    """

    OFF = "off"  # not enabled, or the node is not active
    STARTING = "starting"  # the process starts
    COLLECTING = "collecting"  # receives the frames of a burst; no other state does
    ADAPTING = "adapting"  # trains on a burst
    CHECKING = "checking"  # compares old and new weights on held-out frames
    DOWN = "down"  # failed; restarts after a pause


class Order(enum.Enum):
    """Requests of other threads to the one that communicates with the process."""

    ROLL_BACK = "go back to the base weights"
    STOP = "end"


@dataclass
class Burst:
    """The frames transferred since the process last requested a burst."""

    sent: int = 0
    broken: bool = False  # a frame was dropped: the next one is not consecutive


class Adaptation:
    """Supervises the process that adapts the active weights, and offers accepted ones.

    It lives as long as the engine, whose weights it adapts, so that weights and their numbering
    survive a deactivation. Its thread communicates with the process; calls from other threads
    return immediately. `folder` stores accepted weights; `log` gets decisions and failures.
    """

    def __init__(self, engine: Engine, config: SiteConfig, folder: Path, log: Log) -> None:
        self._backend, self._config, self._folder, self._log = (
            engine.stream.backend, config, folder, log,
        )  # fmt: skip
        self._base = self._weights = self._backend.weights
        self._version = self._last_version = 0  # of self._weights; the last accepted
        self._enabled = config.enabled
        self._state, self._problem = State.OFF, ""
        self._facts: dict[str, Any] = {}
        self._counts = Counter(dict.fromkeys(COUNTS, 0))
        self._lock = threading.Lock()
        self._ready: Callable[[], None] | None = None  # activates other weights
        self._frames: queue.Queue[tuple[Frame, bool]] = queue.Queue(WAITING)
        self._burst = Burst()
        self._pause_s = FIRST_PAUSE_S
        self._wake = threading.Event()  # there is an order, or `_enabled` has changed
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._process: SiteProcess | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; it adapts while enabled."""
        self._thread = threading.Thread(target=self._run, name="savos_adapt")
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Stop process and thread, keep the weights; return False if the thread does not end."""
        if self._thread is None:
            return True
        self._orders.put(Order.STOP)
        self._interrupt()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def set_enabled(self, enabled: bool) -> None:
        """Enable or disable adaptation; disabling it keeps the active weights."""
        if enabled != self._enabled:
            self._enabled = enabled
            self._interrupt()

    def roll_back(self) -> None:
        """Restore the base weights; later bursts start from there."""
        self._orders.put(Order.ROLL_BACK)
        self._interrupt()

    @property
    def collecting(self) -> bool:
        """Return whether it accepts frames."""
        return self._state is State.COLLECTING

    def put(self, frame: Frame, fresh: bool) -> None:
        """Queue a processed frame while it collects; for the worker thread.

        `fresh`: the frame does not follow the previous one.
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
        """Return a callable that activates newer weights between two frames; None without any."""
        with self._lock:
            ready, self._ready = self._ready, None
        return ready

    def report(self) -> tuple[str, dict[str, str]]:
        """Return the problem ("" if there is none) and values for /diagnostics."""
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
            self._wake.clear()  # before reading what it announces
            try:
                if self._obey() is Order.STOP:
                    break
                if self._enabled:
                    self._session()
                else:
                    self._state, self._problem = State.OFF, ""
                    self._wake.wait()
            except Exception as error:  # whatever fails, the node keeps the active weights
                if not self._wake.is_set():
                    self._down(error)
        self._state, self._problem = State.OFF, ""

    def _obey(self) -> Order | None:
        """Execute the orders; return STOP if it is one of them."""
        with contextlib.suppress(queue.Empty):
            while True:
                order = self._orders.get_nowait()
                if order is Order.STOP:
                    return order
                self._use(self._base, 0)
        return None

    def _session(self) -> None:
        """Run the process until it fails (raises) or an order arrives."""
        self._state = State.STARTING
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with SiteProcess() as process:
                self._process = process
                if self._wake.is_set():
                    return  # set by a caller that had no process to kill
                parts = (self._base, self._weights, self._last_version, self._config, self._folder)
                process.send(Start(*parts))
                heard_s = time.monotonic()
                while not self._wake.is_set():
                    if process.waits(0 if self.collecting else POLL_S):
                        self._hear(process.hear())
                    elif self.collecting:
                        self._feed(process)
                    elif time.monotonic() - heard_s > HANG_S:
                        raise SiteError(f"the process did not respond for {HANG_S} s")
                    else:
                        continue
                    heard_s = time.monotonic()
        finally:
            self._process, self._state = None, State.STARTING

    def _feed(self, process: SiteProcess) -> None:
        """Transfer one frame of a burst of consecutive frames."""
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
            self._state = State.ADAPTING  # weights accepted before this burst are active
            give_back_memory()  # of replaced engines and of frames

    def _hear(self, facts: dict[str, Any]) -> None:
        """Act on a message of the process."""
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
            while not self._frames.empty():  # of the previous burst
                self._frames.get_nowait()
            self._burst = Burst()
        if "state" in facts:
            self._state = State(facts["state"])

    def _decided(self, decision: str, version: int) -> None:
        if decision == "accepted":
            if version != self._last_version + 1:
                raise SiteError(
                    f"the process accepted version {version} after {self._last_version}"
                )
            self._use(self._read(version), version)
            self._last_version = version
        elif decision == "rolled_back":
            self._use(self._base, 0)
        with self._lock:
            self._counts[decision] += 1

    def _read(self, version: int) -> Weights:
        """Return accepted weights after checking them; remove invalid files."""
        path = file_of(self._folder, name_of(self._base, version))
        try:
            weights = load_weights(str(path))
            if weights.model != self._base.model:
                raise WeightsError(f"{path} belongs to another network", "shape")
        except WeightsError:
            path.unlink(missing_ok=True)
            raise
        return weights

    def _use(self, weights: Weights, version: int) -> None:
        """Prepare the engine for the weights in the background, and offer it."""
        ready = self._backend.update_weights(weights)
        with self._lock:
            self._ready, self._weights, self._version = ready, weights, version

    def _down(self, error: Exception) -> None:
        """Report a failure, and wait before the next start."""
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._state = State.DOWN
        self._problem = f"adaptation is down: {error}; restarting in {pause:.0f} s"
        self._log.warning(self._problem)
        with self._lock:
            self._counts["restarts"] += 1
        self._wake.wait(pause)
