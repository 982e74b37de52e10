"""Compute amodal motion from flow, base motion and residual (eq. 12).

NumPy form of network/motion_torch.py.
"""

import cv2
import numpy as np

from savos_model.config import ModelConfig
from savos_model.types import Box


def flow_scale(model: ModelConfig, box: Box) -> tuple[float, float]:
    """Return image pixels per unit of the flow channels (x, y).

    Preset paper: flow and residual are in patch pixels (docs/departures.md row 3); official: in
    image pixels.
    """
    if model.preset == "official":
        return 1.0, 1.0
    return box.width / model.patch_width, box.height / model.patch_height


def pair(values: tuple[float, float]) -> np.ndarray:
    """Return an (x, y) pair as float32 [2, 1, 1]."""
    return np.array(values, np.float32)[:, None, None]


def amodal_motion(
    residual: np.ndarray,
    flow: np.ndarray,
    visible: np.ndarray,
    base: tuple[float, float],
    scale: tuple[float, float],
    motion_base: str = "hybrid",
) -> np.ndarray:
    """Return dense motion [2, h, w] [image px per frame]: flow on V, else base, plus residual.

    Residual and flow, float32 [2, h, w], are in units of `scale` (x, y) (see flow_scale); V is
    where `visible` [h, w] is above 0.5; `base` is its median motion (x, y) [image px], which
    `motion_base` uniform uses on V, too (ModelConfig.motion_base).
    """
    unit = pair(scale)
    return observed_motion(flow, visible, base, scale, motion_base) + residual * unit


def observed_motion(
    flow: np.ndarray,
    visible: np.ndarray,
    base: tuple[float, float],
    scale: tuple[float, float],
    motion_base: str = "hybrid",
) -> np.ndarray:
    """Return dense motion without the residual, [2, h, w] [image px per frame]."""
    if motion_base == "uniform":
        return np.broadcast_to(pair(base), flow.shape)
    motion, elsewhere = flow * pair(scale), (visible <= 0.5).view(np.uint8)
    for channel, value in zip(motion, base, strict=True):
        # np.where takes four times as long
        cv2.copyTo(np.full(channel.shape, value, channel.dtype), elsewhere, channel)
    return motion
