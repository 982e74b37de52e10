"""Groups the messages of a bag by stamp, in order of stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

# Messages this far behind the last group are no late ones: the recording started again.
RESTART_NS = 1_000_000_000


class StampGroups:
    """Collects messages until those of one stamp are complete.

    Unlike the joiner of the live node it can wait: a group that lacks something holds back the
    later ones until `depth` groups are open, so masks that were recorded late or out of order lose
    no frame.

    Attributes:
        losses: messages not used, by reason: "<name>_alone" (a required partner never came),
            "<name>_late" (a later stamp was handed out before), "<name>_duplicate".
        restarts: how often the stamps fell back.
    """

    def __init__(
        self, required: Sequence[str], optional: Sequence[str] = (), depth: int = 32
    ) -> None:
        """Set up.

        Args:
            required: names of messages without which a group is no group.
            optional: names that are waited for but may be missing.
            depth: open groups, which bounds the memory.
        """
        self._required, self._names = set(required), {*required, *optional}
        self._depth = depth
        self._open: dict[int, dict[str, bytes]] = {}
        self._floor: int | None = None
        self.losses: Counter[str] = Counter()
        self.restarts = 0

    def add(self, name: str, stamp_ns: int, data: bytes) -> Iterator[dict[str, bytes]]:
        """Take one message; hand out the groups that it makes ready, in order."""
        if self._floor is not None and stamp_ns <= self._floor:
            if stamp_ns > self._floor - RESTART_NS:
                self.losses[f"{name}_late"] += 1
                return
            yield from self.flush()
            self._floor = None
            self.restarts += 1
        group = self._open.setdefault(stamp_ns, {})
        if name in group:
            self.losses[f"{name}_duplicate"] += 1
            return
        group[name] = data
        while self._open:
            first = min(self._open)
            if len(self._open[first]) < len(self._names) and len(self._open) <= self._depth:
                return
            yield from self._close(first)

    def flush(self) -> Iterator[dict[str, bytes]]:
        """Hand out what is left at the end, in order."""
        for stamp in sorted(self._open):
            yield from self._close(stamp)

    def _close(self, stamp: int) -> Iterator[dict[str, bytes]]:
        group = self._open.pop(stamp)
        if self._required <= group.keys():
            self._floor = stamp
            yield group
        else:
            self.losses.update(f"{name}_alone" for name in group)
