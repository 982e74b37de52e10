"""KINS-Video-Car, scored by the released rule and by a clean one."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from savos_model.masks import by_id
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Instance
from training.data.kins_video_car import Drive, annotated_drives
from training.data.kitti_mots import regular_stamp
from training.data.store import ClipFrame
from training.evaluate.benchmark import Benchmark
from training.evaluate.kitti import KITTI_BOUND
from training.evaluate.metrics import (
    Masks,
    ObjectScore,
    bootstrap,
    by_occlusion,
    paired_gain,
    score_frame,
    summarise,
)
from training.evaluate.settings import KinsOptions
from training.evaluate.video import Scores, Video, VideoResult, stream_frames

HIDDEN_SHARE = 0.1  # of an object's true pixels; behind a lesser part no completion can be judged


class Rule(NamedTuple):
    """Which object-frames count in each of the two means, and its description."""

    text: str
    full: Callable[[ObjectScore], bool]
    occluded: Callable[[ObjectScore], bool]


# The released rule drops objects that a method completes perfectly along with the unoccluded ones,
# and an unoccluded one counts 0 in `occluded` as soon as one pixel is claimed.
RULES = {
    "released": Rule(
        "as released: hidden is what lies behind other tracked cars; each mean leaves out the "
        "objects whose IoU is exactly 1",
        lambda score: score.full != 1.0,
        lambda score: score.occluded != 1.0,
    ),
    "clean": Rule(
        "clean: hidden is what lies behind any mask; full of all objects, occluded of those with "
        f"more than {100 * HIDDEN_SHARE:.0f} % hidden",
        lambda score: True,
        lambda score: score.hidden_px > HIDDEN_SHARE * score.full_px,
    ),
}


@dataclass(frozen=True)
class Kins(KinsOptions, Benchmark):
    """Drives with ground truth in either layout of the set."""

    name: ClassVar[str] = "kins_video_car"
    licence: ClassVar[str] = KITTI_BOUND

    def entries(self) -> list[tuple[Drive, int]]:
        """List the drives; errors as annotated_drives."""
        return [(drive, len(drive.numbers)) for drive in annotated_drives(self)]

    def open(self, key: Drive) -> Iterator[Video]:
        """Open a drive; objects that a track shows (IoU at least 0.5) are scored by both RULES."""
        tracked, visible, full, shape = [], [], [], (0, 0)
        for frame in key.frames():
            tracked.append({own_id(name): mask for name, mask in by_id(frame.instances).items()})
            visible.append(by_id(given(frame)))
            full.append({own_id(name): mask for name, mask in (frame.full or {}).items()})
            shape = frame.image.shape[:2]

        def score(index: int, masks: Masks | list[AmodalObject]) -> Scores:
            if not full[index]:
                return {}
            where = {"clip": key.name, "frame": key.numbers[index]}
            kinds = {"released": tracked[index], "clean": visible[index]}
            return {
                name: score_frame(masks, full[index], kind, shape, **where)
                for name, kind in kinds.items()
            }

        stamps = [regular_stamp(number) for number in key.numbers]
        yield Video(
            key.name,
            shape,
            key.numbers,
            lambda: stream_frames(key.frames(), stamps, given),
            visible,
            [set(masks) for masks in full],
            score,
            key.frames,
        )

    def about(self, ours: Setup, results: Sequence[VideoResult]) -> dict:
        """Return protocol and data, for result files."""
        rules = {"mode": ours.mode, **{name: rule.text for name, rule in RULES.items()}}
        return {"protocol": rules, **super().about(ours, results)}

    def report(self, scores: Scores, seed: int) -> dict:
        """Return the report of a method by each of RULES."""
        return {name: rule_report(scores.get(name, []), rule, seed) for name, rule in RULES.items()}

    def gain(self, before: Scores, after: Scores, seed: int) -> dict:
        """Return the gain of full and occluded by the clean rule.

        By the released one the two leave out different objects.
        """
        pair = [scores.get("clean", []) for scores in (before, after)]
        return {
            field: paired_gain(*(filter(keeps, scores) for scores in pair), field, seed)
            for field, keeps in zip(("full", "occluded"), RULES["clean"][1:], strict=True)
        }


def own_id(name: str) -> str:
    """Return the tracker's id without the run that stored clips put before it."""
    return name.rpartition("/")[2]


def given(frame: ClipFrame) -> list[Instance]:
    """Return all masks: tracked cars, then what else hides, under ids that no car has."""
    cars = [dataclasses.replace(item, id=own_id(item.id)) for item in frame.instances]
    others = [
        dataclasses.replace(item, id=f"untracked/{item.class_id}/{item.id}")
        for item in frame.untracked
    ]
    return cars + others


def rule_report(scores: Sequence[ObjectScore], rule: Rule, seed: int = 0) -> dict:
    """Summarise one method by one rule.

    Returns:
        The fields of metrics.summarise, over the objects of `full`, except for occluded and
        occluded_object, whose objects n_occluded counts; ci95, by_occlusion, behind_objects (with
        some part hidden) and clips as summary.method_report has them.
    """
    clips: dict[str, list[ObjectScore]] = defaultdict(list)
    for score in scores:
        clips[score.clip].append(score)
    whole, hidden = list(filter(rule.full, scores)), list(filter(rule.occluded, scores))
    return {
        **means(scores, rule),
        "ci95": {
            "full": bootstrap(whole, "full", seed),
            "occluded": bootstrap(hidden, "occluded", seed),
        },
        "by_occlusion": by_occlusion(hidden),
        "behind_objects": summarise([score for score in hidden if score.hidden_px], None),
        "clips": {name: means(clips[name], rule) for name in sorted(clips)},
    }


def means(scores: Sequence[ObjectScore], rule: Rule) -> dict:
    """Return means by a rule, as rule_report has them."""
    hidden = summarise(filter(rule.occluded, scores), None)
    return {
        **summarise(filter(rule.full, scores), None),
        "n_occluded": hidden["n"],
        **{field: hidden[field] for field in ("occluded", "occluded_object")},
    }
