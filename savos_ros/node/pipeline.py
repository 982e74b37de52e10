"""Process a synchronized set of messages: decode, step, publish, count; without rclpy."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from savos_model.config import ComposeConfig
from savos_model.types import AmodalObject, Frame
from savos_ros.messages.conversions import ConversionError, assumed_text, stamp_ns
from savos_ros.messages.frames import decode, left_out_text
from savos_ros.messages.settings import InputConfig, NodeSettings
from savos_ros.node.adaptation import Adaptation
from savos_ros.node.diagnostics import Health
from savos_ros.node.engine import Engine
from savos_ros.node.interfaces import Log, Publisher
from savos_ros.node.refinement import Answered, Refinement
from savos_ros.node.sync import Joined
from savos_ros.node.worker import Worker

UNFAMILIAR = (
    "the scene is unlike those that the weights were trained on: hidden parts are limited to the "
    "convex hulls of visible masks (compose.hull_above); adapt the weights (adapt.enabled), or "
    "train on such scenes"
)


@dataclass(frozen=True)
class Job:
    """A synchronized set: image, instances and, if used, flow."""

    messages: tuple[Any, ...]
    joined_s: float  # monotonic time [s]
    number: int  # of the image among all received, processed or not


class Pipeline:
    """Processes synchronized sets in order; `Frameline.build` makes one.

    `refinement` receives the records of processed frames while it is enabled; `adaptation` receives
    processed frames while it collects, and offers new weights. Losses are logged at most every few
    seconds per reason; `clock_ns` is the clock of the image stamps [ns].
    """

    def __init__(
        self,
        engine: Engine,
        config: InputConfig,
        publisher: Publisher,
        refinement: Refinement,
        adaptation: Adaptation,
        health: Health,
        log: Log,
        clock_ns: Callable[[], int],
    ) -> None:
        self._engine, self._config, self._publisher = engine, config, publisher
        self._refinement, self._adaptation = refinement, adaptation
        self._health, self._log, self._clock_ns = health, log, clock_ns
        self._changes: SimpleQueue[Callable[[], None]] = SimpleQueue()  # before the next frame
        self._encoding = ""
        self._unfamiliar = False
        self._fresh = True  # refinement and adaptation lack the next frame's past
        self._swap: Callable[[], None] | None = None  # activates other weights
        self._last: int | None = None  # number of the last processed image

    def set_compose(self, config: ComposeConfig) -> None:
        """Apply live settings from the next frame on."""
        self._changes.put(lambda: self._engine.stream.set_compose(config))
        self._changes.put(lambda: self._refinement.set_compose(config))

    def set_refine(self, enabled: bool) -> None:
        """Enable or disable refinement from the next frame on."""
        self._changes.put(lambda: self._record(enabled))

    def reset(self) -> None:
        """Delete all tracks before the next frame."""
        self._changes.put(self._start_again)

    def work(self, job: Job) -> None:
        """Process one set; raises ConversionError: the messages cannot be used."""
        stream = self._engine.stream
        image, instances, *flow = job.messages
        self._between_frames()
        begun = time.perf_counter()
        waited_ms = (time.monotonic() - job.joined_s) * 1e3

        # Decode the messages; single unusable masks are skipped and counted.
        frame, left_out = decode(image, instances, self._config, *flow)
        self._note_encoding(getattr(image, "encoding", ""))
        frame = self._with_fitting_flow(frame, job.number)
        decoded = time.perf_counter()

        # The method itself.
        objects = stream.step(frame)
        report = stream.report
        stepped = time.perf_counter()

        # Publish the masks first; nothing else may delay them.
        shape, weights = frame.image.shape[:2], self._engine.weights
        self._publisher.publish_masks(image.header, shape, weights.name, objects, report.period_s)
        published = time.perf_counter()
        fresh, self._fresh = self._fresh or bool(report.reset), False
        if stream.record is not None:
            self._refinement.put(
                Answered(stream.record, image.header, job.joined_s, fresh, weights, report.period_s)
            )
        self._adaptation.put(stream.frame, fresh)
        age_ms = (self._clock_ns() - frame.stamp_ns) / 1e6
        self._extras(image.header, frame, objects)

        stages = {
            "queue": waited_ms,
            "decode": (decoded - begun) * 1e3,
            **report.timings_ms,
            "publish": (published - stepped) * 1e3,
            "extras": (time.perf_counter() - published) * 1e3,
            "total": waited_ms + (published - begun) * 1e3,
            "stamp": age_ms,
        }
        self._health.skip(left_out + type(left_out)(report.skipped))
        if left_out:
            text = f"{left_out_text(left_out)} (frame at {frame.stamp_ns} ns)"
            self._warn("masks_left_out", text, 0)
        self._note_scene(report.unfamiliar)
        self._health.answered(
            time.monotonic(), stages, report.tracks, bool(report.reset), report.unfamiliar
        )

    def _note_encoding(self, encoding: str) -> None:
        if encoding != self._encoding and (text := assumed_text(encoding)):
            self._log.warning(text)
        self._encoding = encoding

    def _note_scene(self, unfamiliar: bool) -> None:
        if unfamiliar and not self._unfamiliar:
            self._log.warning(UNFAMILIAR)
        self._unfamiliar = unfamiliar

    def settle(self) -> None:
        """Apply pending changes now; the other threads have ended."""
        self._between_frames()

    def failed(self, error: Exception, job: Job) -> None:
        """Count a set that could not be processed, and prepare for the next one."""
        if not self._publisher.open():
            return  # the node is shutting down
        at = f"(frame at {stamp_ns(job.messages[0].header)} ns)"
        if isinstance(error, ConversionError):
            self._warn(error.reason, f"{error} {at}")
            return
        self._start_again()  # the state may be inconsistent
        trace = "".join(traceback.format_exception(error)).rstrip()
        line = self._health.drop(
            "step_failed", f"{error} {at}: tracks restart\n{trace}", time.monotonic()
        )
        if line:
            self._log.error(line)

    def dropped(self, job: Job) -> None:
        """Count a set that was dropped from the full queue."""
        self._warn(
            "queue_full",
            "frames arrive faster than they are processed: reduce the camera's rate or size or "
            "tracks.max_tracks, or use a GPU",
        )

    def _between_frames(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._changes.get_nowait()()
        self._swap = self._adaptation.take() or self._swap
        if self._swap is not None and self._refinement.exchange(self._swap):
            self._swap = None

    def _record(self, enabled: bool) -> None:
        if enabled != self._engine.stream.records:
            self._engine.stream.records, self._fresh = enabled, True

    def _with_fitting_flow(self, frame: Frame, number: int) -> Frame:
        """Remove flow that does not start at the last processed image."""
        last, self._last = self._last, number
        if frame.flow is None or last is None or number == last + 1:
            return frame
        self._warn(
            "flow_unfitting",
            f"{number - last - 1} images were skipped since the last processed one, so the flow "
            "starts at another image: using the tracks' own motion",
        )
        return dataclasses.replace(frame, flow=None)

    def _extras(self, header: Any, frame: Frame, objects: list[AmodalObject]) -> None:
        """Publish the extras; a failure cannot affect the masks, which are published already."""
        try:
            self._publisher.publish_extras(header, frame.image, frame.order, objects)
        except Exception as error:
            if self._publisher.open():
                self._warn("extras_failed", f"{error}: masks were published, but not the overlay")

    def _start_again(self) -> None:
        self._engine.stream.reset()
        self._fresh = True

    def _warn(self, reason: str, text: str, count: int = 1) -> None:
        line = self._health.drop(reason, text, time.monotonic(), count)
        if line:
            self._log.warning(line)


@dataclass
class Frameline:
    """All parts between synchronized sets and published masks, for one activation.

    `adaptation` outlives this object if it was passed in. `idle` is set while no set waits or is
    processed; `depth` sets may wait. `worker`, the thread in front of the pipeline, is None before
    `start`.
    """

    pipeline: Pipeline
    refinement: Refinement
    adaptation: Adaptation
    health: Health
    idle: threading.Event
    depth: int
    worker: Worker[Job] | None = None

    @classmethod
    def build(
        cls,
        engine: Engine,
        settings: NodeSettings,
        publisher: Publisher,
        log: Log,
        *,
        health: Health | None = None,
        adaptation: Adaptation | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> Frameline:
        """Connect the parts without starting them; None makes new `health` and `adaptation`.

        `clock_ns` is the clock of the image stamps [ns].
        """
        idle = threading.Event()
        health = health or Health(settings.diagnostics.window)
        adaptation = adaptation or Adaptation(engine, settings.adapt, Path(), log)
        refinement = Refinement(engine, settings, publisher, health, log, idle)
        if settings.refine.enabled:
            _ = refinement.refiner  # build its engine before the first frame
        pipeline = Pipeline(
            engine, settings.input, publisher, refinement, adaptation, health, log, clock_ns
        )
        pipeline.set_refine(settings.refine.enabled)
        return cls(pipeline, refinement, adaptation, health, idle, settings.input.queue_depth)

    def start(self) -> None:
        """Start the threads."""
        pipeline = self.pipeline
        self.worker = Worker(
            pipeline.work, self.depth, pipeline.dropped, pipeline.failed, self.idle
        )
        self.adaptation.start()

    def put(self, joined: Joined) -> None:
        """Queue a set and return immediately."""
        assert self.worker is not None, "started"
        self.health.joined()
        self.worker.put(Job(joined.messages, time.monotonic(), joined.number))

    def apply(self, settings: NodeSettings) -> None:
        """Apply live settings from the next frame on."""
        self.pipeline.set_compose(settings.compose)
        self.pipeline.set_refine(settings.refine.enabled)
        self.adaptation.set_enabled(settings.adapt.enabled)

    def stop(self) -> bool:
        """Stop the threads; return False if one still runs after 30 s."""
        assert self.worker is not None, "started"
        ended = all([self.worker.stop(), self.refinement.stop(), self.adaptation.stop()])
        if ended:
            self.pipeline.settle()  # pending changes survive the deactivation
        return ended
