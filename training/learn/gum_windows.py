"""Chewing Gum training windows drawn on the fly: random by seed, no files, on any torch device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from savos_model.geometry import MIN_BOX_PX
from savos_model.settings import SettingError, check_settings, setting
from training.data.chewing_gum import (
    CENTRE,
    HEIGHT,
    RADIUS,
    SIDE,
    WIDTH,
    ChewingGumConfig,
    Recipes,
    draw_recipes,
)
from training.data.store import CONTEXT
from training.learn.augment import Window, tight_boxes

VIDEO = 40  # frames of a video; a window is a run of them
REACH = 2 * RADIUS  # no polygon leaves this distance from CENTRE on either axis [px]
CANVAS = (CENTRE[0] - REACH, CENTRE[1] - REACH, CENTRE[0] + REACH + 1, CENTRE[1] + REACH + 1)


@dataclass(frozen=True)
class GumConfig:
    """Which windows are drawn."""

    length: int = setting(40, "frames per window", minimum=2, maximum=VIDEO)
    lower: float = setting(
        0.5,
        "share of windows that show the lower polygon, the one with hidden parts",
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


class GumWindows:
    """Endless training windows, each of a new video, with exact flow."""

    def __init__(
        self, config: GumConfig, patch: tuple[int, int], device: torch.device | str = "cpu"
    ) -> None:
        if 2 * patch[0] < CONTEXT * SIDE + 1:
            raise SettingError(
                f"patch rows must be at least 22, got {patch[0]}: smaller patches shrink the "
                "picture, which is drawn here for enlarging only"
            )
        self.config, self.patch, self.device = config, patch, device

    def draw(self, size: int, rng: np.random.Generator) -> Window:
        """Windows [size, length, ...] of as many new videos; random by `rng` alone."""
        videos = ChewingGumConfig(seed=int(rng.integers(2**31)), frames=VIDEO)
        recipes = draw_recipes(videos, 0, size)
        first = rng.integers(VIDEO - self.config.length + 1, size=size)
        upper = rng.random(size) >= self.config.lower
        return render_windows(
            recipes, first, self.config.length, upper.astype(int), self.patch, self.device
        )


def render_windows(
    recipes: Recipes,
    first: np.ndarray,
    length: int,
    objects: np.ndarray,
    patch: tuple[int, int],
    device: torch.device | str = "cpu",
) -> Window:
    """Render one object of each video straight into its context boxes.

    The values are those that store.collect_rows stores of the same videos with their exact flow,
    up to its rounding.

    Args:
        recipes: N videos.
        first: int [N], first frame of each window.
        length: frames T of a window.
        objects: int [N], 0 for the lower polygon, 1 for the upper one.
        patch: rows and columns of the network's patch; the context has twice that.
        device: where it is rendered.
    """
    count = torch.arange(len(first), device=device)
    frames = torch.as_tensor(first, device=device)[:, None] + torch.arange(length, device=device)
    own = torch.as_tensor(objects, device=device)
    places = torch.as_tensor(recipes.offsets, device=device)
    still = torch.zeros_like(places[:, :1])
    steps = torch.diff(places, dim=1, prepend=places[:, :1])  # to a frame from the one before
    ahead = torch.cat((steps[:, 1:], still), 1)

    stencils = torch.as_tensor(recipes.stencils, device=device)
    masks = visible_masks(stencils, places[count[:, None], frames])
    boxes = context_boxes(masks[count, :, own])
    context = (2 * patch[0], 2 * patch[1])
    seen = resize(masks, boxes, context)
    ground = in_image(boxes, context) - seen.sum(2)
    colours = (
        torch.as_tensor(recipes.colours, device=device).float()[:, None, ..., None, None] / 255
    )
    layers = zip((ground, *seen.unbind(2)), colours.unbind(2), strict=True)
    rgb = sum(share[:, :, None] * colour for share, colour in layers)

    moving = resize(masks[:, :, 1:], boxes, patch)  # the lower polygon and the ground rest
    flow, flow_back = (
        moving * motion[count[:, None], frames].float()[..., None, None]
        for motion in (ahead, -steps)
    )
    return Window(rgb, seen[count, :, own], seen[count, :, 1 - own], flow, boxes, flow_back)


def visible_masks(stencils: Tensor, offsets: Tensor) -> Tensor:
    """Visible masks of both polygons on CANVAS.

    Args:
        stencils: bool [N, 2, SIDE, SIDE], lower and upper polygon.
        offsets: int64 [N, T, 2], place (x, y) of the upper one relative to the lower one [px].

    Returns:
        float [N, T, 2, S, S], S = 2 * REACH + 1.
    """
    lower = torch.nn.functional.pad(stencils[:, :1], [RADIUS] * 4)
    wide = torch.nn.functional.pad(stencils[:, 1], [REACH] * 4)
    shown = torch.arange(2 * REACH + 1, device=offsets.device) + RADIUS - offsets[..., None]
    number = torch.arange(len(offsets), device=offsets.device)[:, None, None, None]
    upper = wide[number, shown[:, :, 1, :, None], shown[:, :, 0, None, :]]
    return torch.stack((lower & ~upper, upper), 2).float()


def context_boxes(masks: Tensor) -> Tensor:
    """Boxes stored around masks [N, T, S, S] on CANVAS: whole px, as geometry.enlarge chooses."""
    canvas = masks.new_tensor(CANVAS).expand(*masks.shape[:2], 4)
    tight = tight_boxes(masks, canvas).round()
    centre = (tight[..., :2] + tight[..., 2:]) / 2
    half = ((tight[..., 2:] - tight[..., :2]) * CONTEXT).clamp(min=MIN_BOX_PX) / 2
    return torch.cat(((centre - half).floor(), (centre + half).ceil()), -1)


def sample_points(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Image coordinates x [N, T, w] and y [N, T, h] that cv2.resize reads for patches of boxes.

    Pixel i is at i; what lies outside a box's outer pixel centres repeats them.
    """
    points = []
    for low, high, count in (
        (boxes[..., :1], boxes[..., 2:3], size[1]),
        (boxes[..., 1:2], boxes[..., 3:], size[0]),
    ):
        share = (torch.arange(count, device=boxes.device) + 0.5) / count
        at = low + (high - low) * share - 0.5
        points.append(torch.minimum(torch.maximum(at, low), high - 1))
    return points[0], points[1]


def resize(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks [N, T, K, S, S] on CANVAS, bilinear in patches of boxes [N, T, 4]: [N, T, K, h, w]."""
    pixels = torch.arange(masks.shape[-1], device=masks.device)
    across, down = (
        (1 - (points[..., None] - pixels - first).abs()).clamp(min=0)[:, :, None]
        for points, first in zip(sample_points(boxes, size), CANVAS[:2], strict=True)
    )
    return down @ masks @ across.mT


def in_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Share of the image at the pixels of patches of boxes [N, T, 4]: [N, T, h, w] in [0, 1]."""
    x, y = (
        torch.minimum(points + 1, pixels - points).clamp(0, 1)
        for points, pixels in zip(sample_points(boxes, size), (WIDTH, HEIGHT), strict=True)
    )
    return y[..., None] * x[:, :, None]
