"""Turns raw data sets into stored clips; finished clips are kept, so an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
from rich.progress import track

from savos_model.config import ModelConfig
from savos_model.types import Instance
from training.data.fishbowl import FishbowlClip
from training.data.store import ClipFrame, store_clip
from training.data.street import StreetConfig, generate

STRIDES = (1, 2, 3)  # clips are taken at 30, 15 and 10 Hz in turn: robots differ


@dataclass(frozen=True)
class Job:
    """One clip to store: where it goes, and the picklable call that yields its frames."""

    folder: Path
    frames: Callable[..., Iterator[ClipFrame]]
    arguments: tuple
    patch: tuple[int, int]


def fishbowl_frames(path: Path, stride: int) -> Iterator[ClipFrame]:
    """Every `stride`-th frame of a FISHBOWL clip."""
    clip = FishbowlClip(path)
    for index, image in enumerate(clip.frames()):
        if index % stride:
            continue
        visible = {fish.id: fish.visible(index) for fish in clip.objects}
        full = {fish.id: fish.full(index) for fish in clip.objects}
        instances = [Instance(i, m.box, m.mask) for i, m in visible.items() if m is not None]
        yield ClipFrame(image, instances, {i: m for i, m in full.items() if m is not None})


def street_frames(seed: int, frames: int) -> Iterator[ClipFrame]:
    """A generated street clip with exact visible masks."""
    for frame in generate(StreetConfig(seed=seed, frames=frames)):
        seen = [item for item in frame.objects if item.visible is not None]
        instances = [Instance(str(item.id), *item.visible) for item in seen]
        yield ClipFrame(frame.image, instances, {str(item.id): item.full for item in seen})


def fishbowl_jobs(data: Path, out: Path, model: ModelConfig) -> list[Job]:
    """One job per clip of a folder with `<clip>.mp4` and `<clip>.json.gz`."""
    clips = sorted(data.glob("*.mp4"))
    if not clips:
        raise FileNotFoundError(
            f"no clips (*.mp4 with *.json.gz) in {data}: give the folder that holds them"
        )
    return [
        Job(out / path.stem, fishbowl_frames, (path, STRIDES[i % len(STRIDES)]), model.patch)
        for i, path in enumerate(clips)
    ]


def street_jobs(clips: int, frames: int, out: Path, model: ModelConfig) -> list[Job]:
    """Generated clips with seeds 0, 1, ... ."""
    return [
        Job(out / f"street_{s:04d}", street_frames, (s, frames), model.patch) for s in range(clips)
    ]


def run_job(job: Job) -> int:
    """Store one clip unless it is finished; returns its rows."""
    cv2.setNumThreads(1)
    if (job.folder / "meta.json").exists():
        return 0
    return store_clip(job.frames(*job.arguments), job.folder, job.patch)


def prepare(jobs: list[Job], processes: int) -> int:
    """Store all clips with progress; returns the number of rows written."""
    if processes == 1:
        return sum(track(map(run_job, jobs), "clips", total=len(jobs)))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return sum(track(pool.map(run_job, jobs), "clips", total=len(jobs)))
