"""Stamps of KITTI recordings."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from savos_model.files import FileError
from training.data.outside import read_lines

PERIOD_NS = 100_000_000  # KITTI's cameras run at 10 Hz
# Without times frame 0 gets this stamp (26 September 2011, a day of KITTI): zero is no time in ROS.
START_NS = 1_317_000_000_000_000_000
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")


class TimestampError(FileError):
    """A file of times that cannot be used."""


def regular_stamp(frame: int) -> int:
    """Return the stamp of a frame of a recording without times: 10 Hz [ns]."""
    return START_NS + frame * PERIOD_NS


def parse_time(text: str) -> int:
    """Turn `2011-09-26 13:02:25.964389445` (taken as UTC) into nanoseconds since 1970, exactly.

    Raises:
        TimestampError: another form, or no such time.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise TimestampError(f"{text.strip()[:40]!r} must read YYYY-MM-DD hh:mm:ss.fraction")
    try:
        moment = datetime(*(int(part) for part in match.groups()[:6]), tzinfo=timezone.utc)
    except ValueError as error:
        raise TimestampError(f"{text.strip()[:40]!r} is no time: {error}") from None
    seconds = calendar.timegm(moment.timetuple())
    return seconds * 1_000_000_000 + int((match[7] or "0").ljust(9, "0"))


def read_timestamps(path: Path, frames: Iterable[int]) -> dict[int, int]:
    """Stamps of frames from a KITTI timestamps.txt, whose line i (from 0) belongs to frame i.

    Raises:
        TimestampError: no text, too few lines, a line of another form, or times that fall back.
    """
    lines = read_lines(path, TimestampError)
    stamps: dict[int, int] = {}
    previous = None
    for frame in sorted(frames):
        if frame >= len(lines):
            raise TimestampError(f"{path} has {len(lines)} lines but there is a frame {frame}")
        try:
            stamps[frame] = parse_time(lines[frame])
        except TimestampError as error:
            raise TimestampError(f"{path}: line {frame + 1}: {error}") from None
        if previous is not None and stamps[frame] <= previous:
            raise TimestampError(f"{path}: line {frame + 1} is not later than the frame before it")
        previous = stamps[frame]
    return stamps
