"""Scores the frames of a bag that holds the truth."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from savos_model.masks import by_id
from savos_model.tables import columned, percent
from savos_model.types import AmodalObject
from savos_ros.bags.reader import BagFrame
from training.baselines.rules import convex_hull
from training.evaluate.metrics import Masks, ObjectScore, score_frame, summarise

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
        hulls = {name: convex_hull(visible[name]) for name in visible.keys() & full.keys()}
        found: tuple[Sequence[AmodalObject] | Masks, ...] = (objects, visible, hulls)
        shape = item.frame.image.shape[:2]
        for name, masks in zip(METHODS, found, strict=True):
            self._scores[name] += score_frame(masks, full, visible, shape, frame=self.frames)
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
