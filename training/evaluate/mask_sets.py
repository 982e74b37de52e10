"""Sets of whole masks (FISHBOWL, rendered clips, generated streets), scored by both protocols."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from savos_model.masks import by_id
from savos_model.settings import SettingError
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Frame
from training.data.fishbowl import clip_paths, is_released, open_fishbowl, read_subset
from training.data.kitti_mots import PERIOD_NS
from training.data.prepare import fishbowl_frames, street_frames
from training.evaluate.benchmark import Benchmark
from training.evaluate.metrics import (
    PAPER,
    Masks,
    area,
    first_run,
    method_report,
    paired_gain,
    score_frame,
)
from training.evaluate.open import open_ids, open_protocol, open_report, score_open
from training.evaluate.settings import FishbowlOptions, StreetOptions
from training.evaluate.video import Score, Scores, Video, VideoResult, births, stream_frames

FIELDS = ("full", "occluded")


class MaskBenchmark(Benchmark):
    """A data set of whole masks, scored by the paper's and by the open protocol."""

    def rules(self, mode: str) -> dict:
        """Return the rules of a run, for result files."""
        return {
            "rules": dataclasses.asdict(PAPER),
            "mode": mode,
            "inner_frames_of_first_run": True,
            "open": open_protocol(),
        }

    def about(self, ours: Setup, results: Sequence[VideoResult]) -> dict:
        """Return protocol and data, for result files."""
        return {"protocol": self.rules(ours.mode), **super().about(ours, results)}

    def score(
        self,
        clip: str,
        shape: tuple[int, int],
        visible: Sequence[Masks],
        full: Sequence[Masks],
        paper: Sequence[set[str]],
        opened: Sequence[set[str]],
    ) -> Score:
        """Return what scores a frame of a clip by both protocols, "paper" and "open".

        `paper` and `opened` are the ids that each of them scores, frame by frame as all masks.
        """
        born = births(visible)

        def score(index: int, masks: Masks | list[AmodalObject]) -> Scores:
            frame = (masks, full[index], visible[index], shape)
            where = {"clip": clip, "frame": index}
            return {
                "paper": score_frame(*frame, ids=paper[index], **where),
                "open": score_open(*frame, ids=opened[index], born=born, **where),
            }

        return score

    def report(self, scores: Scores, seed: int) -> dict:
        """Summarise one method by both protocols, as method_report and open_report do."""
        paper, opened = scores.get("paper", []), scores.get("open", [])
        return {**method_report(paper, seed), **open_report(opened, seed)}

    def gain(self, before: Scores, after: Scores, seed: int) -> dict:
        """Return the gain of each of FIELDS by the paper's protocol."""
        pair = [scores.get("paper", []) for scores in (before, after)]
        return {field: paired_gain(*pair, field, seed) for field in FIELDS}


@dataclass(frozen=True)
class Fishbowl(FishbowlOptions, MaskBenchmark):
    """Clips of a folder."""

    name: ClassVar[str] = "fishbowl"

    def entries(self) -> list[tuple[Path, int]]:
        """List the clips.

        Raises ValueError: there are none, or the folder has no such subset; MissingPartError: a
        part of the released test data is missing.
        """
        paths = clip_paths(self.data)
        if not paths:
            raise ValueError(
                f"{self.data} holds no FISHBOWL clips (NAME.mp4 with NAME.json.gz): check the "
                "folder"
            )
        if self.subset and not is_released(self.data):
            raise SettingError(
                f"subset {self.subset} is of the released test data, {self.data} has other clips"
            )
        if self.subset:
            read_subset(self.data, self.subset)
        return [(path, open_fishbowl(path).num_frames) for path in paths]

    def open(self, key: Path) -> Iterator[Video]:
        """Open one clip."""
        clip = open_fishbowl(key)
        given = [clip.instances(i) + clip.untracked(i) for i in range(clip.num_frames)]
        truth = [clip.truth(index) for index in range(clip.num_frames)]

        def frames() -> Iterator[Frame]:
            for index, (image, instances) in enumerate(zip(clip.frames(), given, strict=True)):
                yield Frame(clip.stamp_ns(index), image, instances)

        def kept(index: int) -> set[str]:
            names = {item.id for item in truth[index]}
            if self.subset:
                listed = read_subset(key.parents[1], self.subset)
                names &= listed.get((int(clip.name), index), frozenset())
            if self.types:
                names &= {item.id for item in truth[index] if item.class_id in self.types}
            return names

        yield masks_video(
            self,
            clip.name,
            (clip.height, clip.width),
            frames,
            [by_id(instances) for instances in given],
            [by_id(instances) for instances in truth],
            kept=kept,
            rows=partial(fishbowl_frames, key),
            first=clip.num_frames // 2 if self.half else 0,
        )

    def rules(self, mode: str) -> dict:
        """Return the rules of a run, for result files."""
        return {**super().rules(mode), "subset": self.subset, "types": list(self.types)}


def masks_video(
    benchmark: MaskBenchmark,
    name: str,
    shape: tuple[int, int],
    frames: Callable[[], Iterator[Frame]],
    visible: Sequence[Masks],
    full: Sequence[Masks],
    *,
    kept: Callable[[int], Collection[str]] | None = None,
    **more: object,
) -> Video:
    """Return a video with whole masks, scored by `benchmark`.

    `visible` are all visible masks by id and `full` the whole objects, frame by frame; `kept`
    gives the ids that may be scored in a frame, None for all. The rest are fields of Video.
    """
    paper, opened = scored_ids(visible, full), open_ids(visible, full)
    if kept is not None:
        for index in range(len(visible)):
            names = kept(index)
            paper[index] &= names
            opened[index] &= names
    wanted = [one | other for one, other in zip(paper, opened, strict=True)]
    score = benchmark.score(name, shape, visible, full, paper, opened)
    return Video(name, shape, range(len(visible)), frames, visible, wanted, score, **more)


def scored_ids(visible: Sequence[Masks], full: Sequence[Masks]) -> list[set[str]]:
    """Return the objects that the paper's protocol scores in each frame.

    A track counts in the inner frames of its first contiguous run of frames in which the whole and
    the visible mask are large enough; of these, the frames whose occlusion rate lies inside the
    interval are scored.
    """
    ids = {name for masks in full for name in masks}
    chosen: list[set[str]] = [set() for _ in full]
    for name in ids:
        areas = np.array(
            [[area(m[name][1]) if name in m else 0 for m in k] for k in (visible, full)]
        )
        eligible = (areas[0] > PAPER.min_visible_px) & (areas[1] > PAPER.min_full_px)
        for frame in first_run(eligible.tolist()):
            rate = 1.0 - areas[0, frame] / areas[1, frame]
            if PAPER.min_occlusion < rate < PAPER.max_occlusion:
                chosen[frame].add(name)
    return chosen


def kind_of(clip: str) -> str:
    """Return the kind of a clip, the last part of its name: street or table."""
    return clip.rpartition("_")[2]


@dataclass(frozen=True)
class Rendered(Fishbowl):
    """Clips of a folder, named rendered_SEED_KIND."""

    name: ClassVar[str] = "rendered"

    def summarise(self, scores: Mapping[str, Scores], seed: int) -> dict:
        """Return the report of each method, and the same by kind of clip."""
        found = (s for part in scores.values() for some in part.values() for s in some)
        kinds = {}
        for kind in sorted({kind_of(score.clip) for score in found}):
            chosen = {
                name: {
                    protocol: [score for score in some if kind_of(score.clip) == kind]
                    for protocol, some in part.items()
                }
                for name, part in scores.items()
            }
            kinds[kind] = super().summarise(chosen, seed)
        return {**super().summarise(scores, seed), "kinds": kinds}


@dataclass(frozen=True)
class Street(StreetOptions, MaskBenchmark):
    """Scenes of a range of seeds."""

    name: ClassVar[str] = "street"

    def entries(self) -> list[tuple[int, int]]:
        """List the scenes by their seed."""
        return [(self.first_seed + number, self.frames) for number in range(self.scenes)]

    def open(self, key: int) -> Iterator[Video]:
        """Generate one scene; it is kept in memory."""
        frames = list(street_frames(key, self.frames))
        stamps = [index * PERIOD_NS for index in range(len(frames))]
        visible = [by_id(frame.instances) for frame in frames]
        yield masks_video(
            self,
            f"street_{key:04d}",
            frames[0].image.shape[:2],
            lambda: stream_frames(frames, stamps),
            visible,
            [frame.full or {} for frame in frames],
        )
