"""Rendered clips in the layout of FISHBOWL, streets and table-tops apart and together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from training.evaluate.fishbowl import Fishbowl
from training.evaluate.video import Scores


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
