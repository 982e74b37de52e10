"""Run the bidirectional pass of the node in a thread that yields to arriving frames."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from savos_model.config import ComposeConfig
from savos_model.network.weights import Weights
from savos_model.stream.record import Record
from savos_model.stream.refine import Refined, WindowRefiner
from savos_ros.messages.settings import NodeSettings
from savos_ros.node.diagnostics import Health
from savos_ros.node.engine import Engine, background
from savos_ros.node.interfaces import Log, Publisher
from savos_ros.node.refine_budget import PassBudget

LATE_FRAMES = 4  # frames beyond a stride that may wait before an active pass is aborted
# Not the lowest: the thread may be preempted while it holds the interpreter lock.
NICENESS = 10
POLL_S = 0.02


class LateError(Exception):
    """The active pass must end: newer frames wait, or its engine or the node changes."""


@dataclass(frozen=True)
class Answered:
    """A frame with its forward result: record, header, time of synchronization [s, monotonic].

    `fresh`: the previous frame is not part of the record's past. `weights`: those that processed
    it. `period_s`: time since the previous frame by the stamps [s], 0 for none.
    """

    record: Record
    header: Any
    joined_s: float
    fresh: bool
    weights: Weights
    period_s: float


class Refinement:
    """Publishes every frame exactly once and in order, refined within the time budget.

    If time is short, the tracks with the largest need are refined and the others keep their forward
    result; if it is shorter still, a whole stride keeps it. After `tracks.reset_gap_s` without a
    frame, and before a frame with new tracks or other weights, pending frames are published; at the
    end they are dropped and counted. `idle` is set while no frame waits or is processed.
    """

    def __init__(
        self,
        engine: Engine,
        settings: NodeSettings,
        publisher: Publisher,
        health: Health,
        log: Log,
        idle: threading.Event,
    ) -> None:
        self._engine, self._settings, self._publisher = engine, settings, publisher
        self._health, self._log, self._idle = health, log, idle
        self._compose = settings.compose
        self._late = settings.refine.stride + LATE_FRAMES
        self._waiting: queue.Queue[Answered | None] = queue.Queue(2 * self._late)
        self._held: deque[Answered] = deque()
        self._budget = PassBudget()
        self._broken, self._stopping = False, threading.Event()
        self._turn, self._leave = threading.Lock(), False  # of a pass on the stream's engine
        self._thread: threading.Thread | None = None

    @cached_property
    def refiner(self) -> WindowRefiner:
        """Return the pass with a separate engine, created on first use."""
        backend = background(self._engine.stream.backend, self._engine.weights)
        return WindowRefiner(backend, self._settings.stream, self._settings.refine, self._pause)

    @property
    def busy(self) -> bool:
        """Return whether frames wait for their refined result."""
        return bool(self._held) or not self._waiting.empty()

    def set_compose(self, config: ComposeConfig) -> None:
        """Apply live settings from the next pass on."""
        self._compose = config

    def exchange(self, use: Callable[[], None]) -> bool:
        """Let `use` activate other weights; for the worker thread.

        Returns False while a pass uses the same engine; the pass is aborted, call again.
        """
        self._leave = not self._turn.acquire(blocking=False)
        if self._leave:
            return False
        with contextlib.ExitStack() as after:
            after.callback(self._turn.release)
            use()
        return True

    def put(self, frame: Answered) -> None:
        """Queue a processed frame and return immediately; for the worker thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="savos_refine")
            self._thread.start()
        if self._broken:
            frame = dataclasses.replace(frame, fresh=True)
        try:
            self._waiting.put_nowait(frame)
            self._broken = False
        except queue.Full:
            self._broken = True
            self._lost("refine_queue_full", "a pass does not finish: disable refine.enabled", 1)

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Stop the thread and drop pending frames; the worker must have stopped.

        Returns False if the thread did not end in time.
        """
        if self._thread is None:
            return True
        self._stopping.set()
        dropped = 0
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
                dropped += 1
        with contextlib.suppress(
            queue.Full
        ):  # full if a worker did not stop; wakes the thread, too
            self._waiting.put_nowait(None)
        self._thread.join(timeout_s)
        self._health.count_refine(dropped=dropped + len(self._held))
        return not self._thread.is_alive()

    def _run(self) -> None:
        lower_priority()
        while not self._stopping.is_set():
            try:
                self._next()
            except Exception as error:
                self._failed(error)

    def _next(self) -> None:
        """Wait for a frame and add it; publish pending frames if none arrives."""
        quiet_s = self._settings.tracks.reset_gap_s if self._held else None
        try:
            frame = self._waiting.get(timeout=quiet_s)
        except queue.Empty:
            self._pass(len(self._held), hurry=False)
            return
        if frame is None:
            return
        other = bool(self._held) and self._held[-1].weights is not frame.weights
        try:
            if frame.fresh or other:
                self._pass(len(self._held))
        finally:
            self._held.append(frame)
            self.refiner.push(frame.record)
        if self.refiner.due:
            self._pass(self._settings.refine.stride)

    def _pass(self, count: int, hurry: bool = True) -> None:
        """Refine and publish the oldest `count` frames."""
        if not count:
            return
        refiner, begun = self.refiner, time.monotonic()
        refiner.set_compose(self._compose)
        needy = refiner.needy(count)
        names = needy[: self._affordable()] if hurry else needy
        try:
            with self._engine_of(self._held[0].weights) as right:
                names = names if right else []
                done, late = refiner.give_out(count, names), False
        except LateError:
            if self._stopping.is_set():
                return
            late = True
        seconds = time.monotonic() - begun
        if names:  # the rest of an aborted pass is unknown: assume the same again
            self._budget.took(seconds * (1 + late), len(names), len(self._held))
        if late:
            names, done = [], refiner.give_out(count, ())
        elif names:
            self._health.timed({"refine_pass": seconds * 1e3})
        self._health.count_refine(
            passes=bool(names),
            windows_skipped=bool(needy) and not names,
            tracks_refined=len(names),
            tracks_left_out=len(needy) - len(names),
        )
        self._publish(done)

    @contextlib.contextmanager
    def _engine_of(self, weights: Weights) -> Iterator[bool]:
        """Give the refiner an engine of these weights; yield False if a shared one has others.

        Frames must be refined by the version of the weights that processed them.
        """
        refiner, streams = self.refiner, self._engine.stream.backend
        if refiner.backend.weights is not weights:
            refiner.backend = background(streams, weights)
        with self._turn if refiner.backend is streams else contextlib.nullcontext():
            yield refiner.backend.weights is weights

    def _affordable(self) -> int:
        """Return how many tracks fit into the time until the next pass; 0 if it is due."""
        behind, stride, held = self._waiting.qsize(), self._settings.refine.stride, self._held
        if behind >= stride:
            return 0
        period_s = (held[-1].joined_s - held[0].joined_s) / max(1, len(held) - 1)
        return self._budget.tracks(len(held), (stride - behind) * period_s)

    def _publish(self, done: list[Refined]) -> None:
        for item in done:
            self._idle.wait(POLL_S)
            frame = self._held.popleft()
            shape = frame.record.seen.grey.shape
            self._publisher.publish_refined(
                frame.header, shape, frame.weights.name, item.objects, frame.period_s
            )
            self._health.count_refine(frames_out=1)
            self._health.timed({"refine_lag": (time.monotonic() - frame.joined_s) * 1e3})

    def _pause(self) -> None:
        """Wait while a frame is processed, so that the pass takes neither its lock nor its core."""
        while True:
            if self._stopping.is_set() or self._leave or self._waiting.qsize() > self._late:
                raise LateError
            if self._idle.wait(POLL_S):
                return

    def _failed(self, error: Exception) -> None:
        """Log an error of a pass and publish the frames unrefined."""
        if not self._publisher.open():
            return  # the node is shutting down; `stop` counts the held frames
        trace = "".join(traceback.format_exception(error)).rstrip()
        self._lost("refine_failed", f"{len(self._held)} frames stay unrefined\n{trace}", 0)
        try:
            records = self.refiner.records
            while len(self._held) > len(records):  # frames that could not be published
                self._held.popleft()
                self._health.count_refine(dropped=1)
            self._publish(self.refiner.give_out(len(records), ()))
        except Exception:
            self._health.count_refine(dropped=len(self._held))
            self._held.clear()
            self.__dict__.pop("refiner", None)  # created again for the next frame

    def _lost(self, reason: str, text: str, frames: int) -> None:
        self._health.count_refine(dropped=frames)
        line = self._health.drop(reason, text, time.monotonic())
        if line:
            self._log.warning(line)


def lower_priority() -> None:
    """Lower the priority of the calling thread (on Linux, where threads have priorities)."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        own = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(own, NICENESS))
