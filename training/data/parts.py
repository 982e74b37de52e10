"""Long videos are stored in parts, each a clip: their names, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence

CHUNK = 200  # frames of a long video stored as one clip: all its rows are held in memory
NAME = re.compile(r"(.+)_(\d{6})")


def part_name(video: str, start: int) -> str:
    """Return the name of the part of a video that begins with frame `start`."""
    return f"{video}_{start:06d}"


def continues(before: str, name: str) -> bool:
    """Return whether a clip is the next part of the video that the clip before it is of.

    What else bears a number behind its name, such as blocks of Chewing Gum videos, counts in other
    steps than CHUNK.
    """
    first, second = NAME.fullmatch(before), NAME.fullmatch(name)
    if not first or not second or first[1] != second[1]:
        return False
    return int(second[2]) == int(first[2]) + CHUNK


def video_numbers(names: Sequence[str]) -> list[int]:
    """Return the number of each clip's video, from 0 by name; the parts of a video share it."""
    numbers: list[int] = []
    for before, name in zip(["", *names], names, strict=False):
        number = numbers[-1] + 1 if numbers else 0
        numbers.append(number - continues(before, name))
    return numbers
