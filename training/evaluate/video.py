"""Runs methods over the frames of a video whose objects are scored."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2

from savos_model.types import AmodalObject, Frame
from training.baselines.convex_hull import convex_hull
from training.baselines.flow_aggregation import ANY, HALF, DisPairFlow, aggregate
from training.boxed import BoxedMask
from training.evaluate.jobs import Tick
from training.evaluate.methods import HELP, Scene, from_files, label, masks_from_files, with_missing
from training.evaluate.metrics import Masks
from training.online import Online, Setup

METHODS = ("ours", "visible", "convex", "flow3", "flow5")
FLOW_METHOD = re.compile(r"flow([1-9]|1[0-9])(?:_(forward|backward))?(_any)?")
Scores = dict[str, list[Any]]  # by protocol
Score = Callable[[int, Masks | list[AmodalObject]], Scores]


@dataclass(frozen=True)
class Video:
    """One video to run over.

    Attributes:
        name: as results of other programs call it.
        shape: rows and columns of its images.
        numbers: number of each frame, as results of other programs call it.
        frames: call that yields all frames; each method reads them for itself, none keeps them.
        visible: by frame, the visible masks by id.
        wanted: by frame, the ids to complete.
    """

    name: str
    shape: tuple[int, int]
    numbers: Sequence[int]
    frames: Callable[[], Iterable[Frame]]
    visible: Sequence[dict[str, BoxedMask]]
    wanted: Sequence[set[str]]


@dataclass(frozen=True)
class VideoResult:
    """Scores of one video by method and protocol, and what our method ran on (empty without it).

    `missing` counts by method the scored objects without a result, which kept their visible mask.
    """

    name: str
    frames: int
    scores: dict[str, Scores]
    model: dict[str, str]
    missing: dict[str, int]


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Refuse unknown or repeated methods.

    Raises:
        ValueError: names the method and the possible ones.
    """
    for name in methods:
        known = name in ("ours", "visible", "convex") or from_files(name)
        if not known and not FLOW_METHOD.fullmatch(name):
            raise ValueError(
                f"methods must be of {', '.join(METHODS)}, or flowK with K from 1 to 19, then "
                f"_forward or _backward, then _any, as wished; or {HELP}; got {name!r}"
            )
    if len(set(methods)) != len(methods) or not methods:
        raise ValueError(f"methods must be named once each, got {','.join(methods) or 'none'}")
    return tuple(methods)


def evaluate_video(
    video: Video, methods: Sequence[str], ours: Setup, score: Score, tick: Tick
) -> VideoResult:
    """Score every frame with every method.

    Args:
        video: what they run over.
        methods: names as check_methods accepts them.
        ours: how our method runs.
        score: gives the scores of a frame, by its place in the video, and its completed masks.
        tick: called with 1 after each frame of each method.
    """
    missing: Counter[str] = Counter()
    scene = Scene(
        video.name,
        lambda: (
            (number, frame.image, frame.instances)
            for number, frame in zip(video.numbers, video.frames(), strict=True)
        ),
    )
    rules = Rules(video)
    steps = {
        name: masks_from_files(name, scene, missing, video.wanted)
        if from_files(name)
        else rules.masks(name)
        for name in methods
        if name != "ours"
    }
    model: dict[str, str] = {}
    if "ours" in methods:
        online = Online(ours)
        model = online.model
        steps["ours"] = online.run(video.frames())
    scores: dict[str, Scores] = {name: defaultdict(list) for name in methods}
    # Frame by frame over all methods, so that they share the optical flow of the frames around.
    for index in range(len(video.numbers)):
        for name in methods:
            for protocol, found in score(index, next(steps[name])).items():
                scores[name][protocol] += found
            tick(1)
    plain = {name: dict(found) for name, found in scores.items()}
    return VideoResult(video.name, len(video.numbers), plain, model, missing)


def merged(results: Iterable[Scores]) -> Scores:
    """Return the scores of all videos by protocol."""
    together: Scores = defaultdict(list)
    for scores in results:
        for protocol, found in scores.items():
            together[protocol] += found
    return together


def about(name: str, results: Sequence[VideoResult]) -> dict:
    """What was scored of a set, for result files."""
    frames = sum(result.frames for result in results)
    return {"set": name, "clips": [result.name for result in results], "frames": frames}


def metrics_of(
    name: str,
    rules: dict,
    results: Sequence[VideoResult],
    methods: Sequence[str],
    files: dict,
    seed: int,
    report: Callable[[Scores, int], dict],
) -> dict:
    """The metrics of the scored videos of a set: protocol, data, model, files, methods."""
    return {
        "protocol": rules,
        "data": about(name, results),
        "model": results[0].model,
        "files": with_missing(files, methods, [result.missing for result in results]),
        "methods": {
            label(method): report(merged(result.scores[method] for result in results), seed)
            for method in methods
        },
    }


class Rules:
    """Masks by rules that need no learning, for the wanted objects of each frame."""

    def __init__(self, video: Video) -> None:
        self._video = video
        self._flow = DisPairFlow(
            cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY) for frame in video.frames()
        )
        self._tracks = {
            name: {i: masks[name] for i, masks in enumerate(video.visible) if name in masks}
            for name in set().union(*video.wanted)
        }

    def masks(self, method: str) -> Iterator[dict[str, BoxedMask]]:
        """Masks by one method, a dictionary per frame."""
        for index, names in enumerate(self._video.wanted):
            yield {name: self._mask(method, name, index) for name in names}

    def _mask(self, method: str, name: str, index: int) -> BoxedMask:
        if method == "visible":
            return self._video.visible[index][name]
        if method == "convex":
            return convex_hull(self._video.visible[index][name])
        window, direction, touched = FLOW_METHOD.fullmatch(method).groups()
        return aggregate(
            self._tracks[name],
            self._flow,
            index,
            int(window),
            self._video.shape,
            direction or "both",
            ANY if touched else HALF,
        )
