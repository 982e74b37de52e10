"""Training windows: drawn at random from stored clips or another source, ahead in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from training.data.store import Clip, open_store, video_numbers
from training.learn.augment import Window

Made = TypeVar("Made")
AHEAD = 3  # batches that wait for the network, besides those being made
BYTES = ("rgb", "visible", "others", "scenery", "amodal")  # stay as stored, 0..255 for 0..1


class Place(NamedTuple):
    """A window: which clip, and the first of its rows."""

    clip: int
    row: int


def split_clips(stores: list[Path], every: int) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and clips to validate on: every n-th video of each store, in all its parts.

    A part that trained would leak into the part that validates: the same place, light and objects.
    """
    train, held = [], []
    for store in stores:
        clips = open_store(store)
        for number, clip in zip(video_numbers([clip.name for clip in clips]), clips, strict=True):
            (held if number % every == 0 else train).append(clip)
    return train, held


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
    return places_of([visible_area(clip) >= min_px for clip in clips], clips, length)


def places_of(usable: list[np.ndarray], clips: list[Clip], length: int) -> list[Place]:
    """All windows of `length` frames that are usable, bool [M] by clip, in all their rows."""
    return [
        Place(index, int(start))
        for index, (clip, rows) in enumerate(zip(clips, usable, strict=True))
        for start in clip.windows(length)
        if rows[start : start + length].all()
    ]


def sum_chances(kinds: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return the chances of all places up to each, where kind k of them has the share shares[k].

    Args:
        kinds: int [N], kind of each place; each kind must occur.
        shares: 1 together.
    """
    weights = np.asarray(shares, np.float64) / np.bincount(kinds, minlength=len(shares))
    chances = np.cumsum(weights[kinds])
    chances[-1] = 1.0
    return chances


def gather(
    clips: list[Clip],
    places: list[Place],
    length: int,
    reverse: np.ndarray,
    supervised: np.ndarray | None = None,
) -> Window:
    """Read windows into one batch; reversed ones run backwards in time, their flows swapped.

    `scenery` is None where no clip has it, and empty in the windows of those that lack it; so is
    `amodal`, which only `supervised` windows, bool [B], have, where it is known.
    """
    swapped = {"flow": "flow_back", "flow_back": "flow"}
    fields: dict[str, list[np.ndarray]] = {name: [] for name in Window._fields}
    if not any("scenery" in clips[place.clip].arrays for place in places):
        del fields["scenery"]
    taught = np.zeros(len(places), bool) if supervised is None else supervised
    if not taught.any():
        del fields["amodal"]
    for place, back, amodal in zip(places, reverse, taught, strict=True):
        arrays, rows = clips[place.clip].arrays, slice(place.row, place.row + length)
        for name, parts in fields.items():
            stored = arrays.get(swapped.get(name, name) if back else name)
            if name == "amodal" and amodal and "known" in arrays and arrays["known"][rows].all():
                stored = arrays["truth"]
            values = np.zeros_like(arrays["visible"][rows]) if stored is None else stored[rows]
            parts.append(np.asarray(values[::-1] if back else values))
    batch = {name: torch.from_numpy(np.stack(parts)) for name, parts in fields.items()}
    return Window(**{k: v if k in BYTES else v.float() for k, v in batch.items()})


def mirrored(window: Window, chosen: np.ndarray) -> Window:
    """Return windows of which the chosen ones, bool [B], are mirrored from left to right."""
    at, parts = torch.from_numpy(np.flatnonzero(chosen)), {}
    for name, values in window._asdict().items():
        if values is None:
            continue
        if name == "boxes":  # about the column 0: only places relative to each other matter
            turned = values[at][..., [2, 1, 0, 3]] * values.new_tensor((-1, 1, -1, 1))
        else:
            turned = values[at].flip(-1)
        if name in ("flow", "flow_back"):
            turned[:, :, 0] *= -1
        parts[name] = values.index_copy(0, at, turned)
    return window._replace(**parts)


class WindowSource(Protocol):
    """Where training windows come from."""

    def draw(self, size: int, rng: np.random.Generator) -> Window:
        """Return a batch of `size` random windows."""
        ...


@dataclass(frozen=True)
class StoredWindows:
    """Windows of stored clips, each the right way round or reversed in time at even odds.

    `chances` are those of all places up to each, float64 ending with 1; None makes them equal.
    `mirror` is the share of mirrored windows; `supervised` by clip the share of windows that
    learn from their amodal masks, float64 [C], None where no window does.
    """

    clips: list[Clip]
    places: list[Place]
    length: int
    chances: np.ndarray | None = None
    mirror: float = 0.0
    supervised: np.ndarray | None = None

    def draw(self, size: int, rng: np.random.Generator) -> Window:
        """As WindowSource.draw."""
        if self.chances is None:
            numbers = rng.integers(len(self.places), size=size)
        else:
            numbers = np.searchsorted(self.chances, rng.random(size), side="right")
        chosen = [self.places[i] for i in numbers]
        reverse, taught = rng.random(size) < 0.5, None
        if self.supervised is not None:
            taught = rng.random(size) < self.supervised[[place.clip for place in chosen]]
        window = gather(self.clips, chosen, self.length, reverse, taught)
        return mirrored(window, rng.random(size) < self.mirror) if self.mirror else window


def random_batches(
    source: WindowSource, size: int, seed: int, steps: range, make: Callable[[Window, int], Made]
) -> Iterator[Made]:
    """One batch per step, made ahead in a thread.

    Step i is the same whatever came before: `make` gets the windows and the number of the step,
    which seeds whatever it draws.
    """

    def batch(step: int) -> Made:
        return make(source.draw(size, np.random.default_rng((seed, step))), step)

    return ahead(batch, steps)


def ahead(
    make: Callable[[int], Made], steps: range, workers: int = 1, device: torch.device | None = None
) -> Iterator[Made]:
    """Yield the result of `make` for each step, in order, made ahead in threads; raise its errors.

    Args:
        make: called with the number of the step, in any thread.
        steps: numbers of the steps.
        workers: threads.
        device: GPU of the threads, for what `make` allocates without naming one.
    """

    def use_device() -> None:
        if device is not None and device.type == "cuda":
            torch.cuda.set_device(device)  # else a thread pins memory through the first GPU

    pool = ThreadPoolExecutor(workers, "batches", use_device)
    waiting: deque[Future[Made]] = deque()
    try:
        for step in steps:
            waiting.append(pool.submit(make, step))
            if len(waiting) > workers + AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
