"""Synchronize messages of several topics by stamp: bounded, ordered, all losses counted."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

# A stamp this far behind the last set means that the source has restarted.
JUMP_NS = 1_000_000_000


class Joined(NamedTuple):
    """A synchronized set of messages.

    `number` counts the leading messages that were synchronized or had no partner: it increases by
    one from set to set unless leading messages between them were lost.
    """

    number: int
    messages: tuple[Any, ...]


class StampJoiner:
    """Match messages with equal (or similar) stamps and emit sets in ascending order.

    A live node calls `add`: a set is emitted as soon as it is complete; older messages are then
    dropped and counted. A reader of recordings calls `feed`: a message without a partner delays the
    later ones until the buffer is full, so that masks recorded late or out of order lose no frame.
    Stamps that jump backwards by more than a second, or stay behind for a whole buffer, are taken
    for a restart of the source (a bag that loops), not for late messages.

    Args:
        channels: names of the topics; the first one leads: its stamp is that of the set.
        depth: messages per channel that may wait; another one drops the first received.
        slop_ns: largest difference to the leading stamp [ns]; 0 matches equal stamps only.
        optional: names that `feed` waits for but that may be missing (None).

    Attributes:
        losses: unused messages by reason: "<channel>_unpaired" (no partner), "<channel>_late" (a
            set with a later stamp was emitted), "<channel>_duplicate".
        restarts: number of backward jumps of the stamps.
        missed_ns: smallest difference [ns] between a leading message without a partner in `feed`
            and a waiting message, None without any.
        received: messages per channel.
        last_stamp: newest stamp per channel [ns]; absent before the first message.
    """

    def __init__(
        self,
        channels: Sequence[str],
        depth: int,
        slop_ns: int = 0,
        optional: Sequence[str] = (),
    ) -> None:
        if depth < 1 or slop_ns < 0:
            raise ValueError(
                f"depth must be at least 1 and slop_ns at least 0, got {depth} and {slop_ns}"
            )
        self.channels = tuple(channels)
        self._depth, self._slop, self._optional = depth, slop_ns, frozenset(optional)
        self._waiting: dict[str, OrderedDict[int, Any]] = {
            name: OrderedDict() for name in self.channels
        }
        self._floor: dict[str, int] = {}
        self._late_in_a_row = 0
        self.losses: Counter = Counter()
        self.received: Counter = Counter()
        self.last_stamp: dict[str, int] = {}
        self.restarts = 0
        self.missed_ns: int | None = None
        self._emitted = 0

    def add(self, channel: str, stamp_ns: int, message: Any) -> Joined | None:
        """Add a message; return the set that it completes, in the order of `channels`."""
        self._receive(channel, stamp_ns)
        if self._is_behind(channel, stamp_ns) and not self._is_restart(channel, stamp_ns):
            return None
        waiting = self._store(channel, stamp_ns, message)
        stamps = self._match(channel, stamp_ns)
        if stamps is not None:
            messages = self._take(stamps)
            number = self._emitted + self.losses[f"{self.channels[0]}_unpaired"]
            return Joined(number, messages)
        if len(waiting) > self._depth:
            waiting.popitem(last=False)
            self.losses[f"{channel}_unpaired"] += 1
        return None

    def feed(self, channel: str, stamp_ns: int, message: Any) -> Iterator[tuple[Any, ...]]:
        """Add a message of a recording; yield the sets that become ready, in order."""
        self._receive(channel, stamp_ns)
        if self._is_behind(channel, stamp_ns):
            if not self._is_restart(channel, stamp_ns):
                return
            yield from self.flush()
        self._store(channel, stamp_ns, message)
        leads = self._waiting[self.channels[0]]
        while True:
            lead = min(leads, default=None)
            stamps = {} if lead is None else self._partners(lead)
            if len(stamps) == len(self.channels):
                yield self._take(stamps)
                continue
            if all(len(waiting) <= self._depth for waiting in self._waiting.values()):
                return
            oldest = min((min(entries), name) for name, entries in self._waiting.items() if entries)
            if lead is not None and oldest[0] >= lead - self._slop:
                yield from self._close(lead, stamps)
            else:
                del self._waiting[oldest[1]][oldest[0]]
                self.losses[f"{oldest[1]}_unpaired"] += 1

    def flush(self) -> Iterator[tuple[Any, ...]]:
        """Yield the remaining sets at the end of a recording, in order, and clear the rest."""
        for lead in sorted(self._waiting[self.channels[0]]):
            yield from self._close(lead, self._partners(lead))
        self.clear()

    def clear(self) -> None:
        """Remove all waiting messages, counted as unpaired, and all stamps."""
        for name, waiting in self._waiting.items():
            if waiting:
                self.losses[f"{name}_unpaired"] += len(waiting)
                waiting.clear()
        self._floor.clear()
        self._late_in_a_row = 0

    def nearest_gap_ns(self) -> int | None:
        """Return the smallest difference of waiting stamps of two channels [ns], or None."""
        first, second = (self._waiting[name] for name in self.channels[:2])
        return min((abs(a - b) for a in first for b in second), default=None)

    def _receive(self, channel: str, stamp_ns: int) -> None:
        self.received[channel] += 1
        self.last_stamp[channel] = stamp_ns

    def _store(self, channel: str, stamp_ns: int, message: Any) -> OrderedDict[int, Any]:
        waiting = self._waiting[channel]
        if waiting.pop(stamp_ns, None) is not None:  # left over from before a restart
            self.losses[f"{channel}_duplicate"] += 1
        waiting[stamp_ns] = message
        return waiting

    def _is_behind(self, channel: str, stamp_ns: int) -> bool:
        floor = self._floor.get(channel)
        return floor is not None and stamp_ns <= floor

    def _is_restart(self, channel: str, stamp_ns: int) -> bool:
        """Return whether a message behind the last set is a restart; count it as lost if not."""
        floor = self._floor[channel]
        if stamp_ns == floor:
            self.losses[f"{channel}_duplicate"] += 1
            return False
        self._late_in_a_row += 1
        if floor - stamp_ns <= JUMP_NS and self._late_in_a_row <= self._depth:
            self.losses[f"{channel}_late"] += 1
            return False
        # Keep waiting messages: after a single wild stamp they still find their partners.
        self._floor.clear()
        self._late_in_a_row = 0
        self.restarts += 1
        return True

    def _match(self, channel: str, stamp_ns: int) -> dict[str, int] | None:
        """Return the stamps of a complete set with this message; None if a partner is missing."""
        leader = self.channels[0]
        leads = [stamp_ns] if channel == leader else self._near(leader, stamp_ns)
        for lead in leads:
            stamps = self._partners(lead) | {channel: stamp_ns}
            if len(stamps) == len(self.channels):
                return stamps
        return None

    def _partners(self, lead: int) -> dict[str, int]:
        """Return the stamps that are available for the set of a leading stamp."""
        stamps = {self.channels[0]: lead}
        for name in self.channels[1:]:
            if near := self._near(name, lead):
                stamps[name] = near[0]
        return stamps

    def _close(self, lead: int, stamps: dict[str, int]) -> Iterator[tuple[Any, ...]]:
        """Yield a set that lacks only optional messages; count its leading message otherwise."""
        if self._optional.issuperset(set(self.channels) - stamps.keys()):
            yield self._take(stamps)
            return
        del self._waiting[self.channels[0]][lead]
        self.losses[f"{self.channels[0]}_unpaired"] += 1
        others = (other for name in self.channels[1:] for other in self._waiting[name])
        gap = min((abs(lead - other) for other in others), default=None)
        if gap is not None and (self.missed_ns is None or gap < self.missed_ns):
            self.missed_ns = gap

    def _near(self, channel: str, stamp_ns: int) -> list[int]:
        """Return waiting stamps within the slop, nearest first."""
        waiting = self._waiting[channel]
        if self._slop == 0:
            return [stamp_ns] if stamp_ns in waiting else []
        near = [stamp for stamp in waiting if abs(stamp - stamp_ns) <= self._slop]
        return sorted(near, key=lambda stamp: (abs(stamp - stamp_ns), stamp))

    def _take(self, stamps: dict[str, int]) -> tuple[Any, ...]:
        """Remove a set and everything older from the buffers, and return the set."""
        self._late_in_a_row = 0
        self._emitted += 1
        messages: list[Any] = []
        for name in self.channels:
            if name not in stamps:
                messages.append(None)
                continue
            waiting, used = self._waiting[name], stamps[name]
            messages.append(waiting.pop(used))
            self._floor[name] = used
            for stamp in [stamp for stamp in waiting if stamp < used]:
                del waiting[stamp]
                self.losses[f"{name}_unpaired"] += 1
        return tuple(messages)
