"""Score the frames of a bag that has truth, and draw those in which most is hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from rich.table import Table

from savos_model.masks import by_id, convex_hull
from savos_model.tables import columned, number, percent
from savos_model.types import AmodalObject
from savos_ros.bags.reader import BagFrame
from savos_ros.messages.overlay import bgr_of, draw
from savos_ros.messages.results import whole_objects
from savos_ros.messages.settings import OverlayConfig
from training.evaluate.metrics import PAPER, ObjectScore, score_frame, summarise

PARTS = ("p50", "p95", "p99")
METHODS = ("ours", "visible", "convex")


class BagScores:
    """Scores of our result, of the visible masks alone, and of their convex hulls."""

    def __init__(self) -> None:
        self._scores: dict[str, list[ObjectScore]] = {name: [] for name in METHODS}
        self.frames = 0

    def add_frame(self, item: BagFrame, objects: Sequence[AmodalObject]) -> None:
        """Score the objects published for a frame, if it has truth."""
        if item.truth is None:
            return
        visible, full = by_id(item.frame.instances), by_id(item.truth)
        shape, frame = item.frame.image.shape[:2], self.frames
        score = partial(score_frame, truth_full=full, visible=visible, shape=shape, frame=frame)
        # Which objects count depends on their true and visible masks, not on what is scored.
        alone = [one for one in score(visible) if PAPER.keeps(one)]
        ids = {one.id for one in alone}
        self._scores["visible"] += alone
        self._scores["convex"] += score({name: convex_hull(visible[name]) for name in ids}, ids=ids)
        self._scores["ours"] += score(objects, ids=ids)
        self.frames += 1

    def summary(self) -> dict[str, dict]:
        """Return means by method, as metrics.summarise computes them (the paper's selection)."""
        return {name: summarise(scores) for name, scores in self._scores.items()}


def score_table(summary: dict[str, dict], objects: int, digits: int = 1) -> Table:
    """Return a table of the methods' mean IoU over so many objects, in per cent."""
    title = f"mean IoU over {objects} occluded objects"
    rows = [
        (name, percent(row["full"], digits), percent(row["occluded"], digits))
        for name, row in summary.items()
    ]
    return columned(title, "method", "full [%]", "occluded [%]", rows=rows)


def latency_table(title: str, stages: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Return a table of percentiles [ms] by stage."""
    rows = [(name, *(number(row[part], 1) for part in PARTS)) for name, row in stages.items()]
    return columned(title, "stage", *PARTS, rows=rows)


SECOND_NS = 1_000_000_000


class Row(NamedTuple):
    """A frame with its result before it is drawn; of more value the more is hidden in it."""

    hidden_px: int
    item: BagFrame
    objects: list[AmodalObject]


def hidden_px(objects: Sequence[AmodalObject]) -> int:
    """Count pixels of whole objects that their visible masks do not show."""
    return sum(int(np.count_nonzero(o.inside & (o.visible == 0))) for o in objects)


def keep_best(rows: list[Row], row: Row, most: int) -> None:
    """Keep the frames in which most is hidden, at least a second apart."""
    near = [r for r in rows if abs(r.item.frame.stamp_ns - row.item.frame.stamp_ns) < SECOND_NS]
    if any(other.hidden_px >= row.hidden_px for other in near):
        return
    for other in near:
        rows.remove(other)
    rows.append(row)
    if len(rows) > most:
        rows.remove(min(rows, key=lambda r: r.hidden_px))


def pictures(row: Row) -> list[np.ndarray]:
    """Draw camera, visible masks, result and truth (without one: whatever was given), BGR."""
    frame, config = row.item.frame, OverlayConfig()
    bare = OverlayConfig(labels=False)
    image = bgr_of(frame)
    seen = whole_objects(frame.instances, frame.instances)
    return [
        draw(image, [], bare),
        draw(image, seen, bare),
        draw(image, row.objects, config),
        draw(image, true_objects(row.item), config),
    ]


def true_objects(item: BagFrame) -> list[AmodalObject]:
    """Return the truth of what the tracker gave: the other objects are no task of the node."""
    given = by_id(item.frame.instances)
    return whole_objects([t for t in item.truth or [] if t.id in given], item.frame.instances)
