"""Runs the stream over a bag without ROS: a result bag, an overlay video, scores and a summary."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from savos_model.config import StreamConfig
from savos_model.files import write_file
from savos_model.instances import InstanceError
from savos_model.progress import progress
from savos_model.stream.record import Record
from savos_model.stream.refine import Refined, WindowRefiner
from savos_model.stream.stream import AmodalStream, StepReport
from savos_model.stream.video import cropped_as_trained
from savos_model.types import AmodalObject
from savos_ros.bags.aside import Aside, ahead
from savos_ros.bags.ids import associating, renamed
from savos_ros.bags.reader import BagFrame, BagFrames
from savos_ros.bags.review import BagScores
from savos_ros.bags.settings import BagError, RunOptions
from savos_ros.bags.types import BagKit
from savos_ros.bags.video import VideoWriter
from savos_ros.bags.writer import BagWriter
from savos_ros.messages import kit as message_kit
from savos_ros.messages.overlay import bgr_of, draw
from savos_ros.messages.settings import OverlayConfig

MASKS_TOPIC, REFINED_TOPIC = "/savos/masks", "/savos/masks_refined"
RESULT_BAG = "result"
OVERLAY = "overlay.mp4"
REPORT = "report.html"
SUMMARY = "summary.json"
PERCENTILES = (50, 95, 99)
READ_AHEAD = 2  # frames that may wait for the stream
WRITE_BEHIND = 8  # frames that may wait to be written and drawn

# Hears of every array that is written: its topic, frame, objects, and stage times of ~/masks [ms];
# called in order in one thread, which is not the caller's.
Watch = Callable[[str, BagFrame, list[AmodalObject], dict[str, float]], None]


@dataclass
class _Tally:
    """Numbers that grow from frame to frame."""

    frames: int = 0
    masks_in: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    unfamiliar: int = 0
    times_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    scores: BagScores = field(default_factory=BagScores)
    refined: BagScores = field(default_factory=BagScores)

    def count(
        self,
        item: BagFrame,
        objects: list[AmodalObject],
        report: StepReport,
        times_ms: dict[str, float],
    ) -> None:
        """Add a frame."""
        self.frames += 1
        self.masks_in += len(item.frame.instances)
        self.sources.update(entry.source.name.lower() for entry in objects)
        self.skipped.update(report.skipped)
        if report.reset:
            self.resets[report.reset] += 1
        self.unfamiliar += report.unfamiliar
        for stage, value in times_ms.items():
            self.times_ms[stage].append(value)
        self.scores.add_frame(item, objects)


def run_bag(
    path: str | Path,
    out: str | Path,
    options: RunOptions,
    backend: Any = None,
    *,
    watch: Watch | None = None,
    bar: Callable[[Iterable[BagFrame], str, int], Iterator[BagFrame]] = progress,
) -> dict:
    """Complete the masks of every frame of a bag; returns the summary, see _summary.

    Leaves in `out`: result/ (a bag with /savos/masks and, with `refine.enabled`,
    /savos/masks_refined; equal from run to run), overlay.mp4 and summary.json. Refined masks lie in
    the bag where they came, with the header of their image; no window is skipped. Raises BagError:
    the bag is unusable, or results are there already.
    """
    from savos_model.backends.choose import make_backend

    out = Path(out)
    _check_free(out, options.force)
    with BagFrames(path, options.topics, options.input) as bag, ExitStack() as stack:
        backend = backend or make_backend(options.backend)
        config = stream_config(options, backend)
        stream = AmodalStream(backend, config)
        out.mkdir(parents=True, exist_ok=True)
        result = stack.enter_context(BagWriter(out / RESULT_BAG, force=options.force))
        result.add_topic(MASKS_TOPIC, "savos_ros/AmodalMaskArray")
        if options.refine.enabled:
            stream.records = True
            result.add_topic(REFINED_TOPIC, "savos_ros/AmodalMaskArray")
        video = stack.enter_context(VideoWriter(out / OVERLAY)) if options.video else None
        results = _Results(result, backend.weights.name, video, options.overlay, watch)
        total = min(bag.expected, options.max_frames or bag.expected)
        frames = ahead(islice(bag, options.max_frames or None), READ_AHEAD)
        shown = bar(stack.enter_context(closing(frames)), f"running {bag.path.name}", total)
        aside = stack.enter_context(Aside(WRITE_BEHIND))
        smoother = _Smoother(WindowRefiner(backend, config, options.refine), results, aside)
        for item, objects, times in answers(shown, bag, stream):
            aside.run(results.add, item, objects, stream.report, times)
            if stream.record is not None:
                smoother.take(item, stream.record, stream.report)
        smoother.finish()
    # What an earlier run left, and this one does not write, would pass for its own.
    for name in (REPORT,) if video is not None and video.frames else (REPORT, OVERLAY):
        (out / name).unlink(missing_ok=True)
    write_json(out / SUMMARY, summary := _summary(bag, results.tally, backend, total))
    return summary


def stream_config(options: RunOptions, backend: Any) -> StreamConfig:
    """Return the settings of the stream that completes a bag with this network."""
    settings = associating(options.stream) if options.input.track else options.stream
    return cropped_as_trained(settings, backend.weights.info)


def answers(
    frames: Iterable[BagFrame], bag: BagFrames, stream: AmodalStream
) -> Iterator[tuple[BagFrame, list[AmodalObject], dict[str, float]]]:
    """Yield frames with their objects and stage times [ms]; one that cannot be used is counted."""
    for item in frames:
        started = time.perf_counter()
        try:
            objects = stream.step(item.frame)
        except InstanceError as error:
            bag.refuse("instances", str(error))
            continue
        times = {**stream.report.timings_ms, "step": 1000 * (time.perf_counter() - started)}
        yield renamed(item, stream.frame), objects, times


def _check_free(out: Path, force: bool) -> None:
    there = [name for name in (RESULT_BAG, OVERLAY, REPORT, SUMMARY) if (out / name).exists()]
    if there and not force:
        raise BagError(
            f"{out} holds {', '.join(there)}: choose another folder, or replace with --force",
            "taken",
        )
    if out.exists() and not out.is_dir():
        raise BagError(f"{out} is a file: choose a folder", "taken")


@dataclass
class _Results:
    """Writes, counts, scores and draws the results of a run; its methods run in one thread."""

    bag: BagWriter
    model: str
    video: VideoWriter | None
    overlay: OverlayConfig
    watch: Watch | None
    tally: _Tally = field(default_factory=_Tally)

    def add(
        self,
        item: BagFrame,
        objects: list[AmodalObject],
        report: StepReport,
        times_ms: dict[str, float],
    ) -> None:
        """Take the answer to a frame."""
        self.tally.count(item, objects, report, times_ms)
        _store(self.bag, MASKS_TOPIC, item, objects, self.model, report.period_s)
        if self.watch is not None:
            self.watch(MASKS_TOPIC, item, objects, times_ms)
        if self.video is not None:
            image = draw(bgr_of(item.frame), objects, self.overlay)
            self.video.write(item.frame.stamp_ns, image)

    def add_refined(self, item: BagFrame, objects: list[AmodalObject], period_s: float) -> None:
        """Take the refined masks of a frame, so long after the one before [s]."""
        _store(self.bag, REFINED_TOPIC, item, objects, self.model, period_s)
        self.tally.refined.add_frame(item, objects)
        if self.watch is not None:
            self.watch(REFINED_TOPIC, item, objects, {})


@dataclass
class _Smoother:
    """Refines the frames of a run behind the others; the results take them aside."""

    refiner: WindowRefiner
    results: _Results
    aside: Aside
    held: deque[tuple[BagFrame, float]] = field(default_factory=deque)

    def take(self, item: BagFrame, record: Record, report: StepReport) -> None:
        """Take the next frame."""
        self.held.append((item, report.period_s))
        self.pass_on(self.refiner.feed(record, bool(report.reset)))

    def finish(self) -> None:
        """Refine all that is left."""
        self.pass_on(self.refiner.flush())

    def pass_on(self, refined: Iterable[Refined]) -> None:
        """Pass on frames, which come in the order they were taken in."""
        for done in refined:
            item, period_s = self.held.popleft()
            self.aside.run(self.results.add_refined, item, done.objects, period_s)


def _store(
    result: BagWriter,
    topic: str,
    item: BagFrame,
    objects: list[AmodalObject],
    model: str,
    period_s: float,
) -> None:
    kit, frame = BagKit(), item.frame
    head = message_kit.header(kit, frame.stamp_ns, item.frame_id)
    shape = frame.image.shape[:2]
    message = message_kit.amodal_array(kit, head, shape, objects, model, period_s)
    # In the bag, time cannot fall back: not in a recording that starts again, and refined masks
    # come with the frame that completed their window.
    now = max(frame.stamp_ns, result.next_stamp(MASKS_TOPIC) - 1)
    result.write(topic, max(now, result.next_stamp(topic)), message)


def _summary(bag: BagFrames, tally: _Tally, backend: Any, total: int) -> dict:
    """Return what summary.json holds.

    bag, topics, messages (by topic, as ReadReport has them), model, backend, frames_in, frames_out,
    masks_in, objects_out (by source), refused, masks_skipped, not_completed, resets (counts by
    reason), frames_unfamiliar (unlike those of the training), examples (first text of a reason of
    `refused`), notes (what was assumed), damage, time_ms (by stage, p50, p95, p99), miou (by
    method, `refined` where it is on; None without truth).
    """
    report, miou = bag.report, None
    if tally.scores.frames:
        miou = tally.scores.summary()
        if tally.refined.frames:
            miou["refined"] = tally.refined.summary()["ours"]
    return {
        "bag": bag.path.name,
        "topics": bag.topics,
        "messages": report.messages,
        "model": backend.weights.name,
        "backend": backend.name,
        "frames_in": total,
        "frames_out": tally.frames,
        "masks_in": tally.masks_in,
        "objects_out": dict(sorted(tally.sources.items())),
        "refused": dict(sorted(report.refused.items())),
        "masks_skipped": dict(sorted(report.masks_skipped.items())),
        "not_completed": dict(sorted(tally.skipped.items())),
        "resets": dict(sorted(tally.resets.items())),
        "frames_unfamiliar": tally.unfamiliar,
        "examples": dict(sorted(report.examples.items())),
        "notes": list(report.notes.values()),
        "damage": report.damage,
        "time_ms": {stage: _percentiles(values) for stage, values in tally.times_ms.items()},
        "miou": miou,
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    numbers = np.percentile(values, PERCENTILES)
    return {f"p{p}": round(float(value), 3) for p, value in zip(PERCENTILES, numbers, strict=True)}


def write_json(path: Path, data: dict) -> None:
    """Write a JSON file, whole or not at all."""
    write_file(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
