"""Scores methods on Chewing Gum videos by the paper's protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from savos_model.types import Frame
from training.baselines.convex_hull import convex_hull
from training.boxed import by_id
from training.data.chewing_gum import ChewingGumConfig, GeneratedVideos, Video
from training.data.chewing_gum_npz import NpzVideos
from training.data.chewing_gum_released import ReleasedVideos
from training.data.store import ClipFrame
from training.evaluate.jobs import Tick, run_jobs
from training.evaluate.methods import (
    HELP,
    Scene,
    describe_methods,
    from_files,
    label,
    masks_from_files,
    with_missing,
)
from training.evaluate.metrics import Masks, ObjectScore, score_frame, summarise
from training.evaluate.summary import bootstrap, by_occlusion
from training.evaluate.tables import chewing_gum_table
from training.online import Online, Setup
from training.results import keep_results

METHODS = ("ours", "visible", "convex")
BLOCK = 25  # videos of one job
PERIOD_NS = 100_000_000  # the set has no frame rate; 10 Hz keeps the stream's tracks alive
Videos = NpzVideos | ReleasedVideos | GeneratedVideos
PROTOCOL = {
    "frames": "all but the first and the last of a video, as the released evaluation scores them",
    "full": "IoU after the visible mask replaced the prediction outside the other object",
    "occluded": "IoU inside the other object's visible mask",
    "lower_object": "the object that another one lies on, in frames where part of it is hidden",
    "all_objects": "every object of a frame, the upper one too, averaged by frame",
}

FLOWS = {"topic": "exact: the motion that the videos were drawn with"}


@dataclass(frozen=True)
class BlockJob:
    """Some videos to score: which set, from and to which number, by which methods."""

    videos: Videos
    start: int
    stop: int
    methods: tuple[str, ...]
    ours: Setup


@dataclass(frozen=True)
class BlockResult:
    """Scores of some videos by method; of the lower objects alone and of all.

    `missing` counts by method the objects without a result, which kept their visible mask.
    """

    lower: dict[str, list[ObjectScore]]
    everything: dict[str, list[ObjectScore]]
    frames: int
    missing: dict[str, int]
    model: dict[str, str]


def open_videos(data: Path | None, count: int, video_seed: int) -> tuple[Videos, dict]:
    """Open a set of videos.

    Args:
        data: npz file, or folder in the layout of the released generator; None generates.
        count: videos to generate; of a file or folder all are taken.
        video_seed: of the generated videos.

    Returns:
        The set, and what it is, for result files.

    Raises:
        ValueError: unreadable, or a count below 1.
    """
    if data is None:
        if count < 1:
            raise ValueError(f"--videos must be at least 1, got {count}: the paper has 1000")
        config = ChewingGumConfig(seed=video_seed)
        return GeneratedVideos(config, count), {"source": "generated", "video_seed": video_seed}
    found = ReleasedVideos(data) if data.is_dir() else NpzVideos(data)
    return found, {"source": data.name}


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Refuse unknown or repeated methods."""
    unknown = {name for name in methods if name not in METHODS and not from_files(name)}
    if not methods or unknown or len(set(methods)) != len(methods):
        raise ValueError(
            f"methods must be of {', '.join(METHODS)}, {HELP}, once each, "
            f"got {','.join(methods) or 'none'}"
        )
    return tuple(methods)


def evaluate_block(job: BlockJob, tick: Tick) -> BlockResult:
    """Score some videos; tick(1) after each."""
    ours = Online(job.ours) if "ours" in job.methods else None
    lower: dict[str, list[ObjectScore]] = {name: [] for name in job.methods}
    everything: dict[str, list[ObjectScore]] = {name: [] for name in job.methods}
    frames, missing = 0, Counter()
    for video in job.videos.read(job.start, job.stop):
        for name, scores in score_video(video, job.methods, ours, missing):
            everything[name] += scores
            lower[name] += [s for s in scores if s.id in video.occluded and 0 < s.occlusion < 1]
        frames += len(video.frames)
        tick(1)
    return BlockResult(lower, everything, frames, missing, ours.model if ours else {})


def score_video(
    video: Video, methods: Sequence[str], ours: Online | None, missing: Counter[str]
) -> Iterator[tuple[str, list[ObjectScore]]]:
    """Scores of each method in each inner frame."""
    last = len(video.frames) - 1
    frames = list(video.clip_frames())
    answers = {"ours": ours.run(stream_frames(frames))} if ours else {}
    scene = Scene(video.name, lambda: ((i, f.image, f.instances) for i, f in enumerate(frames)))
    answers |= {m: masks_from_files(m, scene, missing) for m in methods if from_files(m)}
    for index, frame in enumerate(frames):
        visible = by_id(frame.instances)
        for name in methods:
            if name in answers:
                masks: Masks | list = next(answers[name])
            elif name == "convex":
                masks = {k: convex_hull(mask) for k, mask in visible.items()}
            else:
                masks = visible
            if 0 < index < last:
                shape = frame.image.shape[:2]
                where = {"clip": video.name, "frame": index}
                yield name, score_frame(masks, frame.full or {}, visible, shape, **where)


def stream_frames(frames: Sequence[ClipFrame]) -> Iterator[Frame]:
    """Frames as the stream takes them; each carries the flow into it, where the video has flow."""
    ahead = None
    for index, frame in enumerate(frames):
        stamp = index * PERIOD_NS
        yield Frame(stamp, frame.image, frame.instances, flow=ahead, flow_back=frame.flow_back)
        ahead = frame.flow


def gum_report(scores: Sequence[ObjectScore], seed: int) -> dict:
    """Means, their 95 % intervals with videos drawn again, and means by occlusion rate."""
    return {
        **summarise(scores, None),
        "ci95": {field: bootstrap(scores, field, seed) for field in ("full", "occluded")},
        "by_occlusion": by_occlusion(scores),
    }


def gum_reports(results: Sequence[BlockResult], method: str, seed: int) -> dict[str, dict]:
    """The report of one method on the lower objects, and on all."""
    lower = [score for result in results for score in result.lower[method]]
    everything = [score for result in results for score in result.everything[method]]
    return {"lower_object": gum_report(lower, seed), "all_objects": gum_report(everything, seed)}


def evaluate_chewing_gum(
    data: Path | None,
    methods: Sequence[str],
    ours: Setup,
    out: Path | None,
    *,
    count: int = 1000,
    video_seed: int = 1,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Score all videos of a set, print the table and write the results file.

    Args:
        data: npz file, folder in the released layout, or None to generate videos.
        methods: of METHODS or read from files.
        ours: how our method runs.
        out: results file; None writes none.
        count: videos to generate.
        video_seed: of the generated videos.
        processes: worker processes.
        seed: of the bootstrap.
        console: where table and progress go; standard output when None.

    Returns:
        The metrics: protocol, data, model, files, methods {name: {lower_object, all_objects}}.

    Raises:
        ValueError: unreadable videos or bad arguments.
    """
    console, method = console or Console(), ours.stream.flow.method
    names, files = check_methods(methods), describe_methods(methods)
    if method == "topic" and data is not None:
        raise ValueError(
            "--flow topic needs videos of known motion, which files do not hold: leave --data out, "
            "or take --flow dis_fast"
        )
    videos, source = open_videos(data, count, video_seed)
    jobs = [
        BlockJob(videos, start, min(start + BLOCK, videos.count), names, ours)
        for start in range(0, videos.count, BLOCK)
    ]
    results = run_jobs(evaluate_block, jobs, processes, videos.count, "scoring", console)
    frames = sum(result.frames for result in results)
    metrics = {
        "protocol": {**PROTOCOL, "mode": ours.mode, "flow": FLOWS.get(method, method)},
        "data": {"set": "chewing_gum", **source, "videos": videos.count, "frames": frames},
        "model": results[0].model,
        "files": with_missing(files, names, [result.missing for result in results]),
        "methods": {label(name): gum_reports(results, name, seed) for name in names},
    }
    chewing_gum_table(metrics, console)
    keep_results(out, metrics, seed, console)
    return metrics
