"""Completes the objects of single frames with a trained U-Net."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch

from savos_model.config import ComposeConfig
from savos_model.geometry import crop, enlarge, mask_box
from savos_model.instances import occupancy
from savos_model.stream.compose import compose
from savos_model.stream.inputs import mask_channel
from savos_model.types import AmodalObject, Instance
from training.baselines.unet import UNet, network_input

# As published, behind other objects alone; our defaults are fitted to our network.
PLAIN_CUT = ComposeConfig(threshold=0.5, complete_into="others")


@torch.inference_mode()
def complete_frame(
    net: UNet, image: np.ndarray, instances: Sequence[Instance], ids: Collection[str] | None = None
) -> list[AmodalObject]:
    """Return the visible masks with the pixels predicted behind others, by the stream's own rules.

    Args:
        net: in evaluation mode.
        image: uint8 [H, W, 3], BGR.
        instances: all visible masks of the frame; every other one may be the eraser.
        ids: objects to complete; all when None.
    """
    model, count = net.config.model, occupancy(list(instances), *image.shape[:2])
    chosen, colours, masks = [], [], []
    for item in instances:
        tight = mask_box(item.mask, (int(item.box.x0), int(item.box.y0)))
        if tight is None or (ids is not None and item.id not in ids):
            continue
        box = enlarge(tight, net.config.enlarge)
        chosen.append((item, box))
        colours.append(crop(image, box, model.patch)[..., ::-1].transpose(2, 0, 1))
        masks.append(mask_channel(count, item, box, model))
    if not chosen:
        return []
    rgb = torch.from_numpy(np.stack(colours)).float() / 255
    inputs = network_input(rgb, torch.from_numpy(np.stack(masks)), net.config.task)
    chances = net(inputs).sigmoid().numpy()
    return [
        compose(item, chance, box, count, (0.0, 0.0), PLAIN_CUT)
        for (item, box), chance in zip(chosen, chances, strict=True)
    ]
