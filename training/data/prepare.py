"""Turns raw data sets into stored clips; finished clips are kept, so an interrupted run goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from rich.progress import track

from savos_model.config import ModelConfig
from savos_model.types import Instance
from training.data.chewing_gum import ChewingGumConfig, videos
from training.data.fishbowl_released import ReleasedClip, clip_paths, is_released, open_fishbowl
from training.data.flow_files import with_flo
from training.data.kins_video_car import (
    TruthSource,
    built_frames,
    drive_folder,
    open_released,
    released_frames,
    tracked_drives,
)
from training.data.kitti_frames import clip_frames
from training.data.kitti_mots import open_raw, open_tracking
from training.data.parts import CHUNK, part_name
from training.data.prepared import is_made_so, origin
from training.data.provenance import require
from training.data.raft_flow import RaftFlow, with_raft
from training.data.scenery import scenery_over
from training.data.store import ClipFrame, clip_folders, store_clip
from training.street.config import StreetConfig
from training.street.generate import generate

Made = TypeVar("Made")
STRIDES = (1, 2, 3)  # clips are taken at 30, 15 and 10 Hz: robots differ
MIN_HZ = 7.0  # slow clips are not thinned to less: tracks would jump
GUM_BLOCK = 20  # Chewing Gum videos stored as one clip
GUM_MIN_PX = 16  # a whole polygon has about 150 px
FLOWS = ("dis", "raft_small", "raft_large")


@dataclass(frozen=True)
class Job:
    """One clip to store: where it goes, and the picklable call that yields its frames.

    Attributes:
        min_px: smaller visible masks are left out.
        flow: of FLOWS, where the frames bring none.
    """

    folder: Path
    frames: Callable[..., Iterator[ClipFrame]]
    arguments: tuple
    patch: tuple[int, int]
    min_px: int = 64
    flow: str = "dis"

    @property
    def origin(self) -> dict[str, Any]:
        """What decides the clip's content."""
        how = {"patch": self.patch, "min_px": self.min_px, "flow": self.flow}
        return origin(self.frames, self.arguments, **how)


def fishbowl_frames(path: Path, stride: int = 1, without: str = "") -> Iterator[ClipFrame]:
    """Every `stride`-th frame of a FISHBOWL clip; with stride 1 it brings the released flow.

    Fish of the species `without` only hide others.
    """
    clip = open_fishbowl(path)

    def frame(index: int, image: np.ndarray) -> ClipFrame:
        found = clip.instances(index)
        kept = [item for item in found if item.class_id != without]
        hiding = [item for item in found if item.class_id == without]
        full = {item.id: (item.box, item.mask) for item in clip.truth(index)}
        others = hiding + clip.untracked(index)
        scenery = scenery_over(full, [*kept, *others], image.shape[:2])
        return ClipFrame(image, kept, full, others, scenery=scenery)

    made = (frame(i, image) for i, image in enumerate(clip.frames()) if i % stride == 0)
    flow = clip.flow if isinstance(clip, ReleasedClip) and stride == 1 else None
    return with_flo(made, *flow) if flow else made


def street_frames(seed: int, frames: int) -> Iterator[ClipFrame]:
    """A generated street clip with exact visible masks."""
    for frame in generate(StreetConfig(seed=seed, frames=frames)):
        seen = [item for item in frame.objects if item.visible is not None]
        instances = [Instance(str(item.id), *item.visible) for item in seen]
        full = {str(item.id): item.full for item in seen}
        scenery = scenery_over(full, instances, frame.image.shape[:2])
        yield ClipFrame(frame.image, instances, full, scenery=scenery)


def chewing_gum_frames(seed: int, start: int, count: int) -> Iterator[ClipFrame]:
    """Generated Chewing Gum videos one after the other, each with its own track ids."""
    for video in videos(ChewingGumConfig(seed=seed), start, count):
        for frame in video.clip_frames():
            named = [replace(item, id=f"{video.name}/{item.id}") for item in frame.instances]
            full = {f"{video.name}/{name}": mask for name, mask in (frame.full or {}).items()}
            yield replace(frame, instances=named, full=full)


def kitti_frames(
    root: Path, sequence: str, masks: str, start: int, stop: int
) -> Iterator[ClipFrame]:
    """Frames start .. stop - 1 of a KITTI MOTS sequence, all classes tracked, without truth."""
    return clip_frames(open_tracking(root, sequence, masks), start, stop)


def fishbowl_jobs(data: Path, out: Path, model: ModelConfig, without: str = "") -> list[Job]:
    """One job per clip of a folder with `<clip>.mp4` and `<clip>.json.gz`, or per released video.

    Released videos keep their rate, for which they bring flow. Fish of the species `without` are
    left out, for the experiment with an unseen species.
    """
    strides = (1,) if is_released(data) else STRIDES
    return _clip_jobs(data, out, model, without, lambda path: strides)


def rendered_jobs(data: Path, out: Path, model: ModelConfig) -> list[Job]:
    """Return one job per rendered clip, which has the layout of a FISHBOWL clip.

    Clips are thinned by those of STRIDES, in turn, that leave MIN_HZ.

    Raises:
        FileNotFoundError: there are no clips.
        FishbowlError: one cannot be read.
    """
    return _clip_jobs(data, out, model, "", lambda path: strides_of(open_fishbowl(path).fps))


def strides_of(fps: float) -> tuple[int, ...]:
    """Return those of STRIDES that leave a clip MIN_HZ; 1 always."""
    return tuple(stride for stride in STRIDES if stride == 1 or fps / stride >= MIN_HZ)


def _clip_jobs(
    data: Path,
    out: Path,
    model: ModelConfig,
    without: str,
    strides_for: Callable[[Path], tuple[int, ...]],
) -> list[Job]:
    clips = clip_paths(data)
    if not clips:
        raise FileNotFoundError(
            f"no clips (*.mp4 with *.json.gz) in {data}: give the folder that holds them"
        )
    jobs = []
    for i, path in enumerate(clips):
        strides = strides_for(path)
        # Shifted by one after each turn: every 12th clip validates, and would always get the first.
        stride = strides[(i + i // len(strides)) % len(strides)]
        arguments = (path, stride, without)
        jobs.append(Job(out / path.name, fishbowl_frames, arguments, model.patch))
    return jobs


def street_jobs(
    clips: int, frames: int, out: Path, model: ModelConfig, first_seed: int = 0
) -> list[Job]:
    """Generated clips with seeds first_seed, first_seed + 1, ... ."""
    return [
        Job(out / f"street_{s:04d}", street_frames, (s, frames), model.patch)
        for s in range(first_seed, first_seed + clips)
    ]


def chewing_gum_jobs(count: int, out: Path, model: ModelConfig, seed: int = 0) -> list[Job]:
    """Blocks of generated Chewing Gum videos 0 .. count - 1 of one seed."""
    jobs = []
    for start in range(0, count, GUM_BLOCK):
        name = f"gum_{seed}_{start:06d}"
        arguments = (seed, start, min(GUM_BLOCK, count - start))
        jobs.append(Job(out / name, chewing_gum_frames, arguments, model.patch, GUM_MIN_PX))
    return jobs


def kitti_jobs(
    root: Path,
    out: Path,
    model: ModelConfig,
    sequences: list[str] | None = None,
    masks: str = "txt",
) -> list[Job]:
    """Parts of KITTI MOTS sequences.

    Args:
        root: folder with training/image_02 and the masks.
        out: folder of the stored clips.
        model: its patch decides the size of the rows.
        sequences: their names; all whose images are there when None.
        masks: txt or png (truth), or tracker.

    Raises:
        MissingPartError, KittiError: images or masks are missing.
    """
    images = require("kitti_tracking", root / "training" / "image_02")
    if masks in ("txt", "png"):
        require("kitti_mots", root / {"txt": "instances_txt", "png": "instances"}[masks])
    names = sequences or sorted(path.name for path in images.iterdir() if path.is_dir())
    jobs = []
    for name in names:
        length = len(open_tracking(root, name, masks).frames)
        for start, stop in _chunks(length):
            folder = out / part_name(f"{name}_{masks}", start)
            jobs.append(Job(folder, kitti_frames, (root, name, masks, start, stop), model.patch))
    return jobs


def built_jobs(
    raw: Path, masks: Path, out: Path, model: ModelConfig, truth: TruthSource | None = None
) -> list[Job]:
    """Parts of the drives of KITTI raw for which `masks` holds <drive>.txt."""
    jobs = []
    for drive, file in tracked_drives(raw, masks).items():
        for start, stop in _chunks(len(open_raw(drive_folder(raw, drive)).frames)):
            folder = out / part_name(drive, start)
            arguments = (raw, drive, file, truth, start, stop)
            jobs.append(Job(folder, built_frames, arguments, model.patch))
    return jobs


def released_jobs(
    root: Path, split: str, out: Path, model: ModelConfig, truth: TruthSource | None = None
) -> list[Job]:
    """Parts of the drives of one split of the released KINS-Video-Car."""
    cars, jobs = open_released(root, split), []
    for video in cars.videos:
        for start, stop in _chunks(len(cars.pictures(video))):
            folder = out / part_name(video, start)
            arguments = (root, split, video, truth, start, stop)
            jobs.append(Job(folder, released_frames, arguments, model.patch))
    return jobs


def _chunks(length: int) -> list[tuple[int, int]]:
    return [(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]


def is_finished(job: Job) -> bool:
    """Whether a clip is stored already.

    Raises:
        ValueError: one is, but made otherwise, or it does not say how (training.data.prepared).
    """
    return is_made_so(job.folder, job.origin)


def strangers(jobs: list[Job], out: Path) -> list[str]:
    """Names of finished clips in a folder that are not those of the jobs."""
    ours = {job.folder.name for job in jobs}
    return [path.name for path in clip_folders(out) if path.name not in ours]


def run_job(job: Job) -> int:
    """Store one clip unless it is finished; returns its rows."""
    cv2.setNumThreads(1)
    if is_finished(job):
        return 0
    frames = job.frames(*job.arguments)
    if job.flow != "dis":
        frames = with_raft(frames, _raft(job.flow))
    return store_clip(frames, job.folder, job.patch, job.min_px, job.origin)


@functools.lru_cache(maxsize=1)
def _raft(flow: str) -> RaftFlow:
    return RaftFlow(flow.removeprefix("raft_"))


def prepare(jobs: Sequence[Made], processes: int, run: Callable[[Made], int] = run_job) -> int:
    """Store all clips with progress; returns the number of rows written.

    `run` makes the clip of a job and returns a count. The first error ends the run; finished clips
    stay, and the next run continues behind them.
    """
    if processes == 1:
        return sum(track(map(run, jobs), "clips", total=len(jobs)))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            return sum(track(pool.map(run, jobs), "clips", total=len(jobs)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
