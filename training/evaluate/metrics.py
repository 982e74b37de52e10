"""Scores of amodal masks against the whole objects, their means and intervals."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from savos_model.masks import EMPTY, box_around, clip_box, iou, look_at, slices, tighten
from savos_model.types import AmodalObject, Box

BOUNDARY_PX = 2
Masks = Mapping[str, tuple[Box, np.ndarray]]


@dataclass(frozen=True)
class ObjectScore:
    """Scores of one object in one frame of a clip.

    Attributes:
        full_px, visible_px: areas of the whole object and of its visible mask [px].
        hidden_px: true pixels of the object inside the hidden region [px].
        occlusion: 1 - visible share of the whole object, 0..1; every occluder counts, tracked or
            not.
        border_px: distance of the whole object's box to the nearest image border [px].
        full, occluded: IoU, 0..1.
        claimed_px, wrong_px: predicted pixels inside the hidden region, and those of them outside
            the object [px].
        visible_recall: share of the visible mask covered by the prediction as given, 0..1.
        boundary_f: F score of the whole mask's outline within 2 px, 0..1.
    """

    clip: str
    frame: int
    id: str
    full_px: int
    visible_px: int
    hidden_px: int
    occlusion: float
    border_px: float
    full: float
    occluded: float
    claimed_px: int
    wrong_px: int
    visible_recall: float
    boundary_f: float


@dataclass(frozen=True)
class Selection:
    """Which object-frames count: by default the paper's rule for FISHBOWL.

    The occlusion rate lies in an open interval, areas [px] are exceeded, and the whole object keeps
    `min_border_px` from the image border; 16 is the rule of the released subset.
    """

    min_occlusion: float = 0.1
    max_occlusion: float = 0.7
    min_full_px: int = 400
    min_visible_px: int = 64
    min_border_px: float = 0.0

    def keeps(self, score: ObjectScore) -> bool:
        """Return whether a scored object-frame counts."""
        return (
            self.min_occlusion < score.occlusion < self.max_occlusion
            and score.full_px > self.min_full_px
            and score.visible_px > self.min_visible_px
            and score.border_px >= self.min_border_px
        )


PAPER = Selection()


def boundary_f(first: np.ndarray, second: np.ndarray, tolerance: int = BOUNDARY_PX) -> float:
    """Return the F score of the outlines of two masks, bool [H, W]: 0..1, 1 when both are empty.

    Two outline pixels match within `tolerance` (square neighbourhood) [px].
    """
    edges = [_outline(mask, tolerance) for mask in (first, second)]
    kernel = np.ones((2 * tolerance + 1, 2 * tolerance + 1), np.uint8)
    near = [cv2.dilate(edge, kernel) for edge in edges]
    counts = [area(edge) for edge in edges]
    if 0 in counts:
        return float(counts[0] == counts[1])
    precision = area(edges[0] & near[1]) / counts[0]
    recall = area(edges[1] & near[0]) / counts[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def area(pixels: np.ndarray) -> int:
    """Return the number of pixels that are not zero."""
    return int(np.count_nonzero(pixels))


def _outline(mask: np.ndarray, margin: int) -> np.ndarray:
    # The padding makes pixels on the crop's rim count as outline.
    rim = 4 * (margin + 1,)
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), *rim, cv2.BORDER_CONSTANT, value=0)
    return padded - cv2.erode(padded, np.ones((3, 3), np.uint8))


def published_masks(objects: Iterable[AmodalObject] | Masks) -> Masks:
    """Return published objects as bool crops by id; masks by id stay as they are."""
    if isinstance(objects, Mapping):
        return objects
    return {item.id: (item.box, item.inside) for item in objects}


def score_frame(
    objects: Iterable[AmodalObject] | Masks,
    truth_full: Masks,
    visible: Masks,
    shape: tuple[int, int],
    *,
    ids: Collection[str] | None = None,
    substitute: bool = True,
    clip: str = "",
    frame: int = 0,
) -> list[ObjectScore]:
    """Score the objects of one frame.

    The *hidden region* of an object is the visible area of all other masks of the frame, scored or
    not; its own visible pixels are not part of it. What has no mask, such as a pole, hides without
    being part of it. It is the area where the paper's weight W is 0. Two numbers per object:

    - full: IoU of the whole mask, after the prediction outside the hidden region was replaced by
      the visible mask, unless not to `substitute`, which scores the mask as published;
    - occluded: IoU inside the hidden region only.

    IoU is (intersection + 1e-6) / (union + 1e-6), so empty against empty is 1.

    `objects` are published, or masks by id; a missing one is scored as an empty mask. `visible` are
    ALL visible masks of the frame as given to the method: objects that are not scored hide others
    too. `ids` are scored; all that have both masks when None.
    """
    wanted = truth_full.keys() & visible.keys() if ids is None else ids
    scores = []
    for found in viewed(objects, truth_full, visible, shape, wanted):
        hidden, box = found.others & ~found.own, found.box
        numbers = score_object(found.given, found.full, found.own, hidden, substitute)
        border = float(min(box.x0, box.y0, shape[1] - box.x1, shape[0] - box.y1))
        scores.append(ObjectScore(clip, frame, found.name, border_px=border, **numbers))
    return scores


class Viewed(NamedTuple):
    """An object in a window that holds all its masks, bool [H, W]; `box` is that of its truth.

    `given` is its published, `full` its whole and `own` its visible mask, `others` all other ones.
    """

    name: str
    box: Box
    given: np.ndarray
    full: np.ndarray
    own: np.ndarray
    others: np.ndarray


def viewed(
    objects: Iterable[AmodalObject] | Masks,
    truth_full: Masks,
    visible: Masks,
    shape: tuple[int, int],
    ids: Collection[str],
) -> Iterator[Viewed]:
    """Yield the objects of a frame that show some pixel; arguments of score_frame."""
    masks, covered = published_masks(objects), coverage(visible, shape)
    for name in sorted(ids):
        truth, seen = tighten(truth_full[name]), tighten(visible[name])
        if seen.mask.size and truth.mask.size:
            given = masks.get(name, EMPTY)
            view = clip_box(box_around([given[0], truth.box, seen.box]), shape)
            predicted, full, own = (look_at(mask, view) for mask in (given, truth, seen))
            yield Viewed(name, truth.box, predicted, full, own, covered[slices(view)] > own)


def score_object(
    predicted: np.ndarray,
    full: np.ndarray,
    visible: np.ndarray,
    hidden: np.ndarray,
    substitute: bool = True,
) -> dict[str, float]:
    """Return the fields of ObjectScore that follow from masks.

    All are bool [H, W] over a window that holds truth and prediction.
    """
    whole = np.where(hidden, predicted, visible) if substitute else predicted
    full_px, visible_px = area(full), area(visible)
    seen_px, recalled_px = (area(visible & other) for other in (full, predicted))
    claimed, true = predicted & hidden, full & hidden
    return {
        "full_px": full_px,
        "visible_px": visible_px,
        "hidden_px": area(true),
        "occlusion": 1.0 - seen_px / max(full_px, 1),
        "full": iou(whole, full),
        "occluded": iou(claimed, true),
        "claimed_px": area(claimed),
        "wrong_px": area(claimed & ~full),
        "visible_recall": recalled_px / max(visible_px, 1),
        "boundary_f": boundary_f(whole, full),
    }


def coverage(visible: Masks, shape: tuple[int, int]) -> np.ndarray:
    """Return how many visible masks cover each pixel: uint16 [H, W]."""
    count = np.zeros(shape, np.uint16)
    for box, mask in visible.values():
        inside = clip_box(box, shape)
        count[slices(inside)] += look_at((box, mask), inside)
    return count


def frame_means(scores: Iterable[ObjectScore], field: str) -> dict[tuple[str, int], float]:
    """Return the mean of a field over the objects of each (clip, frame)."""
    groups: dict[tuple[str, int], list[float]] = defaultdict(list)
    for score in scores:
        groups[score.clip, score.frame].append(getattr(score, field))
    return {key: float(np.mean(values)) for key, values in groups.items()}


def summarise(
    scores: Iterable[ObjectScore], selection: Selection | None = PAPER
) -> dict[str, float | int | None]:
    """Average the scores of one method over the object-frames of a selection, None for all.

    Returns:
        n (object-frames), frames; full, occluded: the paper's frame-level means; full_object,
        occluded_object: means over object-frames; false_completion: share of all hidden pixels
        claimed that are wrong; visible_recall, boundary_f: means over object-frames. None where
        nothing was scored.
    """
    kept = [score for score in scores if selection is None or selection.keeps(score)]
    full = frame_means(kept, "full")
    claimed = sum(score.claimed_px for score in kept)
    return {
        "n": len(kept),
        "frames": len(full),
        "full": mean(full.values()),
        "occluded": mean(frame_means(kept, "occluded").values()),
        "full_object": mean(score.full for score in kept),
        "occluded_object": mean(score.occluded for score in kept),
        "false_completion": sum(score.wrong_px for score in kept) / claimed if claimed else None,
        "visible_recall": mean(score.visible_recall for score in kept),
        "boundary_f": mean(score.boundary_f for score in kept),
    }


def mean(values: Iterable[float]) -> float | None:
    """Return the arithmetic mean, None of nothing."""
    collected = list(values)
    return float(np.mean(collected)) if collected else None


BINS = ((0.10, 0.25), (0.25, 0.50), (0.50, 0.70))
BIN_NAMES = tuple(f"{100 * low:.0f}-{100 * high:.0f}" for low, high in BINS)
BORDER_PX = 16.0
RESAMPLES = 2000


def method_report(scores: Iterable[ObjectScore], seed: int = 0) -> dict:
    """Summarise the scores of one method over all clips.

    Returns:
        The fields of metrics.summarise, full and occluded as mean and ci95; and by_occlusion,
        away_from_border (whole object at least 16 px from the image border), behind_objects (only
        objects with some part behind another object, so that nothing is scored 1 for being empty)
        and clips.
    """
    kept = [score for score in scores if PAPER.keeps(score)]
    inner = dataclasses.replace(PAPER, min_border_px=BORDER_PX)
    clips: dict[str, list[ObjectScore]] = defaultdict(list)
    for score in kept:
        clips[score.clip].append(score)
    means = summarise(kept)
    intervals = {field: bootstrap(kept, field, seed) for field in ("full", "occluded")}
    return {
        **means,
        **{field: {"mean": means[field], "ci95": ci95} for field, ci95 in intervals.items()},
        "by_occlusion": by_occlusion(kept),
        "away_from_border": summarise(kept, inner),
        "behind_objects": summarise([score for score in kept if score.hidden_px]),
        "clips": {name: summarise(clips[name]) for name in sorted(clips)},
    }


def by_occlusion(scores: Iterable[ObjectScore]) -> dict[str, dict]:
    """Return summaries by occlusion rate, keyed by BIN_NAMES (percent, upper bounds excluded)."""
    groups: dict[str, list[ObjectScore]] = {name: [] for name in BIN_NAMES}
    for score in scores:
        for name, (low, high) in zip(groups, BINS, strict=True):
            if low <= score.occlusion < high:
                groups[name].append(score)
    return {name: summarise(group, None) for name, group in groups.items()}


def bootstrap(
    scores: Iterable[ObjectScore], field: str, seed: int = 0, samples: int = RESAMPLES
) -> list[float] | None:
    """Return the 95 % interval of a frame-level mean of selected scores, clips drawn again.

    Frames of one clip are alike, so clips are the units that are resampled. None with fewer than
    two clips.
    """
    means: dict[str, list[float]] = defaultdict(list)
    for (clip, _), value in frame_means(scores, field).items():
        means[clip].append(value)
    return cluster_interval(means, seed, samples)


def paired_gain(
    before: Iterable[ObjectScore], after: Iterable[ObjectScore], field: str, seed: int = 0
) -> dict:
    """Return the gain of a frame-level mean on the same object-frames, as `estimate` over clips.

    Raises ValueError: the two were scored on different frames.
    """
    first, second = frame_means(before, field), frame_means(after, field)
    if first.keys() != second.keys():
        raise ValueError("a gain needs both methods scored on the same frames")
    gains: dict[str, list[float]] = defaultdict(list)
    for (clip, frame), value in first.items():
        gains[clip].append(second[clip, frame] - value)
    return estimate(gains, seed)


def proven(gain: Mapping) -> bool:
    """Return whether the whole 95 % interval of a gain, as paired_gain gives it, lies above 0."""
    return gain["ci95"] is not None and gain["ci95"][0] > 0


def estimate(groups: Mapping[str, Sequence[float]], seed: int = 0) -> dict:
    """Return mean and ci95 of all values, whole groups drawn again for the interval."""
    values = [value for group in groups.values() for value in group]
    return {"mean": mean(values), "ci95": cluster_interval(groups, seed)}


def figure_of(stored: float | Mapping | None) -> float | None:
    """Return a figure of a results file, stored as a number or as mean and ci95."""
    return stored["mean"] if isinstance(stored, Mapping) else stored


def interval_of(report: Mapping, field: str) -> list[float] | None:
    """Return the interval of a figure of a report, stored with it or under ci95 of the report."""
    stored = report.get(field)
    return stored["ci95"] if isinstance(stored, Mapping) else report.get("ci95", {}).get(field)


def cluster_interval(
    groups: Mapping[str, Sequence[float]], seed: int = 0, samples: int = RESAMPLES
) -> list[float] | None:
    """Return the 95 % interval of the mean of all values when whole groups are drawn again.

    None with fewer than two groups.
    """
    if len(groups) < 2:
        return None
    sums = np.array([sum(groups[name]) for name in sorted(groups)])
    counts = np.array([len(groups[name]) for name in sorted(groups)])
    drawn = np.random.default_rng(seed).integers(0, len(sums), (samples, len(sums)))
    resampled = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(value) for value in np.percentile(resampled, [2.5, 97.5])]


def first_run(eligible: Iterable[bool]) -> range:
    """Return the indices of the first contiguous run of True without its two ends.

    The released evaluation warps frame t to t + 1 and back, so that a run of T frames has results
    for frames 1..T-2 only.
    """
    flags = [*eligible, False]
    start = flags.index(True) if True in flags else 0
    stop = flags.index(False, start)
    return range(start + 1, stop - 1)
