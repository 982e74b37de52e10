"""Message types for reading and writing bags without ROS."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from savos_ros.messages.kit import full_name
from savos_ros.paths import message_files


@functools.cache
def typestore() -> Typestore:
    """Return the types of ROS 2 Jazzy and of this package, which are read from its msg folder."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for path in message_files():
        types.update(get_types_from_msg(path.read_text(), f"savos_ros/msg/{path.stem}"))
    store.register(types)
    return store


class BagKit:
    """Messages of the rosbags library (a savos_ros.messages.kit.MessageKit)."""

    def __init__(self) -> None:
        self._types = typestore().types

    def make(self, name: str, **fields: Any) -> Any:
        """Build the message `package/Type` from all its fields."""
        return self._types[full_name(name)](**fields)

    def payload(self, data: bytes | np.ndarray) -> np.ndarray:
        """Return a flat uint8 array, the only form that rosbags serializes."""
        return np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1)
