"""Define the interface of an engine that runs one batched step of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from savos_model.config import ModelConfig
from savos_model.network.layers import input_channels
from savos_model.network.weights import Weights
from savos_model.settings import SettingError, UserError

TENSORRT_MODULES = ("tensorrt", "tensorrt_rtx")  # one interface, two packages
BUCKETS = (1, 2, 4, 8, 16, 32, 64)  # batch sizes of GPU engines
PROFILE = (1, 8, BUCKETS[-1])  # tracks of TensorRT's engines: fewest, tuned for, most


class StepOutput(NamedTuple):
    """Output of one step for N tracks, float32 arrays.

    mask_logits, alpha: [N, H, W]; residual: [N, 2, H, W] [patch px]; h, c: [N, D], the new state.
    """

    mask_logits: np.ndarray
    alpha: np.ndarray
    residual: np.ndarray
    h: np.ndarray
    c: np.ndarray


class Backend(Protocol):
    """An engine with loaded weights."""

    name: str
    weights: Weights
    reason: str  # one line: why this engine was chosen

    @property
    def model(self) -> ModelConfig:
        """Return the settings of the network."""
        return self.weights.model

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """Run N >= 1 tracks: patches float32 [N, 6 or 7, H, W], h and c float32 [N, D]."""
        ...

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """Prepare other weights of the same network from any thread, while steps run.

        Returns a callable that activates them; to be called between two steps.
        """
        ...


@runtime_checkable
class Shareable(Protocol):
    """An engine that several threads may use at the same time, each for other tracks.

    Attributes:
        sharers: number of threads to use; 1 if more gain nothing.
    """

    sharers: int

    def share(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """Run N >= 1 tracks like Backend.step, in the calling thread alone if `sharers` > 1."""
        ...


class BackendError(UserError):
    """An engine cannot be used; the text names what is missing, or what to install or set."""


def in_buckets(run: Callable[..., Sequence[np.ndarray]], *arrays: np.ndarray) -> StepOutput:
    """Step any number of tracks with `run`, which is called with batch sizes of BUCKETS only.

    Short batches are padded with zeros, whose results are removed.
    """
    parts, most = [], BUCKETS[-1]
    for first in range(0, len(arrays[0]), most):
        part = [array[first : first + most] for array in arrays]
        rows = len(part[0])
        size = next(size for size in BUCKETS if size >= rows)
        filled = [np.concatenate((a, np.zeros((size - rows, *a.shape[1:]), a.dtype))) for a in part]
        parts.append([output[:rows] for output in run(*filled)])
    return StepOutput(*map(np.concatenate, zip(*parts, strict=True)))


def gpu_index(device: str) -> int:
    """Return the number of the GPU: 0 for cuda, N for cuda:N."""
    return int(device.partition(":")[2] or 0)


def check_inputs(patches: np.ndarray, h: np.ndarray, c: np.ndarray, model: ModelConfig) -> None:
    """Raise ValueError for arrays that do not fit the network, before the engine gets them."""
    tracks = len(patches)
    want = {
        "patches": (tracks, input_channels(model), *model.patch),
        "h": (tracks, model.hidden),
        "c": (tracks, model.hidden),
    }
    for (name, shape), got in zip(want.items(), (patches, h, c), strict=True):
        if tracks == 0 or got.shape != shape or got.dtype != np.float32:
            raise SettingError(
                f"{name} must be float32 {shape} with at least one track, "
                f"got {got.dtype} {got.shape}"
            )
