"""The released code's training step and data path, re-created for the speed benchmark.

Everything lies in whole images, one set per object: that is what the benchmark prices. Where a part
could be done cheaper than released without leaving the design, it is: the step reuses the motion
for the colour term, the loader reads no frame it does not need (the released one reads the whole
video, 128 frames in FISHBOWL, for an item of at most 40) and resizes with OpenCV.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor

from savos_model.network.layers import RGB
from savos_model.network.net import SavosNet
from savos_model.network.released.geometry import Clip, Estimate, both_passes, paste, reverse, warp
from savos_model.network.released.keys import OFFICIAL_MODEL
from savos_model.network.released.losses import official_loss
from training.data.flow_files import read_flo

ENLARGE = 1.5  # crop box over visible box (docs/departures.md row 4)
COLOUR_WEIGHT = 0.1


class Video(NamedTuple):
    """Whole frames: images float32 [H, W, 3] in [0, 1], RGB; flows float32 [H, W, 2] [px]."""

    images: list[np.ndarray]
    flow: list[np.ndarray]
    flow_back: list[np.ndarray]


class Batch(NamedTuple):
    """A clip and W of eq. 5, float [B, T, H, W]."""

    clip: Clip
    weight: Tensor

    def to(self, device: str) -> Batch:
        """Return the same on another device."""
        return Batch(Clip(*(part.to(device) for part in self.clip)), self.weight.to(device))


def read_video(folder: Path) -> Video:
    """Read what bench_scene.write_raw wrote; the last flow and the first backward flow repeat."""
    images = []
    for path in sorted((folder / "frames").glob("*.png")):
        images.append(cv2.imread(str(path))[..., ::-1].astype(np.float32) / 255)
    flow = [read_flo(path) for path in sorted((folder / "flow").glob("*.flo"))]
    back = [read_flo(path) for path in sorted((folder / "flow_back").glob("*.flo"))]
    return Video(images, [*flow, flow[-1]], [back[0], *back])


def crop_box(box: list[int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the visible box grown about its centre and cut to the image, half-open."""
    lows, highs = [], []
    for low, high, limit in zip(box[:2], box[2:], size[::-1], strict=True):
        centre, half = (low + high) // 2, int((high - low) * ENLARGE) // 2
        lows.append(max(0, centre - half))
        highs.append(min(limit, centre + half + 1))
    return (*lows, *highs)


def read_item(video: Video, frames: list[dict]) -> tuple[np.ndarray, ...]:
    """One object's track as the released data sets return it: the parts of Clip, then W."""
    visible = np.stack([coco.decode(frame["visible"]) for frame in frames]).astype(np.float32)
    weight = 1 - np.stack([coco.decode(frame["others"]) for frame in frames]).astype(np.float32)
    boxes = [crop_box(frame["box"], visible.shape[1:]) for frame in frames]
    parts = [video.images, list(visible), video.flow, video.flow_back]
    # One scale for the whole track, that of the frame with the largest mask (row 5).
    x0, y0, x1, y1 = boxes[int(visible.sum((1, 2)).argmax())]
    rows, cols = OFFICIAL_MODEL.patch
    scale = cols / (x1 - x0), rows / (y1 - y0)
    patches = []
    for t, (x0, y0, x1, y1) in enumerate(boxes):
        crops = [
            cv2.resize(part[t][y0:y1, x0:x1], None, None, *scale, cv2.INTER_AREA) for part in parts
        ]
        stacked = np.dstack(crops)[:rows, :cols]
        missing = rows - stacked.shape[0], cols - stacked.shape[1]
        patches.append(np.pad(stacked, ((0, missing[0]), (0, missing[1]), (0, 0))))
    return (
        np.stack(patches).transpose(0, 3, 1, 2),
        visible,
        np.array(boxes, np.float32),
        np.stack(video.flow).transpose(0, 3, 1, 2),
        np.stack(video.flow_back).transpose(0, 3, 1, 2),
        weight,
    )


def read_batch(folder: Path) -> Batch:
    """All tracks of a scene as one batch."""
    video = read_video(folder)
    tracks = json.loads((folder / "masks.json").read_text(encoding="ascii"))
    items = zip(*(read_item(video, frames) for frames in tracks), strict=True)
    *parts, weight = (torch.from_numpy(np.stack(values)) for values in items)
    return Batch(Clip(*parts), weight)


def colour_loss(clip: Clip, estimate: Estimate) -> Tensor:
    """FISHBOWL's third loss of one pass (row 19): L1 of warped colours inside both visible masks.

    The released backward pass pairs other frames, a fault that costs the same.
    """
    split, image = clip.boxes.shape[:2], tuple(clip.visible.shape[-2:])
    colours = paste(clip.patches[:, :, RGB].flatten(0, 1), clip.boxes.flatten(0, 1), image)
    values = torch.cat((colours, clip.visible.flatten(0, 1)[:, None]), 1)
    moved = warp(values, estimate.flow.flatten(0, 1)).unflatten(0, split)[:, :-1]
    later = values.unflatten(0, split)[:, 1:]
    inside = (moved[:, :, 3:] > 0) & (later[:, :, 3:] > 0)
    error = (moved[:, :, :3] - later[:, :, :3]).abs() * inside
    return COLOUR_WEIGHT * error.sum() / (split[0] * (split[1] - 1))


def released_loss(net: SavosNet, batch: Batch, *, colours: bool) -> Tensor:
    """Return the released loss of one batch; `colours` adds the third term that FISHBOWL has."""
    forward, backward = both_passes(net, batch.clip)
    total = official_loss(forward, backward, batch.clip, batch.weight).total
    if colours:
        total = total + colour_loss(batch.clip, forward)
        total = total + colour_loss(reverse(batch.clip), backward)
    return total
