"""Opens the data that a run's settings name: windows to train on, and fixed ones that validate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training.data.store import Clip
from training.learn.augment import Window
from training.learn.config import DataConfig, RunConfig
from training.learn.gum_windows import GumConfig, GumWindows
from training.learn.windows import (
    Place,
    StoredWindows,
    WindowSource,
    gather,
    places_of,
    split_clips,
    sum_chances,
    visible_area,
)

VALIDATION_SEED = 12345  # the same windows in every run, whatever its seed


class RunData(NamedTuple):
    """Where windows come from.

    Attributes:
        sources: frames per window -> random windows to train on.
        held: number of a group -> its validation windows, the same in every run.
        held_groups: how many there are.
        windows: number of different training windows, 0 when they never end.
        text: one line for the user.
    """

    sources: dict[int, WindowSource]
    held: Callable[[int], Window]
    held_groups: int
    windows: int
    text: str


def open_data(run: RunConfig) -> RunData:
    """Open the data of a run.

    Raises:
        ValueError: there are no windows.
    """
    opener = open_chewing_gum if run.data.source == "chewing_gum" else open_stored
    return opener(run)


def open_stored(run: RunConfig) -> RunData:
    """Windows of stored clips; every n-th clip of a store validates."""
    length, group = run.train.length, run.train.group
    train, held = open_stores(run.data)
    lengths = sorted({stage.length for stage in run.train.plan})
    places = {length: train.places(length) for length in lengths}
    held_places = choose_held(held, length, run.data)
    parts = [held_places[i : i + group] for i in range(0, len(held_places), group)]
    parts = [part for part in parts if len(part) > 1]  # one alone has no other to be hidden by
    counts = {length: len(found) for length, found in places.items()}
    if not all(counts.values()) or not parts:
        raise ValueError(
            f"stores must hold windows in clips that train and, of {length} frames, that validate, "
            f"got {counts} by number of frames and {len(held_places)} in {list(run.data.stores)}: "
            "prepare data first (`savos prepare`), or give other --data"
        )

    def fixed(number: int) -> Window:
        reverse = np.random.default_rng((VALIDATION_SEED, number)).random(len(parts[number])) < 0.5
        return gather(held.clips, parts[number], length, reverse)

    windows = sum(counts.values())
    text = f"{windows} windows of {len(train.clips)} clips; "
    text += f"{sum(map(len, parts))} validation windows"
    stored = min(clip.patch_rows for clip in train.clips)
    if stored < run.model.patch_height:
        text += (
            f"; patches of {run.model.patch_height} rows are enlarged from clips stored for "
            f"{stored}: prepare them with --patch {run.model.patch_height}"
        )
    shares = run.data.store_shares
    taught = run.data.supervised_shares
    supervised = np.array(taught)[train.stores] if taught else None
    sources = {
        length: StoredWindows(
            train.clips, found, length, train.chances(found, shares), run.augment.mirror, supervised
        )
        for length, found in places.items()
    }
    return RunData(sources, fixed, len(parts), windows, text)


class Stored(NamedTuple):
    """Clips of all stores, the store that each is of, and by clip which rows are usable."""

    clips: list[Clip]
    stores: np.ndarray
    usable: list[np.ndarray]

    def places(self, length: int) -> list[Place]:
        """All windows of so many frames."""
        return places_of(self.usable, self.clips, length)

    def kinds(self, places: list[Place]) -> np.ndarray:
        """Store of each place, int [N]."""
        return self.stores[[place.clip for place in places]]

    def chances(self, places: list[Place], shares: list[float]) -> np.ndarray | None:
        """As StoredWindows.chances; raises ValueError where a store with a share has no windows."""
        if not shares:
            return None
        kinds = self.kinds(places)
        if len(np.unique(kinds)) < len(shares):
            raise ValueError(
                "stores with a share must hold windows that train, one has none: leave it out"
            )
        return sum_chances(kinds, shares)


def open_stores(config: DataConfig) -> tuple[Stored, Stored]:
    """Open the clips that train and those that validate."""
    both: tuple[list[Clip], list[Clip]] = ([], [])
    stores: tuple[list[int], list[int]] = ([], [])
    for number, store in enumerate(config.stores):
        for all_clips, of, clips in zip(
            both, stores, split_clips([Path(store)], config.held_out), strict=True
        ):
            all_clips.extend(clips)
            of.extend([number] * len(clips))
    train, held = (
        Stored(clips, np.array(of, int), [visible_area(clip) >= config.min_px for clip in clips])
        for clips, of in zip(both, stores, strict=True)
    )
    return train, held


def choose_held(held: Stored, length: int, config: DataConfig) -> list[Place]:
    """Choose the windows that validate, in the stores' shares; the same in every run."""
    places, rng = held.places(length), np.random.default_rng(7)
    order = rng.permutation(len(places))
    shares = config.store_shares
    if not shares or not places:
        return [places[i] for i in order[: config.validation]]
    kinds = held.kinds(places)[order]
    chosen = [
        order[kinds == number][: round(share * config.validation)]
        for number, share in enumerate(shares)
    ]
    return [places[i] for i in rng.permutation(np.concatenate(chosen))]


def open_chewing_gum(run: RunConfig) -> RunData:
    """Endless windows of generated videos; a fixed seed draws those that validate."""
    group = run.train.group
    lengths = {run.train.length, *(stage.length for stage in run.train.plan)}
    sources = {n: GumWindows(GumConfig(length=n), run.model.patch) for n in lengths}

    def fixed(number: int) -> Window:
        return sources[run.train.length].draw(
            group, np.random.default_rng((VALIDATION_SEED, number))
        )

    groups = max(1, run.data.validation // group)
    return RunData(
        dict(sources), fixed, groups, 0, f"new Chewing Gum videos; {groups * group} validate"
    )
