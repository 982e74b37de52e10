"""Interface of what the server shows: a running node (live.py) or a bag (playback.py)."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


class Sink(NamedTuple):
    """Where a source hands its frames; for any thread."""

    # Takes the newest frame, as picture.packet makes it; older ones that no page took are dropped
    offer: Callable[[bytes], None]
    # Waits so many seconds at most until a page can take a frame; returns whether one can
    wait_hungry: Callable[[float], bool]
    comparing: Callable[[], bool]  # whether a page wants the visible masks too


class Answer(NamedTuple):
    """Result of an order: whether it was carried out, and a sentence for the user."""

    done: bool
    text: str


class Source(Protocol):
    """A node or bag that can be shown; `start` begins and `close` ends its threads."""

    keeps: bool  # whether a frame stays valid while no page is watched, as in a bag

    def start(self, sink: Sink) -> None:
        """Begin to hand frames to the sink, as long as a page is watched."""

    def watch(self, on: bool) -> None:
        """Note whether a page is watched; return without waiting."""

    def status(self) -> dict[str, Any]:
        """Return the values that the page shows besides frames (JSON)."""

    def ask(self, said: dict[str, Any]) -> None:
        """Follow what a page asks for, such as to pause; ValueError on nonsense."""

    async def order(self, name: str, on: bool) -> Answer:
        """Give the node an order of ORDERS, with `on` for those that switch."""

    def close(self) -> None:
        """End."""


ORDERS = ("reset", "adapt", "rollback")
