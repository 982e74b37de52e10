"""Arguments that several `savos` commands of training share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savos_model.config import BackendConfig, FlowConfig, StreamConfig

if TYPE_CHECKING:
    from savos_model.stream.video import Setup


def ours_of(weights: str, mode: str, flow: str = FlowConfig().method) -> Setup:
    """Return how our method runs, by the options of a command."""
    from savos_model.stream.video import Setup

    return Setup(BackendConfig(weights), StreamConfig(flow=FlowConfig(flow)), mode)
