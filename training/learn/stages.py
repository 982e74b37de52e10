"""The parts of a run: windows of two frames first, as they differ most, and longer ones later."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from savos_model.settings import SettingError

FORM = re.compile(r"(\d+)x(\d+):(\d*\.?\d+)(:both|:forward)?")
DIRECTIONS = {None: None, ":both": True, ":forward": False}


class Stage(NamedTuple):
    """A part of a run.

    Attributes:
        length: frames per window.
        batch: windows per step, of all processes together.
        share: of the steps of the run.
        both: whether both directions are trained; None as the loss says.
    """

    length: int
    batch: int
    share: float = 1.0
    both: bool | None = None


def read_stages(texts: Sequence[str], group: int) -> list[Stage]:
    """Return the stages that texts such as 2x128:0.6 and 8x32:0.4:both describe.

    Raises:
        SettingError: a text is of another form, or the shares are not 1 together.
    """
    stages = []
    for text in texts:
        found = FORM.fullmatch(text)
        if not found:
            raise SettingError(
                f"stages must be FRAMESxWINDOWS:SHARE, with :both or :forward, got {text!r}: give "
                "2x128:0.6, for example"
            )
        stage = Stage(int(found[1]), int(found[2]), float(found[3]), DIRECTIONS[found[4]])
        if stage.length < 2 or stage.batch < 2 or stage.batch % group:
            raise SettingError(
                f"stages must have at least 2 frames and whole groups of {group} windows, got "
                f"{text!r}: change it, or group"
            )
        stages.append(stage)
    total = sum(stage.share for stage in stages)
    if stages and abs(total - 1) > 1e-6:
        raise SettingError(f"shares of stages must be 1 together, got {total:g}: change one")
    return stages


def stage_at(stages: Sequence[Stage], step: int, steps: int) -> Stage:
    """Return the stage that step number `step` of `steps` belongs to."""
    end = 0.0
    for stage in stages:
        end += stage.share
        if step < round(end * steps):
            return stage
    return stages[-1]
