"""Adds optical flow to frames: out of .flo files, as FlowNet2 writes them, or by RAFT."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from savos_model.files import FileError
from savos_model.settings import SettingError
from training.data.outside import read_bytes
from training.data.store import ClipFrame

MAGIC = 202021.25
HEAD = 12  # bytes before the flow
MAX_SIDE = 1 << 14
UNKNOWN = 1e9  # larger components mark pixels of unknown motion
# FlowNet2 works on sizes that are multiples of this; its tools cut the middle out of other images.
BLOCK = 64


class FlowFileError(FileError):
    """A flow file that cannot be used; the text names the file, the rule and the value found."""


def read_flo(path: str | Path) -> np.ndarray:
    """Read one file, whose size is checked first: float32 [h, w, 2] (x, y) [px], NaN where unknown.

    Raises:
        FlowFileError: missing, no .flo file, too large, or cut off.
    """
    data = read_bytes(path, FlowFileError, HEAD + 8 * MAX_SIDE**2)
    if len(data) < HEAD or struct.unpack_from("<f", data)[0] != MAGIC:
        raise FlowFileError(f"{path} is no .flo file: it must begin with {MAGIC}", "form")
    width, height = struct.unpack_from("<ii", data, 4)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise FlowFileError(
            f"{path} says {width}x{height}, 1 to {MAX_SIDE} a side are read", "size"
        )
    needed = HEAD + 8 * width * height
    if len(data) != needed:
        raise FlowFileError(
            f"{path} has {len(data)} bytes, {width}x{height} needs {needed}: it is cut off", "bytes"
        )
    flow = np.frombuffer(data, "<f4", offset=HEAD).reshape(height, width, 2).copy()
    flow[~(np.abs(flow) <= UNKNOWN).all(-1)] = np.nan
    return flow


def fit_flow(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """Put flow [h, w, 2] where it belongs in the image it was computed from: [height, width, 2].

    FlowNet2's tools cut images to multiples of 64 about their centre, 480 columns to 448, so the
    flow lacks 16 columns on either side. Its outermost values are repeated there; the released
    code stretches it instead, which misplaces motion by up to 16 px. Raises FlowFileError where
    the size is neither the image's nor that of such a cut.
    """
    pads = []
    for found, wanted in zip(flow.shape[:2], (height, width), strict=True):
        if found not in (wanted, wanted // BLOCK * BLOCK):
            raise FlowFileError(
                f"flow of {flow.shape[1]}x{flow.shape[0]} does not fit an image of "
                f"{width}x{height}: it must be of its size, or cut to multiples of {BLOCK}",
                "size",
            )
        before = (wanted - found) // 2
        pads.append((before, wanted - found - before))
    return np.pad(flow, (*pads, (0, 0)), mode="edge") if any(map(any, pads)) else flow


def flow_paths(folder: str | Path) -> list[Path]:
    """Return flow files of a folder by the number that ends their name; FlowFileError if none."""
    paths = [path for path in Path(folder).glob("*.flo") if _number(path) is not None]
    if not paths:
        raise FlowFileError(f"{folder} holds no numbered .flo files", "missing")
    return sorted(paths, key=lambda path: _number(path) or 0)


def _number(path: Path) -> int | None:
    digits = path.stem[len(path.stem.rstrip("0123456789")) :]
    return int(digits) if digits else None


def with_flo(
    frames: Iterator[ClipFrame], forward: str | Path, backward: str | Path, first: int = 0
) -> Iterator[ClipFrame]:
    """Add the flow of files to consecutive frames of a video from number `first` on.

    The i-th file of folder `forward` (by number, from 0) is the motion of frame i to i + 1, that of
    `backward` the motion of i + 1 to i.

    Raises:
        FlowFileError: a file is unreadable or of another size, or there are fewer than pairs of
            frames.
    """
    onward, back = flow_paths(forward), flow_paths(backward)
    for index, frame in enumerate(frames, first):
        shape = frame.image.shape[:2]
        if index > min(len(onward), len(back)):
            raise FlowFileError(
                f"{forward} and {backward} hold {len(onward)} and {len(back)} files, frame {index} "
                "needs more: each pair of frames needs one",
                "frames",
            )
        # The last frame has no next one, the first none before.
        ahead = fit_flow(read_flo(onward[index]), *shape) if index < len(onward) else None
        behind = fit_flow(read_flo(back[index - 1]), *shape) if index else None
        yield dataclasses.replace(frame, flow=ahead, flow_back=behind)


SIZES = ("small", "large")
STRIDE = 8  # RAFT takes sizes that are multiples of this, at least 128 a side
MIN_SIDE = 128


class RaftError(ValueError):
    """RAFT cannot run here; the text says what is missing."""


class RaftFlow:
    """RAFT of torchvision between two frames."""

    def __init__(self, size: str = "large", device: str = "cpu", weights: Any = "DEFAULT") -> None:
        """Load the network, `size` small or large, on a device such as cpu or cuda.

        `weights` names those of torchvision, fetched when first used; None: untrained.

        Raises:
            RaftError: torchvision is not installed.
            SettingError: unknown size.
        """
        if size not in SIZES:
            text = f"size must be one of {', '.join(SIZES)}, got {size!r}"
            raise SettingError(text, "choices")
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

        It is the motion (x, y) of the earlier image's pixels into the later one, and the reverse;
        float32 [H, W, 2] [px].
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
