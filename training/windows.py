"""Training windows: drawn at random from stored clips or another source, ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from savos_model.losses import Targets
from training.augment import Window
from training.data.store import Clip

SHARES = ("rgb", "visible", "others")  # stored as bytes, 0..255 for 0..1


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
    """Read windows into one batch; reversed ones run backwards in time, their flows swapped."""
    swapped = {"flow": "flow_back", "flow_back": "flow"}
    fields: dict[str, list[np.ndarray]] = {name: [] for name in Window._fields}
    for place, back in zip(places, reverse, strict=True):
        arrays, rows = clips[place.clip].arrays, slice(place.row, place.row + length)
        for name, parts in fields.items():
            values = np.asarray(arrays[swapped.get(name, name) if back else name][rows])
            parts.append(values[::-1] if back else values)
    batch = {name: torch.from_numpy(np.stack(parts)).float() for name, parts in fields.items()}
    return Window(**{k: v / 255 if k in SHARES else v for k, v in batch.items()})


class WindowSource(Protocol):
    """Where training windows come from."""

    def draw(self, size: int, rng: np.random.Generator) -> Window:
        """A batch of `size` random windows."""
        ...


@dataclass(frozen=True)
class StoredWindows:
    """Windows of stored clips, each the right way round or reversed in time at even odds."""

    clips: list[Clip]
    places: list[Place]
    length: int

    def draw(self, size: int, rng: np.random.Generator) -> Window:
        """As WindowSource.draw."""
        chosen = [self.places[i] for i in rng.integers(len(self.places), size=size)]
        return gather(self.clips, chosen, self.length, rng.random(size) < 0.5)


def random_batches(
    source: WindowSource,
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
            batch = make(source.draw(size, np.random.default_rng((seed, step))), step)
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
