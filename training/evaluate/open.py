"""The open protocol: published masks against whole objects, nothing substituted or left out."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from savos_model.masks import iou
from savos_model.types import AmodalObject
from training.evaluate.metrics import Masks, area, estimate, mean, viewed

AGES = {"0": range(1), "1": range(1, 2), "2": range(2, 3), "3-4": range(3, 5)}  # older: "5+"
SIZES = {"small": 32**2, "medium": 96**2}  # px of the whole object below which it is so, as in COCO


@dataclass(frozen=True)
class OpenRule:
    """Which object-frames count.

    For the two IoUs those whose occlusion rate lies in a closed interval, whatever hides; for the
    false area those below `unhidden`. Areas are at least `min_full_px` and `min_visible_px`.
    """

    min_occlusion: float = 0.1
    max_occlusion: float = 0.9
    unhidden: float = 0.02
    min_full_px: int = 400
    min_visible_px: int = 64

    def counts(self, occlusion: float) -> bool:
        """Return whether an object of this occlusion rate is scored."""
        return occlusion < self.unhidden or self.hidden(occlusion)

    def hidden(self, occlusion: float) -> bool:
        """Return whether it counts for the two IoUs; else it does for the false area."""
        return self.min_occlusion <= occlusion <= self.max_occlusion


OPEN = OpenRule()


@dataclass(frozen=True)
class OpenScore:
    """Scores of one object in one frame of a clip.

    Attributes:
        age: frames since the first mask of the track; 0 in its first frame.
        full_px: area of the whole object [px].
        occlusion: hidden share of it, 0..1.
        scenery: share of its hidden pixels that no other given mask covers, 0..1.
        full: IoU of the published mask with the whole object, 0..1.
        hidden: IoU of the published mask without V with the object without V, 0..1.
        false_area: pixels published outside the object over `full_px`.
    """

    clip: str
    frame: int
    id: str
    age: int
    full_px: int
    occlusion: float
    scenery: float
    full: float
    hidden: float
    false_area: float


def open_ids(visible: Sequence[Masks], full: Sequence[Masks]) -> list[set[str]]:
    """Return by frame the ids that the open protocol scores, first frames of tracks included."""
    return [
        {
            name
            for name in seen.keys() & whole.keys()
            if (full_px := area(whole[name][1])) >= OPEN.min_full_px
            and (shown := area(seen[name][1])) >= OPEN.min_visible_px
            and OPEN.counts(1.0 - shown / full_px)
        }
        for seen, whole in zip(visible, full, strict=True)
    ]


def score_open(
    objects: Iterable[AmodalObject] | Masks,
    truth_full: Masks,
    visible: Masks,
    shape: tuple[int, int],
    *,
    ids: Collection[str],
    born: Mapping[str, int],
    clip: str = "",
    frame: int = 0,
) -> list[OpenScore]:
    """Score the published masks of one frame, of the `ids` that open_ids selects.

    `born` is the first frame of each id; the other arguments are those of metrics.score_frame.
    """
    scores = []
    for name, _, published, full, own, others in viewed(objects, truth_full, visible, shape, ids):
        unseen = full & ~own
        full_px, hidden_px = area(full), max(1, area(unseen))
        scores.append(
            OpenScore(
                clip,
                frame,
                name,
                age=frame - born[name],
                full_px=full_px,
                occlusion=1.0 - area(own) / full_px,
                scenery=area(unseen & ~others) / hidden_px,
                full=iou(published, full),
                hidden=iou(published & ~own, unseen),
                false_area=area(published & ~full) / full_px,
            )
        )
    return scores


# Names of the groups, and what gives the group of a score.
GROUPS: dict[str, tuple[tuple[str, ...], Callable[[OpenScore], str]]] = {
    "by_age": (
        (*AGES, "5+"),
        lambda score: next((name for name, ages in AGES.items() if score.age in ages), "5+"),
    ),
    "by_occluder": (  # what hides most: objects that have a mask, or scenery
        ("objects", "scenery"),
        lambda score: "scenery" if score.scenery > 0.5 else "objects",
    ),
    "by_size": (
        (*SIZES, "large"),
        lambda score: next((n for n, bound in SIZES.items() if score.full_px < bound), "large"),
    ),
}


def open_report(scores: Iterable[OpenScore], seed: int = 0) -> dict:
    """Summarise one method.

    Returns:
        open_full, open_hidden (objects that are hidden in part), false_area (unhidden ones), each
        with n (object-frames), mean and ci95 over clips; open: by_age, by_occluder (no false
        area there) and by_size, each with n, full, hidden, n_unhidden and false_area by group.
    """
    kept = list(scores)
    hidden = [score for score in kept if OPEN.hidden(score.occlusion)]
    clear = [score for score in kept if score.occlusion < OPEN.unhidden]
    parts = {"open_full": (hidden, "full"), "open_hidden": (hidden, "hidden")}
    parts["false_area"] = (clear, "false_area")
    found = {name: _estimate(some, field, seed) for name, (some, field) in parts.items()}
    return {**found, "open": {key: _grouped(key, hidden, clear) for key in GROUPS}}


def _estimate(scores: Sequence[OpenScore], field: str, seed: int) -> dict:
    clips: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        clips[score.clip].append(getattr(score, field))
    return {"n": len(scores), **estimate(clips, seed)}


def _grouped(key: str, hidden: Sequence[OpenScore], clear: Sequence[OpenScore]) -> dict[str, dict]:
    rows = {}
    names, group = GROUPS[key]
    for name in names:
        some = [score for score in hidden if group(score) == name]
        rows[name] = {
            "n": len(some),
            "full": mean(score.full for score in some),
            "hidden": mean(score.hidden for score in some),
        }
        if key != "by_occluder":
            unhidden = [score.false_area for score in clear if group(score) == name]
            rows[name] |= {"n_unhidden": len(unhidden), "false_area": mean(unhidden)}
    return rows


def open_protocol() -> dict:
    """Return the rules in plain values, for result files."""
    return {**dataclasses.asdict(OPEN), "substitution": False, "first_frames": True}
