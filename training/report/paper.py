"""The figures that the paper and its supplement publish, read from paper.json.

Yao et al., "Self-supervised Amodal Video Object Segmentation", NeurIPS 2022. Mean IoU, 0..1, copied
digit by digit; rows in the paper's order, null where the paper has no figure. S1 to S8 are tables
of the supplement.
"""

import json
from pathlib import Path
from typing import NamedTuple


class PaperTable(NamedTuple):
    """A published table: what it shows, heads of its columns, figures of each row."""

    title: str
    columns: list[str]
    rows: dict[str, list[float | None]]


TYPES = ("SmallFishA", "MediumFishA", "MediumFishB", "BigFishA", "BigFishB")
_FILE = Path(__file__).with_suffix(".json")
PAPER = {key: PaperTable(**table) for key, table in json.loads(_FILE.read_text("utf-8")).items()}
