"""Opens the data that a run's settings name: windows to train on, and fixed ones that validate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from training.augment import Window
from training.config import RunConfig
from training.data.chewing_gum_windows import GumConfig, GumWindows
from training.windows import StoredWindows, WindowSource, gather, list_places, split_clips

VALIDATION_SEED = 12345  # the same windows in every run, whatever its seed


class RunData(NamedTuple):
    """Where windows come from.

    Attributes:
        source: random windows to train on.
        held: number of a group -> its validation windows, the same in every run.
        held_groups: how many there are.
        windows: number of different training windows, 0 when they never end.
        text: one line for the user.
    """

    source: WindowSource
    held: Callable[[int], Window]
    held_groups: int
    windows: int
    text: str


def open_data(run: RunConfig, device: torch.device) -> RunData:
    """Open the data of a run, its windows on a device.

    Raises:
        ValueError: there are no windows.
    """
    opener = open_chewing_gum if run.data.source == "chewing_gum" else open_stored
    return opener(run, device)


def open_stored(run: RunConfig, device: torch.device) -> RunData:
    """Windows of stored clips; every n-th clip of a store validates."""
    length, group = run.train.length, run.train.group
    clips, held = split_clips([Path(store) for store in run.data.stores], run.data.held_out)
    places = list_places(clips, length, run.data.min_px)
    held_places = list_places(held, length, run.data.min_px)
    order = np.random.default_rng(7).permutation(len(held_places))[: run.data.validation]
    parts = [order[i : i + group] for i in range(0, len(order), group)]
    parts = [part for part in parts if len(part) > 1]  # one alone has no other to be hidden by
    if not places or not parts:
        raise ValueError(
            f"stores must hold windows of {length} frames in clips that train and that validate, "
            f"got {len(places)} and {len(held_places)} in {list(run.data.stores)}: prepare data "
            "first (`savos prepare`), or give other --data"
        )

    def fixed(number: int) -> Window:
        reverse = np.random.default_rng((VALIDATION_SEED, number)).random(len(parts[number])) < 0.5
        return gather(held, [held_places[i] for i in parts[number]], length, reverse, device)

    text = f"{len(places)} windows of {len(clips)} clips; {sum(map(len, parts))} validation windows"
    source = StoredWindows(clips, places, length, device)
    return RunData(source, fixed, len(parts), len(places), text)


def open_chewing_gum(run: RunConfig, device: torch.device) -> RunData:
    """Endless windows of generated videos; a fixed seed draws those that validate."""
    group = run.train.group
    source = GumWindows(GumConfig(length=run.train.length), run.model.patch, device)

    def fixed(number: int) -> Window:
        return source.draw(group, np.random.default_rng((VALIDATION_SEED, number)))

    groups = max(1, run.data.validation // group)
    return RunData(source, fixed, groups, 0, f"new Chewing Gum videos; {groups * group} validate")
