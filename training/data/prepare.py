"""Turns raw data sets into stored clips; an interrupted run continues after those finished."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from savos_model.config import ModelConfig
from savos_model.types import Instance
from training.data import settings
from training.data.chewing_gum import ChewingGumConfig, videos
from training.data.fishbowl import ReleasedClip, clip_paths, is_released, open_fishbowl
from training.data.flow_files import RaftFlow, with_flo, with_raft
from training.data.jobs import Tick, run_jobs
from training.data.kins_video_car import drives_of, truth_source
from training.data.kitti_mots import clip_frames, open_tracking
from training.data.provenance import require
from training.data.store import (
    CHUNK,
    ClipFrame,
    StoreError,
    clip_folders,
    part_name,
    scenery_over,
    store_clip,
)
from training.street.config import StreetConfig
from training.street.generate import generate

REMEDY = "give another --out, or remove that folder"
Made = TypeVar("Made")
STRIDES = (1, 2, 3)  # clips are taken at 30, 15 and 10 Hz: robots differ
MIN_HZ = 7.0  # slow clips are not thinned to less: tracks would jump
GUM_BLOCK = 20  # Chewing Gum videos stored as one clip
GUM_MIN_PX = 16  # a whole polygon has about 150 px


@dataclass(frozen=True)
class Job:
    """One clip to store: where it goes, and the picklable call that yields its frames.

    Visible masks below `min_px` are left out; `flow`, of FLOWS, is used where frames bring none.
    """

    folder: Path
    frames: Callable[..., Iterator[ClipFrame]]
    arguments: tuple
    patch: tuple[int, int]
    min_px: int = 64
    flow: str = "dis"

    @property
    def origin(self) -> dict[str, Any]:
        """Return what decides the clip's content, as JSON has it.

        That is the function that yields the frames, its arguments, patch, least area and flow. Of a
        path its place counts, so a data set that was moved is another one.
        """
        bound = inspect.signature(self.frames).bind(*self.arguments)
        bound.apply_defaults()
        how = {"patch": self.patch, "min_px": self.min_px, "flow": self.flow}
        made = {"by": self.frames.__name__, **bound.arguments, **how}
        return json.loads(json.dumps(made, default=_plain))


def _plain(value: Any) -> Any:
    return str(value.resolve()) if isinstance(value, Path) else vars(value)


def fishbowl_frames(path: Path, stride: int = 1, without: str = "") -> Iterator[ClipFrame]:
    """Yield every `stride`-th frame of a FISHBOWL clip; with stride 1 it brings the released flow.

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
    """Yield a generated street clip with exact visible masks."""
    for frame in generate(StreetConfig(seed=seed, frames=frames)):
        seen = [item for item in frame.objects if item.visible is not None]
        instances = [Instance(str(item.id), *item.visible) for item in seen]
        full = {str(item.id): item.full for item in seen}
        scenery = scenery_over(full, instances, frame.image.shape[:2])
        yield ClipFrame(frame.image, instances, full, scenery=scenery)


def chewing_gum_frames(seed: int, start: int, count: int) -> Iterator[ClipFrame]:
    """Yield generated Chewing Gum videos one after the other, each with its own track ids."""
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


def strides_of(fps: float) -> tuple[int, ...]:
    """Return those of STRIDES that leave a clip MIN_HZ; 1 always."""
    return tuple(stride for stride in STRIDES if stride == 1 or fps / stride >= MIN_HZ)


def clip_jobs(
    source: settings.FishbowlSource | settings.ClipSource, out: Path, model: ModelConfig
) -> list[Job]:
    """Return one job per clip, thinned by STRIDES in turn: rendered ones so that MIN_HZ is left.

    Released videos keep their rate, for which they bring flow.

    Raises FileNotFoundError: there are no clips; FishbowlError: a rendered one cannot be read.
    """
    clips = clip_paths(source.data)
    if not clips:
        raise FileNotFoundError(
            f"no clips (*.mp4 with *.json.gz) in {source.data}: give the folder that holds them"
        )
    fish, jobs = isinstance(source, settings.FishbowlSource), []
    usual = (1,) if is_released(source.data) else STRIDES
    for i, path in enumerate(clips):
        strides = usual if fish else strides_of(open_fishbowl(path).fps)
        # Shifted by one after each turn: every 12th clip validates, and would always get the first.
        stride = strides[(i + i // len(strides)) % len(strides)]
        arguments = (path, stride, source.without if fish else "")
        jobs.append(Job(out / path.name, fishbowl_frames, arguments, model.patch))
    return jobs


def street_jobs(source: settings.StreetSource, out: Path, model: ModelConfig) -> list[Job]:
    """Return one job per generated clip."""
    return [
        Job(out / f"street_{seed:04d}", street_frames, (seed, source.frames), model.patch)
        for seed in range(source.seed, source.seed + source.clips)
    ]


def chewing_gum_jobs(source: settings.GumSource, out: Path, model: ModelConfig) -> list[Job]:
    """Return jobs of GUM_BLOCK generated videos each."""
    jobs = []
    for start in range(0, source.videos, GUM_BLOCK):
        folder = out / f"gum_{source.seed}_{start:06d}"
        arguments = (source.seed, start, min(GUM_BLOCK, source.videos - start))
        jobs.append(Job(folder, chewing_gum_frames, arguments, model.patch, GUM_MIN_PX))
    return jobs


def kitti_jobs(source: settings.KittiSource, out: Path, model: ModelConfig) -> list[Job]:
    """Return jobs of parts of the sequences: of those named, or of all whose images are there.

    Raises MissingPartError, KittiError: images or masks are missing.
    """
    root, masks = source.data, source.masks
    images = require("kitti_tracking", root / "training" / "image_02")
    if masks in ("txt", "png"):
        require("kitti_mots", root / {"txt": "instances_txt", "png": "instances"}[masks])
    names = source.sequences or sorted(path.name for path in images.iterdir() if path.is_dir())
    jobs = []
    for name in names:
        length = len(open_tracking(root, name, masks).frames)
        for start, stop in _chunks(length):
            folder = out / part_name(f"{name}_{masks}", start)
            jobs.append(Job(folder, kitti_frames, (root, name, masks, start, stop), model.patch))
    return jobs


def kins_jobs(source: settings.KinsSource, out: Path, model: ModelConfig) -> list[Job]:
    """Return jobs of parts of the drives, with whole masks where their files are named.

    Errors as truth_source and drives_of.
    """
    named = source.kins is not None or source.mapping is not None
    truth = truth_source(source.kins, source.mapping) if named else None
    return [
        Job(
            out / part_name(drive.name, start),
            drive.frames.func,
            (*drive.frames.args, start, stop),
            model.patch,
        )
        for drive in drives_of(source, truth)
        for start, stop in _chunks(len(drive.numbers))
    ]


def _chunks(length: int) -> list[tuple[int, int]]:
    return [(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]


JOBS: dict[type, Callable[[Any, Path, ModelConfig], list[Job]]] = {
    settings.FishbowlSource: clip_jobs,
    settings.ClipSource: clip_jobs,
    settings.StreetSource: street_jobs,
    settings.GumSource: chewing_gum_jobs,
    settings.KittiSource: kitti_jobs,
    settings.KinsSource: kins_jobs,
}


def jobs_of(source: Any, options: settings.StoreOptions) -> list[Job]:
    """Return the jobs that store a source."""
    model = ModelConfig(patch_height=options.patch, patch_width=2 * options.patch)
    jobs = JOBS[type(source)](source, options.out, model)
    return [replace(job, flow=options.flow) for job in jobs]


def is_finished(job: Job) -> bool:
    """Return whether a clip is stored already.

    Raises:
        ValueError: one is, but made otherwise; or one that does not say how, as earlier versions
            left them. Training and evaluation read such clips all the same.
    """
    try:
        meta = json.loads((job.folder / "meta.json").read_text("utf-8"))
    except FileNotFoundError:
        return False
    except (ValueError, RecursionError):
        meta = None
    made = meta.get("made") if isinstance(meta, dict) else None
    if not isinstance(made, dict):
        raise StoreError(
            f"{job.folder} does not say what it was prepared from: {REMEDY}", "no_origin"
        )
    wanted = job.origin
    other = [name for name in (made | wanted) if made.get(name) != wanted.get(name)]
    if other:
        holds, asked = (
            ", ".join(f"{name} {by.get(name)!r}" for name in other) for by in (made, wanted)
        )
        text = f"{job.folder} was prepared with {holds}, asked for is {asked}: {REMEDY}"
        raise StoreError(text, "other_origin")
    return True


def unexpected(jobs: list[Job], out: Path) -> list[str]:
    """Return the names of finished clips in a folder that are not those of the jobs."""
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
    work = functools.partial(_counted, run)
    return sum(run_jobs(work, jobs, processes, len(jobs), "clips"))


def _counted(run: Callable[[Made], int], job: Made, tick: Tick) -> int:
    count = run(job)
    tick(1)
    return count
