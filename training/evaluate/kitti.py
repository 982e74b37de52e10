"""Real video: the extent of completed masks against KITTI's amodal boxes, and their growth."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import cv2
import numpy as np

from savos_model.masks import EMPTY, BoxedMask, box_around, by_id, look_at, match, tighten
from savos_model.settings import SettingError
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Box, Frame, Instance
from training.data.kitti_mots import KittiError, KittiLabel, clip_frames, open_tracking
from training.data.provenance import KITTI_LICENCE
from training.evaluate.benchmark import Benchmark
from training.evaluate.metrics import Masks, estimate, mean, published_masks
from training.evaluate.settings import KittiOptions
from training.evaluate.video import Scores, Video, VideoResult

LEVELS = {"0": (0,), "1": (1,), "2": (2,), "1+2": (1, 2)}
COUNTS = (
    "frames", "frames_with_masks", "frames_answered", "objects", "objects_answered",
    "objects_scored", "unmatched", "unlabelled",
)  # fmt: skip
KITTI_BOUND = f"adapted to KITTI frames: {KITTI_LICENCE}"


@dataclass(frozen=True)
class BoxScore:
    """One object of one frame: its track and occlusion level, 0 to 2.

    Attributes:
        iou: of the mask's box and the label box.
        coverage: share of the label box that the mask's box covers.
        growth: pixels published outside the visible mask and its holes, over its area; the visible
            mask as it was before `shrink`.
        in_holes: pixels published in holes of the visible mask, over its area.
    """

    track: str
    level: int
    iou: float
    coverage: float
    growth: float
    in_holes: float


@dataclass(frozen=True)
class Kitti(KittiOptions, Benchmark):
    """Sequences in the KITTI MOTS layout."""

    name: ClassVar[str] = "kitti_mots"
    flow: ClassVar[bool] = False
    compared: ClassVar[Mapping[str, str]] = {"visible": "visible", "ours": "ours"}
    licence: ClassVar[str] = KITTI_BOUND

    def entries(self) -> list[tuple[str, int]]:
        """List the sequences.

        Raises ValueError: none is named; KittiError: one has no label boxes, so nothing of it could
        be scored.
        """
        if not self.sequences:
            raise SettingError("sequences must be named, such as 0001; got none")
        clips = [open_tracking(self.data, name, "none") for name in self.sequences]
        for clip in clips:
            if not clip.labels:
                raise KittiError(
                    f"{self.data} has no labels of sequence {clip.name} to score by: put "
                    f"training/label_02/{clip.name}.txt there, of KITTI tracking's training labels"
                )
        return [(clip.name, len(clip.frames)) for clip in clips]

    def open(self, key: str) -> Iterator[Video]:
        """Open one sequence; objects are scored that have a label of level 0 to 2.

        Counts: objects_scored; unmatched: true objects without a given mask; unlabelled: matched,
        but without a label of these levels.
        """
        truth_clip = open_tracking(self.data, key)
        clip = truth_clip if self.masks == "truth" else open_tracking(self.data, key, "tracker")
        shape = clip.image(clip.frames[0]).shape[:2]
        first = len(clip.frames) // 2 if self.half else 0
        whole = [clip.instances(frame, shape) for frame in clip.frames]
        given = [shrunk(items, self.shrink) for items in whole]
        counts: Counter[str] = Counter()
        labelled = []
        for index, frame in enumerate(clip.frames):
            truth = truth_clip.instances(frame, shape)
            items = given[index]
            same = {item.id: item.id for item in items}
            pairs = match(items, truth) if self.masks == "tracker" else same
            counts["unmatched"] += len(truth) - len(pairs)
            labels = {item.track_id: item for item in clip.labels.get(frame, [])}
            found = {name: labels.get(int(name) % 1000) for name in pairs}
            kept = {
                name: (pairs[name], label)
                for name, label in found.items()
                if label is not None and label.occluded in LEVELS["1+2"] + LEVELS["0"]
            }
            labelled.append(kept)
            if index >= first:
                counts["objects_scored"] += len(kept)
                counts["unlabelled"] += len(found) - len(kept)
        visible = [by_id(items) for items in given]
        before = [by_id(items) for items in whole]

        def frames() -> Iterator[Frame]:
            for frame, items in zip(clip.frames, given, strict=True):
                yield Frame(clip.stamp_ns(frame), clip.image(frame), items)

        def score(index: int, masks: Masks | list[AmodalObject]) -> Scores:
            found = published_masks(masks)
            scores = [
                box_score(f"{key}/{name}", label, found.get(item, EMPTY), before[index][item])
                for name, (item, label) in labelled[index].items()
            ]
            return {"boxes": scores}

        wanted = [set(masks) for masks in visible]
        rows = partial(clip_frames, clip)
        yield Video(key, shape, clip.frames, frames, visible, wanted, score, rows, first, counts)

    def about(self, ours: Setup, results: Sequence[VideoResult]) -> dict:
        """Return data, mode, and how many frames and objects were answered."""
        options = {"sequences": list(self.sequences), "masks": self.masks, "shrink": self.shrink}
        return {
            "data": {"set": self.name, **options},
            "mode": ours.mode,
            "answered": {name: sum(item.counts[name] for item in results) for name in COUNTS},
        }

    def summarise(self, scores: Mapping[str, Scores], seed: int) -> dict:
        """Return the means by occlusion level."""
        boxes = {name: found.get("boxes", []) for name, found in scores.items()}
        return {"levels": summarise_levels(boxes, seed)}

    def gain(self, before: Scores, after: Scores, seed: int) -> dict:
        """Return the gain of the mean IoU at each occlusion level with hidden parts."""
        pair = before.get("boxes", []), after.get("boxes", [])
        levels = {name: gain(*pair, LEVELS[name], seed) for name in ("1", "2", "1+2")}
        return {name: row for name, row in levels.items() if row["mean"] is not None}


def box_overlap(box: Box, truth: Box) -> tuple[float, float]:
    """Return the IoU of two boxes and the share of `truth` that `box` covers, each 0..1."""
    width = min(box.x1, truth.x1) - max(box.x0, truth.x0)
    height = min(box.y1, truth.y1) - max(box.y0, truth.y0)
    common = max(width, 0.0) * max(height, 0.0)
    areas = [item.width * item.height for item in (box, truth)]
    return common / (sum(areas) - common), common / areas[1]


def box_score(track: str, label: KittiLabel, mask: BoxedMask, visible: BoxedMask) -> BoxScore:
    """Score a completed mask by the label of its object."""
    tight, (x0, y0, x1, y1) = tighten(mask), label.box
    # Labels are in pixel indices: boxes cut at the image border end at width - 1, hence the + 1.
    overlap = box_overlap(tight.box, Box(x0, y0, x1 + 1, y1 + 1))
    return BoxScore(track, label.occluded, *overlap, *grown(tight, visible))


def grown(published: BoxedMask, given: BoxedMask) -> tuple[float, float]:
    """Return what a published mask adds to a given one, over the given one's area.

    It is the share outside the given mask, and that inside holes of it: annotated masks have holes
    at windows of cars, and filling them is no growth.
    """
    view = box_around([published[0], given[0]])
    mask, own = look_at(published, view), look_at(given, view)
    outlines, _ = cv2.findContours(own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(own.shape, np.uint8), outlines, -1, 1, cv2.FILLED) > 0
    added, area = mask & ~own, max(1, int(own.sum()))
    return int((added & ~filled).sum()) / area, int((added & filled).sum()) / area


def shrunk(items: Sequence[Instance], pixels: int) -> list[Instance]:
    """Erode masks by some pixels on every side, at the image border too; drop empty ones."""
    if not pixels:
        return list(items)
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    kept = []
    for item in items:
        mask = cv2.erode(np.pad(item.mask, pixels), kernel)[pixels:-pixels, pixels:-pixels]
        box, mask = tighten((item.box, mask))
        if mask.size:
            kept.append(dataclasses.replace(item, box=box, mask=mask))
    return kept


def summarise_levels(scores: Mapping[str, Sequence[BoxScore]], seed: int = 0) -> dict[str, dict]:
    """Average the scores of each method by occlusion level.

    Returns:
        By level "0", "1", "2" and "1+2": n, tracks, and by method iou_mean, iou_median,
        coverage_mean, coverage_median, growth_mean and in_holes_mean; gain_over_visible: mean IoU
        difference with its 95 % interval over tracks.
    """
    levels: dict[str, dict] = {}
    for name, chosen in LEVELS.items():
        kept = {m: [s for s in some if s.level in chosen] for m, some in scores.items()}
        every = next(iter(kept.values()))
        levels[name] = {"n": len(every), "tracks": len({s.track for s in every}), "methods": {}}
        for method, some in kept.items() if every else ():
            fields = ("iou", "coverage", "growth", "in_holes")
            values = {field: [getattr(score, field) for score in some] for field in fields}
            numbers = {f"{field}_mean": mean(found) for field, found in values.items()}
            numbers |= {f"{f}_median": float(np.median(values[f])) for f in fields[:2]}
            if method != "visible" and "visible" in kept:
                numbers["gain_over_visible"] = gain(kept["visible"], some, chosen, seed)
            levels[name]["methods"][method] = numbers
    return levels


def gain(
    before: Sequence[BoxScore], after: Sequence[BoxScore], levels: Sequence[int], seed: int = 0
) -> dict:
    """Return the mean difference of box IoU at some levels with its interval over tracks."""
    gains: dict[str, list[float]] = defaultdict(list)
    for one, two in zip(before, after, strict=True):
        if one.level in levels:
            gains[one.track].append(two.iou - one.iou)
    return estimate(gains, seed)
