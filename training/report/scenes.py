"""Videos with amodal truth that may be shown: FISHBOWL clips and generated ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from training.data.fishbowl import FishbowlError
from training.data.prepare import chewing_gum_frames, fishbowl_frames, street_frames
from training.data.store import ClipFrame

STREET_FRAMES = 60
GUM_SEED = 1  # that of savos evaluate chewing-gum


@dataclass(frozen=True)
class Scene:
    """One video with truth: its set and name, and a call that yields its frames."""

    set: str
    name: str
    frames: Callable[[], Iterable[ClipFrame]]


def scenes(
    data: Path | None, clips: Sequence[str], gum: Sequence[str], street: Sequence[str]
) -> list[Scene]:
    """Return FISHBOWL clips of a folder by name, Chewing Gum videos by number, streets by seed.

    Raises:
        ValueError: clips without a folder, or anything but numbers.
    """
    if clips and data is None:
        raise ValueError("--clips are names of clips in --data: give that folder too")
    for text in (*gum, *street):
        if not text.isdecimal():
            raise ValueError(f"--gum and --street are numbers with commas, got {text!r}")
    found = []
    for name in clips:
        path = (data or Path()) / name
        if not path.with_name(f"{name}.mp4").is_file():
            raise FishbowlError(f"{path}.mp4 is not there: --clips are names without ending")
        found.append(
            Scene("fishbowl", name.removeprefix("fishbowl_"), partial(fishbowl_frames, path))
        )
    for number in map(int, gum):
        frames = partial(chewing_gum_frames, GUM_SEED, number, 1)
        found.append(Scene("gum", str(number), frames))
    for seed in map(int, street):
        found.append(Scene("street", str(seed), partial(street_frames, seed, STREET_FRAMES)))
    return found
