"""Random training windows from stored clips, gathered ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from savos_model.losses import Targets
from training.augment import Window
from training.data.store import Clip


class Place(NamedTuple):
    """A window: which clip, and the first of its rows."""

    clip: int
    row: int


def visible_area(clip: Clip) -> np.ndarray:
    """Visible area of every row [px], from the stored masks and boxes."""
    rows = len(clip.arrays["boxes"])
    if rows == 0:
        return np.empty(0)
    share = np.array([clip.arrays["visible"][i].mean() / 255 for i in range(rows)])
    boxes = np.asarray(clip.arrays["boxes"], np.float64)
    return share * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def list_places(clips: list[Clip], length: int, min_px: float) -> list[Place]:
    """All windows of `length` frames whose visible area never falls below min_px."""
    places = []
    for index, clip in enumerate(clips):
        big = visible_area(clip) >= min_px
        for start in clip.windows(length):
            if big[start : start + length].all():
                places.append(Place(index, int(start)))
    return places


def gather(clips: list[Clip], places: list[Place], length: int, reverse: np.ndarray) -> Window:
    """Read windows into one batch; reversed ones run backwards in time with the backward flow."""
    fields: dict[str, list[np.ndarray]] = {
        k: [] for k in ("rgb", "visible", "others", "flow", "boxes")
    }
    for place, back in zip(places, reverse, strict=True):
        arrays, rows = clips[place.clip].arrays, slice(place.row, place.row + length)
        for name, parts in fields.items():
            stored = "flow_back" if back and name == "flow" else name
            values = np.asarray(arrays[stored][rows])
            parts.append(values[::-1] if back else values)
    batch = {name: torch.from_numpy(np.stack(parts)) for name, parts in fields.items()}
    return Window(
        batch["rgb"].float() / 255,
        batch["visible"].float() / 255,
        batch["others"].float() / 255,
        batch["flow"].float(),
        batch["boxes"].float(),
    )


def random_batches(
    clips: list[Clip],
    places: list[Place],
    length: int,
    size: int,
    seed: int,
    steps: range,
    make: Callable[[Window, int], Targets],
) -> Iterator[Targets]:
    """One batch per step, made ahead in a thread.

    Step i is the same whatever came before, so that a run can resume: `make` gets the windows and
    the number of the step, which seeds whatever it draws.
    """
    ready: queue.Queue[Targets] = queue.Queue(maxsize=4)
    stop = threading.Event()

    def fill() -> None:
        for step in steps:
            rng = np.random.default_rng((seed, step))
            chosen = [places[i] for i in rng.integers(len(places), size=size)]
            batch = make(gather(clips, chosen, length, rng.random(size) < 0.5), step)
            while not stop.is_set():
                try:
                    ready.put(batch, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if stop.is_set():
                return

    thread = threading.Thread(target=fill, name="batches", daemon=True)
    thread.start()
    try:
        for _ in steps:
            yield ready.get()
    finally:
        stop.set()
        thread.join()
