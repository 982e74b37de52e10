"""What the node and the process that adapts behind it say to each other."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from savos_model.config import SiteConfig
from savos_model.weights import Weights

MOST_FACTS_BYTES = 10_000
FACTS = {
    "state": ("collecting", "adapting", "checking"),
    "iterations": int,  # on this burst
    "decision": ("accepted", "rejected", "rolled_back", "skipped"),
    "reason": str,
    "version": int,  # of accepted weights
    "loss_before": float,  # on held-out frames: the weights in use, and the adapted ones
    "loss_after": float,
    "visible_iou_before": float,
    "visible_iou_after": float,
    "error": str,  # the process ends
}


class SiteError(RuntimeError):
    """The other side said what cannot be."""


@dataclass(frozen=True)
class Start:
    """The first thing that the process is told.

    Attributes:
        base: the weights that the node was configured with.
        current: those that adaptation goes on from.
        version: the last one that was given out.
        config: of the adaptation.
        folder: where accepted weights are put.
    """

    base: Weights
    current: Weights
    version: int
    config: SiteConfig
    folder: Path


def name_of(base: Weights, version: int) -> str:
    """Name of adapted weights, such as savos_small+3."""
    return f"{base.name}+{version}"


def file_of(folder: Path, name: str) -> Path:
    """File of adapted weights."""
    return folder / f"{re.sub(r'[^A-Za-z0-9_.+-]', '_', name)}.safetensors"


def send(connection: Connection, item: Any) -> None:
    """Send an object to the process, its arrays as they lie: no copy holds up other threads."""
    arrays: list[pickle.PickleBuffer] = []
    head = pickle.dumps(item, protocol=5, buffer_callback=arrays.append)
    connection.send((len(arrays), head))
    for array in arrays:
        connection.send_bytes(array.raw())


def receive(connection: Connection) -> Any:
    """What the node sent; EOFError when it is gone.

    Unpickles: only the node that started this process holds the other end of the socket pair.
    """
    count, head = connection.recv()
    arrays = [bytearray(connection.recv_bytes()) for _ in range(count)]  # that can be written to
    return pickle.loads(head, buffers=arrays)


def tell(connection: Connection, **facts: Any) -> None:
    """Tell the node some of FACTS."""
    connection.send_bytes(json.dumps(facts).encode())


def hear(connection: Connection) -> dict[str, Any]:
    """Some of FACTS, as the process told them; nothing of it is run.

    Raises:
        SiteError: it is something else.
        EOFError, OSError: the process is gone, or says more than can be meant.
    """
    data = connection.recv_bytes(MOST_FACTS_BYTES)
    try:
        facts = json.loads(data)
    except ValueError:
        raise SiteError(f"it said {data[:40]!r}") from None
    if not isinstance(facts, dict):
        raise SiteError(f"it said {data[:40]!r}")
    for name, value in facts.items():
        rule = FACTS.get(name)
        if not (value in rule if isinstance(rule, tuple) else type(value) is rule):
            raise SiteError(f"it said {name[:40]} = {str(value)[:40]}")
    return facts
