"""Adds optical flow by torchvision's RAFT to frames; needs torch with torchvision."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from training.data.store import ClipFrame

SIZES = ("small", "large")
STRIDE = 8  # RAFT takes sizes that are multiples of this, at least 128 a side
MIN_SIDE = 128


class RaftError(ValueError):
    """RAFT cannot run here; the text says what is missing."""


class RaftFlow:
    """RAFT of torchvision between two frames."""

    def __init__(self, size: str = "large", device: str = "cpu", weights: Any = "DEFAULT") -> None:
        """Load the network.

        Args:
            size: small or large.
            device: where it runs, such as cpu or cuda.
            weights: name of torchvision's weights, fetched when first used; None: untrained.

        Raises:
            RaftError: torchvision is not installed.
            ValueError: unknown size.
        """
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
        try:
            import torch
            from torchvision.models import optical_flow
        except (ImportError, OSError, RuntimeError) as error:  # also builds that do not fit torch
            raise RaftError(
                f"RAFT needs torch and torchvision ({error}): pip install torchvision, or use DIS"
            ) from None
        self._torch, self._device = torch, device
        build = optical_flow.raft_small if size == "small" else optical_flow.raft_large
        self._net = build(weights=weights, progress=False).eval().to(device)

    def both_ways(self, earlier: np.ndarray, later: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the flow between two images (uint8 [H, W, 3], BGR), computed in one batch of two.

        Returns:
            Motion (x, y) of the earlier image's pixels into the later one, and of the later one's
            into the earlier one; float32 [H, W, 2] [px].
        """
        torch = self._torch
        height, width = earlier.shape[:2]
        pair = np.stack((earlier, later))[..., ::-1].transpose(0, 3, 1, 2)
        images = torch.from_numpy(np.ascontiguousarray(pair)).to(self._device).float() / 127.5 - 1
        right, below = (max(MIN_SIDE, -(-n // STRIDE) * STRIDE) - n for n in (width, height))
        images = torch.nn.functional.pad(images, (0, right, 0, below), mode="replicate")
        with torch.inference_mode():
            flow = self._net(images, images.flip(0))[-1][:, :, :height, :width]
        onward, back = flow.permute(0, 2, 3, 1).float().cpu().numpy()
        return onward, back


def with_raft(frames: Iterator[ClipFrame], flow: RaftFlow) -> Iterator[ClipFrame]:
    """Add flow both ways to frames, holding one frame back."""
    held: ClipFrame | None = None
    for frame in frames:
        if held is not None:
            onward, back = flow.both_ways(held.image, frame.image)
            yield dataclasses.replace(held, flow=onward)
            frame = dataclasses.replace(frame, flow_back=back)
        held = frame
    if held is not None:
        yield held
