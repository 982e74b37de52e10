"""Define what the node's threads need of the node: a log and a sink of results, without rclpy."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from savos_model.types import AmodalObject


class Log(Protocol):
    """The log levels in use."""

    def info(self, text: str) -> Any:
        """Log progress."""

    def warning(self, text: str) -> Any:
        """Log what needs attention."""

    def error(self, text: str) -> Any:
        """Log a failure."""


class Publisher(Protocol):
    """Sink of results (savos_ros.node.outputs.Outputs)."""

    def publish_masks(
        self,
        header: Any,
        shape: tuple[int, int],
        model: str,
        objects: list[AmodalObject],
        period_s: float,
    ) -> None:
        """Publish the masks of one image of shape (rows, columns)."""

    def publish_extras(
        self, header: Any, image: np.ndarray, order: str, objects: list[AmodalObject]
    ) -> None:
        """Publish overlay and companion messages that have subscribers."""

    def open(self) -> bool:
        """Return whether messages can still be published."""

    def publish_refined(
        self,
        header: Any,
        shape: tuple[int, int],
        model: str,
        objects: list[AmodalObject],
        period_s: float,
    ) -> None:
        """Publish the refined masks of an earlier image."""
