"""A contact sheet of what the network sees and says of a few windows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from savos_model.network.layers import RGB, VISIBLE
from savos_model.network.losses import Targets, carry_forward, predict
from savos_model.network.presets import Net

ROWS = 8
GAP = 2  # white line between tiles [px]


@torch.no_grad()
def contact_sheet(net: Net, targets: Targets) -> np.ndarray:
    """Draw the last frame of the first windows, one a row.

    Columns: image, masks (white the visible part given, cyan visible truth that was covered, blue
    other objects), prediction M~, prediction M^ warped from the frame before.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    some = Targets(*(None if part is None else part[:ROWS] for part in targets))
    prediction = predict(net, some)
    warped = carry_forward(prediction, some, net.config)[:, -1]
    image, given = some.patches[:, -1, RGB], some.patches[:, -1, VISIBLE]
    seen = given.clamp(0, 1)
    truth = torch.maximum(some.visible[:, -1, None], seen)
    masks = torch.cat((seen, truth, torch.maximum(seen, -given)), 1)
    completed = prediction.mask_logits[:, -1].sigmoid()
    return sheet([image, masks, grey(completed), grey(warped)])


def grey(mask: Tensor) -> Tensor:
    """Return a mask [N, h, w] as colours [N, 3, h, w]."""
    return mask[:, None].expand(-1, 3, -1, -1)


def sheet(columns: list[Tensor]) -> np.ndarray:
    """Tiles [N, 3, h, w] in [0, 1], one column each, as one picture uint8 [H, W, 3]."""
    tiles = torch.stack([column.float() for column in columns], 1).clamp(0, 1)
    tiles = torch.nn.functional.pad(tiles, (0, GAP, 0, GAP), value=1.0)
    rows, cols, _, high, wide = tiles.shape
    picture = tiles.permute(0, 3, 1, 4, 2).reshape(rows * high, cols * wide, 3)[:-GAP, :-GAP]
    return (picture * 255).round().byte().cpu().numpy()
