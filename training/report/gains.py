"""Differences between two results files that scored the same frames, with confidence intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from training.evaluate.summary import cluster_interval
from training.report.cells import Figure, Results, lookup, setting
from training.report.files import ABLATIONS, MODES, ablation_file, lag_file, unseen_file
from training.report.paper import TYPES

PARTS = ("full", "occluded")


class Scored(NamedTuple):
    """One method of one results file."""

    file: str
    method: str = "ours"


class Comparison(NamedTuple):
    """A comparison: a name and (without, with) of each part of the data."""

    name: str
    pairs: tuple[tuple[Scored, Scored], ...]


def adaptation(fish: str) -> tuple[Scored, Scored]:
    """Return the weights that never saw a type, before and after adaptation."""
    return Scored(unseen_file(fish), "base"), Scored(unseen_file(fish), "adapted")


def over(name: str, before: str, after: str) -> Comparison:
    """Return ours of one file over ours of another."""
    return Comparison(name, ((Scored(before), Scored(after)),))


SHIPPED, STREET = "shipped weights", "shipped weights, generated street"
SINGLE, BOTH = "forward over each frame separately", "bi-directional over forward"
COMPARISONS = (
    over(f"{SINGLE}, {SHIPPED}", "fishbowl_single.json", "fishbowl_val.json"),
    over(f"{SINGLE}, {STREET}", "street_single.json", "street_val.json"),
    over(f"{BOTH}, {SHIPPED}", "fishbowl_val.json", "fishbowl_bidirectional.json"),
    over(f"{BOTH}, {STREET}", "street_val.json", "street_bidirectional.json"),
    over(f"10 frames of lag over forward, {STREET}", "street_val.json", lag_file(10)),
    over(f"{BOTH}, setting of the ablations", *(ablation_file("full", mode) for mode in MODES)),
    Comparison("test-time adaptation, unseen types together", tuple(map(adaptation, TYPES))),
    *(Comparison(f"test-time adaptation, unseen {name}", (adaptation(name),)) for name in TYPES),
)


def ablation_comparisons(mode: str) -> Iterable[Comparison]:
    """Yield each ablation against the full method, in one mode."""
    for name, text in ABLATIONS.items():
        if name != "full":
            yield over(text, ablation_file("full", mode), ablation_file(name, mode))


def gain(results: Results, comparison: Comparison, part: str) -> Figure:
    """Return the difference of two means over the same frames, and its 95 % interval over clips.

    `part` is full or occluded. Clip means are weighted with their frames, so that the gain is that
    of the frame-level means; the interval draws whole clips again. Clips of several files with one
    name are one clip: the same video, other objects.
    """
    differences: dict[str, list[float]] = defaultdict(list)
    for pair in comparison.pairs:
        clips = []
        for scored in pair:
            report = lookup(results.metrics(scored.file), f"methods.{scored.method}.clips")
            if report is None:
                return Figure(None, None, results.to_run(scored.file))
            clips.append(report)
        frames = [{name: row["frames"] for name, row in report.items()} for report in clips]
        if frames[0] != frames[1]:
            note = (
                f"`{pair[0].file}` and `{pair[1].file}` scored different frames: score both again"
            )
            return Figure(None, None, note)
        for name, row in clips[0].items():
            differences[name] += [clips[1][name][part] - row[part]] * row["frames"]
    values = [value for group in differences.values() for value in group]
    if not values:
        return Figure(None, None, "no frames were scored")
    files = dict.fromkeys(f"`{scored.file}`" for pair in comparison.pairs for scored in pair)
    bounds = cluster_interval(differences)
    interval = (bounds[0], bounds[1]) if bounds else None
    first = setting(results.metrics(comparison.pairs[0][1].file) or {})
    return Figure(sum(values) / len(values), interval, f"{', '.join(files)}; {first}")
