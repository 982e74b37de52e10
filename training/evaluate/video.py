"""Runs methods over the frames of a video: rules, trained U-Nets, results of other programs."""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import repeat
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from savos_model.masks import BoxedMask, convex_hull
from savos_model.settings import SettingError
from savos_model.stream.video import Online, Setup
from savos_model.types import AmodalObject, Frame, Instance
from training.baselines.external import ExternalClip
from training.baselines.rules import ANY, HALF, DisPairFlow, aggregate
from training.data.jobs import Tick
from training.data.store import ClipFrame
from training.evaluate.metrics import Masks
from training.evaluate.settings import FILES

if TYPE_CHECKING:
    from training.baselines.unet import UNet

TTA = "deocclusion+tta"  # partial completion, adapted to each video before it is scored
KINDS = ("deocclusion", TTA, "oracle", "external")
TTA_ITERATIONS, TTA_RATE = 50, 1e-4


def from_files(method: str) -> bool:
    """Return whether a method is one of FILES."""
    return method.partition(":")[0] in KINDS and ":" in method


def label(method: str) -> str:
    """Return the name in result files: that of the kind, with the folder of external ones."""
    kind, _, path = method.partition(":")
    return f"external:{Path(path).name}" if kind == "external" else kind


def describe_methods(methods: Sequence[str]) -> dict[str, dict]:
    """Describe the methods of FILES among `methods` by label, for result files.

    Raises ValueError: a file or folder is not there or not fit, or two methods have one label.
    """
    names = [label(method) for method in methods]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SettingError(f"methods must differ, got {twice[0]} twice: score it in two runs")
    return {label(method): _describe(method) for method in methods if from_files(method)}


def _describe(method: str) -> dict:
    kind, _, path = method.partition(":")
    if kind == "external":
        if not Path(path).is_dir():
            raise SettingError(f"methods must name a folder of results, got {method}")
        return {"folder": Path(path).name}
    net, info = _opened(Path(path))
    if net.config.task != kind.partition("+")[0]:
        raise SettingError(f"methods must fit their files, got {method}, of {net.config.task}")
    adapted = {"iterations": TTA_ITERATIONS, "learning_rate": TTA_RATE} if kind == TTA else None
    return {"file": Path(path).name, "settings": asdict(net.config), "training": info} | (
        {"adaptation": adapted} if adapted else {}
    )


def with_missing(
    described: dict[str, dict], methods: Sequence[str], counts: Iterable[Mapping[str, int]]
) -> dict[str, dict]:
    """Add to external methods' descriptions the objects that kept their visible mask."""
    total: Counter[str] = sum(map(Counter, counts), Counter())
    external = {label(m): total[m] for m in methods if m.startswith("external:")}
    return described | {
        name: described[name] | {"missing": count} for name, count in external.items()
    }


@functools.lru_cache(maxsize=4)
def _opened(path: Path) -> tuple[UNet, dict[str, str]]:
    # Imported here, so that rules and results of others are scored without PyTorch.
    import torch

    from training.baselines.unet import load_unet

    torch.set_num_threads(1)  # the processes share the cores already
    return load_unet(path)


def masks_from_files(
    method: str,
    video: str,
    frames: Callable[[], Iterable[tuple[int, Frame]]],
    missing: Counter[str],
    wanted: Iterable[Collection[str] | None] = repeat(None),
) -> Iterator[Masks | list[AmodalObject]]:
    """Yield the masks by one method of FILES, frame by frame of a video.

    `frames` is called for number and frame of each. `missing` counts under `method` the objects
    without a result, which keep their visible mask. `wanted` are the ids to complete in each frame;
    None for all.
    """
    kind, _, path = method.partition(":")
    if kind == "external":
        results = ExternalClip(Path(path), video)
        for (number, frame), ids in zip(frames(), wanted, strict=False):
            masks = {}
            for item in frame.instances:
                if ids is None or item.id in ids:
                    found = results.mask(number, item.id, frame.image.shape[:2])
                    missing[method] += found is None
                    masks[item.id] = found or (item.box, item.mask)
            yield masks
        return
    from training.baselines.unet import adapt_unet, clip_rows, complete_frame

    net, _ = _opened(Path(path))
    if kind == TTA:
        seen = ((frame.image, frame.instances) for _, frame in frames())
        net = adapt_unet(net, clip_rows(seen, net.config.model.patch), TTA_ITERATIONS, TTA_RATE)
    for (_, frame), ids in zip(frames(), wanted, strict=False):
        yield complete_frame(net, frame.image, frame.instances, ids)


METHODS = ("ours", "visible", "convex")
FLOW_METHOD = re.compile(r"flow([1-9]|1[0-9])(?:_(forward|backward))?(_any)?")
FLOW_HELP = "flowK with K from 1 to 19, then _forward or _backward, then _any, as wished"
Scores = Mapping[str, list[Any]]  # by protocol
Score = Callable[[int, Masks | list[AmodalObject]], Scores]


@dataclass(frozen=True)
class Video:
    """One video to run over; `name` and `numbers` of frames as results of other programs call them.

    Attributes:
        shape: rows and columns of its images.
        frames: call that yields all frames; each method reads them for itself, none keeps them.
        visible, wanted: by frame, the visible masks by id and the ids to complete.
        score: gives the scores of a frame, by its index, and its completed masks.
        rows: call that yields the frames that weights may adapt to; None where there are none.
        first: index of the first frame that is scored.
        counts: what else is reported of the video.
    """

    name: str
    shape: tuple[int, int]
    numbers: Sequence[int]
    frames: Callable[[], Iterable[Frame]]
    visible: Sequence[Masks]
    wanted: Sequence[set[str]]
    score: Score
    rows: Callable[[], Iterable[ClipFrame]] | None = None
    first: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoResult:
    """Scores of one video by method and protocol.

    Attributes:
        model: what our method ran on; empty without it.
        missing: by method, the scored objects without a result, which kept their visible mask.
        counts: those of the video, and its frames, frames_with_masks and objects, and how many
            frames and objects our method answered.
        births: first frame of every id.
    """

    name: str
    frames: int
    scores: dict[str, Scores]
    model: dict[str, Any]
    missing: Counter[str]
    counts: Counter[str]
    births: dict[str, int]


def check_methods(methods: Sequence[str], flow: bool = True) -> tuple[str, ...]:
    """Return the methods; refuse unknown or repeated ones, and without `flow` those that follow it.

    Raises SettingError: names the methods and the possible ones.
    """
    unknown = [
        name
        for name in methods
        if name not in METHODS
        and not from_files(name)
        and not (flow and FLOW_METHOD.fullmatch(name))
    ]
    if unknown or len(set(methods)) != len(methods) or not methods:
        possible = ", ".join([*METHODS, *([FLOW_HELP] if flow else []), FILES])
        raise SettingError(
            f"methods must be of {possible}, once each; got {','.join(methods) or 'none'}"
        )
    return tuple(methods)


def births(visible: Iterable[Masks]) -> dict[str, int]:
    """Return the first frame of every id."""
    first: dict[str, int] = {}
    for index, masks in enumerate(visible):
        for name in masks:
            first.setdefault(name, index)
    return first


def stream_frames(
    frames: Iterable[ClipFrame],
    stamps: Iterable[int],
    given: Callable[[ClipFrame], list[Instance]] = attrgetter("instances"),
) -> Iterator[Frame]:
    """Yield frames as the stream takes them at `stamps` [ns], with the masks that `given` gives.

    Each has the flow into it, where there is flow to the next and to the previous frame.
    """
    ahead = None
    for stamp, frame in zip(stamps, frames, strict=True):
        yield Frame(stamp, frame.image, given(frame), flow=ahead, flow_back=frame.flow_back)
        ahead = frame.flow


def score_videos(
    videos: Iterable[Video], methods: Sequence[str], ours: Setup, tick: Tick
) -> list[VideoResult]:
    """Score every frame of some videos with every method; tick(1) after each of them."""
    online = Online(ours) if "ours" in methods else None
    return [_score_video(video, methods, online, tick) for video in videos]


def _score_video(
    video: Video, methods: Sequence[str], online: Online | None, tick: Tick
) -> VideoResult:
    missing: Counter[str] = Counter()
    wanted = [ids if i >= video.first else set() for i, ids in enumerate(video.wanted)]

    def numbered() -> Iterator[tuple[int, Frame]]:
        return zip(video.numbers, video.frames(), strict=True)

    rules = Rules(video, wanted)
    steps: dict[str, Iterator] = {
        name: masks_from_files(name, video.name, numbered, missing, wanted)
        if from_files(name)
        else rules.masks(name)
        for name in methods
        if name != "ours"
    }
    if online:
        steps["ours"] = online.run(video.frames())
    scores: dict[str, dict[str, list]] = {name: defaultdict(list) for name in methods}
    counts = Counter(video.counts)
    # Frame by frame over all methods, so that they share the optical flow of the frames around.
    for index in range(len(video.numbers)):
        for name in methods:
            masks = next(steps[name])
            if index >= video.first:
                for protocol, found in video.score(index, masks).items():
                    scores[name][protocol] += found
            if name == "ours":
                _count(masks, video.visible[index], counts)
            tick(1)
    counts["frames"] = len(video.numbers)
    counts["frames_with_masks"] = sum(map(bool, video.visible))
    counts["objects"] = sum(map(len, video.visible))
    plain = {name: dict(found) for name, found in scores.items()}
    model = online.model if online else {}
    born = births(video.visible)
    return VideoResult(video.name, len(video.numbers), plain, model, missing, counts, born)


def _count(objects: Sequence[AmodalObject], given: Masks, counts: Counter[str]) -> None:
    answered = given.keys() & {item.id for item in objects}
    counts["objects_answered"] += len(answered)
    counts["frames_answered"] += bool(given) and len(answered) == len(given)


def merged(results: Iterable[Scores]) -> Scores:
    """Return the scores of several videos together, by protocol."""
    together: dict[str, list] = defaultdict(list)
    for scores in results:
        for protocol, found in scores.items():
            together[protocol] += found
    return together


class Rules:
    """Masks by rules that need no learning, for the wanted objects of each frame."""

    def __init__(self, video: Video, wanted: Sequence[set[str]]) -> None:
        self._video, self._wanted = video, wanted
        self._flow = DisPairFlow(
            cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY) for frame in video.frames()
        )
        self._tracks = {
            name: {i: masks[name] for i, masks in enumerate(video.visible) if name in masks}
            for name in set().union(*wanted)
        }

    def masks(self, method: str) -> Iterator[dict[str, BoxedMask]]:
        """Yield the masks by one method, a dictionary per frame."""
        for index, names in enumerate(self._wanted):
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
