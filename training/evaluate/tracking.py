"""Ids given by association, scored against the tracks that the data have."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from savos_model.backends.choose import make_backend
from savos_model.backends.interface import Backend
from savos_model.config import AssociationConfig
from savos_model.hints import installed
from savos_model.stream.stream import AmodalStream
from savos_model.stream.video import Setup, cropped_as_trained, described
from savos_model.tables import DASH, Table, number, percent
from savos_model.types import AmodalObject, Frame
from training.data.jobs import Tick
from training.evaluate.benchmark import Benchmark, Job, data_of, report, run_all
from training.evaluate.kitti import Kitti
from training.evaluate.mask_sets import Fishbowl, MaskBenchmark, Rendered, Street
from training.evaluate.settings import DEFAULT_OUTPUT, TRACKERS, Output, TrackingOptions
from training.evaluate.video import Scores, Video, merged

# What differs from the defaults: an ID is kept for 30 frames, as with track.max_age (the buffer is
# in frames of a camera at 30 Hz), and given early, as every mask is certain.
OPTIONS = {"lost_track_buffer": 30, "frame_rate": 30.0, "minimum_consecutive_frames": 1}
CLASSES = {
    "sort": "SORTTracker",
    "bytetrack": "ByteTrackTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
}


def absent() -> str:
    """Return why the trackers cannot be used here; "" if they can."""
    return "" if installed("trackers") else "trackers is not installed: pip install trackers"


def version() -> str:
    """Return the installed version of the package."""
    return importlib.metadata.version("trackers")


def outside_tracker(name: str) -> Callable[[Frame], list[str]]:
    """Return a function that gives the masks of the next frame of a video their IDs.

    The tracker, one of settings.TRACKERS, sees the boxes of the visible masks and their scores,
    BoT-SORT also the image, which it estimates the motion of the camera from. A mask that it leaves
    without an ID has "".
    """
    import supervision
    import trackers

    tracker: Any = getattr(trackers, CLASSES[name])(**OPTIONS)

    def ids(frame: Frame) -> list[str]:
        boxes = [item.box for item in frame.instances]
        detections = supervision.Detections(
            xyxy=np.array(boxes, float).reshape(-1, 4),
            confidence=np.array([item.score for item in frame.instances], float),
            data={"place": np.arange(len(boxes))},
        )
        image = {"frame": np.ascontiguousarray(frame.image)} if name == "botsort" else {}
        found = tracker.update(detections, **image)
        given = [""] * len(boxes)
        if len(found):
            for place, number in zip(found.data["place"], found.tracker_id, strict=True):
                given[place] = "" if number < 0 else str(number)
        return given

    return ids


METHODS: dict[str, AssociationConfig | None] = {
    "given": None,  # the true ids
    "amodal": AssociationConfig(),
    "visible": AssociationConfig(masks="visible"),
}
QUALITY = ("open_full", "open_hidden")


@dataclass(frozen=True)
class TrackingScore:
    """How well ids follow the true tracks of a video, whose masks are given without them.

    Attributes:
        masks: all masks.
        agreeing: masks that agree with the best one-to-one pairing of ids and true tracks.
        switches: masks whose true track had another id when it was last seen.
        returns: masks of tracks that were not seen in the frame before, and had been earlier.
        kept: those of them under the id of then.
        tracks, ids, unnamed: how many there are, and masks that were left without an id.
    """

    masks: int = 0
    agreeing: int = 0
    switches: int = 0
    returns: int = 0
    kept: int = 0
    tracks: int = 0
    ids: int = 0
    unnamed: int = 0

    @property
    def idf1(self) -> float | None:
        """Return IDF1, 0..1; None without a mask; IDP and IDR are equal if all have an id."""
        return 2 * self.agreeing / (2 * self.masks - self.unnamed) if self.masks else None

    def __add__(self, other: TrackingScore) -> TrackingScore:
        """Return the score of both videos."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return TrackingScore(*(a + b for a, b in pairs))

    def plain(self) -> dict[str, Any]:
        """Return the score for result files."""
        return {"idf1": self.idf1, **dataclasses.asdict(self)}


def tracking_score(true: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> TrackingScore:
    """Score the ids of a video by those of its true tracks.

    Args:
        true: by frame, the track of each mask.
        given: by frame, the id of each of the same masks, "" for none.
    """
    last: dict[str, tuple[str, int]] = {}
    pairs: Counter[tuple[str, str]] = Counter()
    switches = returns = kept = unnamed = masks = 0
    for index, (tracks, ids) in enumerate(zip(true, given, strict=True)):
        for track, name in zip(tracks, ids, strict=True):
            masks += 1
            if not name:
                unnamed += 1
                last[track] = last[track][0] if track in last else "", index
                continue
            pairs[track, name] += 1
            if track in last and last[track][0]:
                same, away = last[track][0] == name, last[track][1] < index - 1
                switches += not same
                returns += away
                kept += away and same
            last[track] = name, index
    rows, columns = sorted({pair[0] for pair in pairs}), sorted({pair[1] for pair in pairs})
    counts = np.array([[pairs[track, name] for name in columns] for track in rows])
    best = counts[linear_sum_assignment(counts, maximize=True)].sum() if pairs else 0
    sizes = masks, int(best), switches, returns, kept
    everyone = {track for tracks in true for track in tracks}
    return TrackingScore(*sizes, len(everyone), len(columns), unnamed)


@dataclass
class Followed:
    """The scores of one way to assign IDs on some videos.

    Attributes:
        score: of the ids.
        clips: IDF1 by video.
        scores: of the completed masks, by protocol.
        times_ms: of the association, by frame [ms].
    """

    score: TrackingScore = field(default_factory=TrackingScore)
    clips: dict[str, float | None] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)

    def __add__(self, other: Followed) -> Followed:
        """Return what is made of the videos of both."""
        return Followed(
            self.score + other.score,
            self.clips | other.clips,
            merged([self.scores, other.scores]),
            self.times_ms + other.times_ms,
        )


@dataclass(frozen=True)
class Done:
    """The result of a job: name and frames of each video, and the scores of each method."""

    name: str
    frames: int
    methods: dict[str, Followed]
    model: dict[str, Any]


def follow(
    video: Video, associate: AssociationConfig | None, backend: Backend, ours: Setup
) -> Followed:
    """Run the stream over a video whose ids are taken away, or kept without `associate`."""
    config = cropped_as_trained(ours.stream, backend.weights.info)
    stream = AmodalStream(backend, dataclasses.replace(config, associate=associate))
    true, given, times, scores = [], [], [], defaultdict(list)
    for index, frame in enumerate(video.frames()):
        objects = stream.step(frame if associate is None else without_ids(frame))
        times.append(stream.report.timings_ms["associate"])
        true.append([item.id for item in frame.instances])
        given.append([item.id for item in stream.frame.instances])
        names = dict(zip(given[-1], true[-1], strict=True))
        for protocol, found in video.score(index, renamed(objects, names)).items():
            scores[protocol] += found
    score = tracking_score(true, given)
    return Followed(score, {video.name: score.idf1}, dict(scores), times)


def follow_outside(video: Video, tracker: str) -> Followed:
    """Give the masks of a video IDs by a tracker of another package; nothing is completed."""
    ids, true, given, times = outside_tracker(tracker), [], [], []
    for frame in video.frames():
        begun = time.perf_counter()
        given.append(ids(without_ids(frame)))
        times.append(1e3 * (time.perf_counter() - begun))
        true.append([item.id for item in frame.instances])
    score = tracking_score(true, given)
    return Followed(score, {video.name: score.idf1}, {}, times)


def without_ids(frame: Frame) -> Frame:
    """Return a frame whose ids say nothing of any other frame."""
    masks = enumerate(frame.instances)
    masks = [dataclasses.replace(item, id=str(place)) for place, item in masks]
    return dataclasses.replace(frame, instances=masks)


def renamed(objects: Iterable[AmodalObject], names: dict[str, str]) -> list[AmodalObject]:
    """Return objects under other ids; what has no mask in a frame must not pass for what has."""
    return [dataclasses.replace(o, id=names.get(o.id, f"coasted {o.id}")) for o in objects]


def run(job: Job, tick: Tick) -> list[Done]:
    """Follow the videos of a job; tick(frames) after each method."""
    backend, done = make_backend(job.ours.backend), []
    model = {"engine": backend.name, **described(backend.weights)}
    for video in job.benchmark.open(job.key):
        methods = {}
        for name in job.methods:
            if name in TRACKERS:
                methods[name] = follow_outside(video, name)
            else:
                methods[name] = follow(video, METHODS[name], backend, job.ours)
            tick(len(video.numbers))
        done.append(Done(video.name, len(video.numbers), methods, model))
    return done


def evaluate_tracking(
    benchmark: Benchmark,
    ours: Setup,
    output: Output = DEFAULT_OUTPUT,
    *,
    trackers: Sequence[str] = (),
) -> dict:
    """Compare ids by association with predicted whole objects, with visible masks, and given ones.

    The masks of the benchmark are passed on without ids; arguments as benchmark.evaluate, and
    `trackers` of another package (see settings.TRACKERS), which are skipped where it is absent.

    Returns:
        The metrics: data, model, association (its settings), outside (trackers: package, options,
        and why they were skipped), and by method the scores of the ids,
        IDF1 by clip, time of the association per frame [ms] and, where whole masks are known, mean
        IoUs.

    Raises:
        ValueError: bad arguments, or files that are missing or broken.
    """
    benchmark.check(ours)
    skipped = absent() if trackers else ""
    used: dict[str, Any] = {}
    if skipped:
        print(f"skipped: {', '.join(trackers)}: {skipped}")
        used = {"skipped": skipped}
    elif trackers:
        used = {"trackers": version(), "options": OPTIONS}
    names = (*METHODS, *(() if skipped else trackers))
    (done,) = run_all(benchmark, names, [ours], output, run)
    found = {name: sum((one.methods[name] for one in done), Followed()) for name in names}
    metrics = {
        "data": data_of(benchmark.name, done),
        "model": done[0].model,
        "association": dataclasses.asdict(AssociationConfig()),
        "outside": used,
        "methods": {name: summary(benchmark, some, output.seed) for name, some in found.items()},
    }
    return report(metrics, [table(metrics["methods"])], output)


def tracked_set(options: TrackingOptions) -> Benchmark:
    """Return the data set of some options."""
    if options.set == "street":
        return Street(options.scenes, options.frames)
    assert options.data is not None  # checked by the options
    if options.set == "kitti":
        return Kitti(options.data, options.sequences)
    return (Rendered if options.set == "rendered" else Fishbowl)(options.data)


def summary(benchmark: Benchmark, found: Followed, seed: int) -> dict:
    """Return what is reported of a method."""
    numbers = {**found.score.plain(), "clips": found.clips}
    p50, p95 = np.percentile(found.times_ms, (50, 95))
    numbers["association_ms"] = {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
    if isinstance(benchmark, MaskBenchmark) and found.scores:
        whole = benchmark.report(found.scores, seed)
        numbers |= {name: whole[name] for name in QUALITY}
    return numbers


def table(methods: dict[str, dict]) -> Table:
    """Return a row for each method."""
    rows = []
    for name, row in methods.items():
        counts = str(row["switches"]), f"{row['kept']}/{row['returns']}"
        sizes = f"{row['ids']}/{row['tracks']}", number(row["association_ms"]["p50"], 1)
        quality = (number(row[key]["mean"], 3) if key in row else DASH for key in QUALITY)
        rows.append([name, percent(row["idf1"]), *counts, *sizes, *quality])
    heads = ("by", "IDF1", "switches", "returns", "ids/tracks", "ms", "whole", "hidden")
    return Table("Ids of masks that come without", heads, rows)
