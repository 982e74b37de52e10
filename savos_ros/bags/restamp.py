"""Moves the header stamps of serialized messages."""

from __future__ import annotations

from typing import Literal

from rosbags.typesys.store import Typestore

HEADER = "std_msgs/msg/Header"
_SEC, _NANOSEC = slice(4, 8), slice(8, 12)  # behind the four bytes that name the encoding


def begins_with_header(store: Typestore, kind: str) -> bool:
    """Whether messages of a type `package/msg/Type` begin with a std_msgs/Header."""
    fields = store.fielddefs[kind][1] if kind in store.fielddefs else []
    return bool(fields) and fields[0][1][1] == HEADER


def header_stamp(data: bytes) -> int | None:
    """Return the stamp [ns] of a serialized message with a header; None if too short."""
    if len(data) < _NANOSEC.stop:
        return None
    order = _byte_order(data)
    sec = int.from_bytes(data[_SEC], order, signed=True)
    return sec * 1_000_000_000 + int.from_bytes(data[_NANOSEC], order)


def _byte_order(data: bytes) -> Literal["little", "big"]:
    return "little" if data[1] & 1 else "big"


def moved_stamp(data: bytes, offset_ns: int) -> bytes:
    """Return CDR of a message that begins with a header, with its stamp moved by `offset_ns`.

    A stamp stays within what ROS can hold.
    """
    stamp = header_stamp(data)
    if stamp is None:
        return data
    order = _byte_order(data)
    sec, nanosec = divmod(max(stamp + offset_ns, 0), 1_000_000_000)
    sec = min(sec, 2**31 - 1)
    return b"".join((data[:4], sec.to_bytes(4, order), nanosec.to_bytes(4, order), data[12:]))
