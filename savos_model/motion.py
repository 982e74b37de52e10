"""Amodal motion from flow, base motion and residual (eq. 12), NumPy form of motion_torch.py."""

from __future__ import annotations

import numpy as np

from savos_model.config import ModelConfig
from savos_model.types import Box


def flow_scale(model: ModelConfig, box: Box) -> np.ndarray:
    """Image pixels per unit of the flow channels, float32 [2, 1, 1] (x, y).

    Preset paper: flow and residual are in patch pixels (docs/departures.md row 3); official: in
    image pixels.
    """
    if model.preset == "official":
        return np.ones((2, 1, 1), np.float32)
    scale = (box.width / model.patch_width, box.height / model.patch_height)
    return np.array(scale, np.float32)[:, None, None]


def amodal_motion(
    residual: np.ndarray,
    flow: np.ndarray,
    visible: np.ndarray,
    base: tuple[float, float],
    scale: np.ndarray,
    motion_base: str = "hybrid",
) -> np.ndarray:
    """Dense motion [2, h, w] [image px per frame]: flow on V, base motion elsewhere, plus residual.

    Args:
        residual: float32 [2, h, w] in units of `scale` (see flow_scale).
        flow: float32 [2, h, w] in units of `scale`.
        visible: [h, w], above 0.5 on V.
        base: median motion of V (x, y) [image px].
        scale: float32 [2, 1, 1].
        motion_base: uniform takes the base motion on V too (ModelConfig.motion_base).
    """
    held = np.array(base, np.float32)[:, None, None]
    if motion_base == "uniform":
        return held + residual * scale
    return np.where(visible > 0.5, flow * scale, held) + residual * scale
