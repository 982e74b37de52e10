"""Define the messages between the node and its adaptation process."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from savos_model.config import ModelConfig, SiteConfig
from savos_model.network.weights import Weights
from savos_model.types import Box, Frame, Instance

MOST_FACTS_BYTES = 10_000
MOST_HEAD_BYTES = 64 << 20  # IDs and classes are external strings
MOST_ARRAY_BYTES = 2 << 30  # of one item: the largest image and its masks
KINDS = {"|u1": np.uint8, "<f4": np.float32}
FACTS = {
    "state": ("collecting", "adapting", "checking"),
    "iterations": int,  # on this burst
    "decision": ("accepted", "rejected", "rolled_back", "skipped"),
    "reason": str,
    "version": int,  # of accepted weights
    "loss_before": float,  # on held-out frames: active and adapted weights
    "loss_after": float,
    "visible_iou_before": float,
    "visible_iou_after": float,
    "error": str,  # the process ends
}


class SiteError(RuntimeError):
    """The other side sent invalid data, or failed."""


@dataclass(frozen=True)
class Start:
    """The first message to the process: weights as configured, and those to continue from.

    `version` is the last accepted one; `folder` stores accepted weights.
    """

    base: Weights
    current: Weights
    version: int
    config: SiteConfig
    folder: Path


def name_of(base: Weights, version: int) -> str:
    """Return the name of adapted weights, such as savos_online+3."""
    return f"{base.name}+{version}"


def file_of(folder: Path, name: str) -> Path:
    """Return the file of adapted weights."""
    return folder / f"{re.sub(r'[^A-Za-z0-9_.+-]', '_', name)}.safetensors"


def send(connection: Connection, item: Start | Frame | None) -> None:
    """Send an item to the process, arrays without a copy that would block other threads.

    A frame is sent without flow: the process computes its own in both directions.
    """
    arrays: list[np.ndarray] = []
    head: dict[str, Any] = {}
    if isinstance(item, Start):
        weights = [item.base] if item.current is item.base else [item.base, item.current]
        head["start"] = {
            "weights": [_weights_head(w, arrays) for w in weights],
            "version": item.version,
            "config": asdict(item.config),
            "folder": str(item.folder),
        }
    elif item is not None:
        arrays += [item.image, *(i.mask for i in item.instances)]
        seen = [(i.id, i.box, i.class_id, i.score) for i in item.instances]
        head["frame"] = {"stamp_ns": item.stamp_ns, "order": item.order, "instances": seen}
    head["arrays"] = [(array.dtype.str, array.shape) for array in arrays]
    connection.send_bytes(json.dumps(head, default=np.generic.item).encode())
    for array in arrays:
        connection.send_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def receive(connection: Connection) -> Start | Frame | None:
    """Receive an item of the node; its size is checked before memory is taken.

    Raises SiteError: invalid data; EOFError, OSError: the node has ended, or the message is too
    large.
    """
    data = connection.recv_bytes(MOST_HEAD_BYTES)
    try:
        head = json.loads(data)
        sizes = [
            math.prod(shape) * np.dtype(KINDS[kind]).itemsize for kind, shape in head["arrays"]
        ]
        if min(sizes, default=0) < 0 or sum(sizes) > MOST_ARRAY_BYTES:
            raise ValueError(f"arrays of {sum(sizes)} bytes")
        arrays = (
            np.frombuffer(bytearray(connection.recv_bytes(size)), KINDS[kind]).reshape(shape)
            for size, (kind, shape) in zip(sizes, head["arrays"], strict=True)
        )
        if "start" in head:
            return _start(arrays=arrays, **head["start"])
        return _frame(arrays=arrays, **head["frame"]) if "frame" in head else None
    except (ValueError, TypeError, KeyError, StopIteration, RecursionError) as error:
        raise SiteError(f"the node sent invalid data: {error!r:.200}") from None


def _weights_head(weights: Weights, arrays: list[np.ndarray]) -> tuple:
    arrays.extend(weights.arrays.values())
    return weights.name, asdict(weights.model), list(weights.arrays), weights.info


def _start(
    arrays: Iterator[np.ndarray], weights: list, version: int, config: dict, folder: str
) -> Start:
    base, *other = [
        Weights(name, ModelConfig(**model), {key: next(arrays) for key in keys}, info)
        for name, model, keys, info in weights
    ]
    (current,) = other or [base]
    return Start(base, current, version, SiteConfig(**config), Path(folder))


def _frame(arrays: Iterator[np.ndarray], stamp_ns: int, order: str, instances: list) -> Frame:
    image = next(arrays)
    seen = [
        Instance(name, Box(*box), mask, class_id, score)
        for (name, box, class_id, score), mask in zip(instances, arrays, strict=True)
    ]
    return Frame(stamp_ns, image, seen, order)


def report(connection: Connection, **facts: Any) -> None:
    """Send the node some of FACTS."""
    connection.send_bytes(json.dumps(facts).encode())


def hear(connection: Connection) -> dict[str, Any]:
    """Receive some of FACTS from the process.

    Raises SiteError: invalid data; EOFError, OSError: the process has ended, or sent too much.
    """
    data = connection.recv_bytes(MOST_FACTS_BYTES)
    try:
        facts = json.loads(data)
    except ValueError:
        raise SiteError(f"the process sent {data[:40]!r}") from None
    if not isinstance(facts, dict):
        raise SiteError(f"the process sent {data[:40]!r}")
    for name, value in facts.items():
        rule = FACTS.get(name)
        if not (value in rule if isinstance(rule, tuple) else type(value) is rule):
            raise SiteError(f"the process sent {name[:40]} = {str(value)[:40]}")
    return facts
