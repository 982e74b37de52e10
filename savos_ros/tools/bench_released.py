"""The released design's inference, re-created for the speed benchmark: whole images per object."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from savos_model.network.layers import INPUT_CHANNELS
from savos_model.network.net import SavosNet
from savos_model.network.released.geometry import Clip, bidirectional_masks, estimate
from savos_model.network.released.keys import OFFICIAL_MODEL

TRACKS, FRAMES = 4, 4
BOX_PX = (150, 120)  # columns and rows of a crop: about those of our scene


def released_pass(
    image: tuple[int, int], threads: int, device: str, seed: int
) -> Callable[[], dict[str, float]]:
    """Prepare the design on random images, masks and flow of (rows, columns).

    All of it lies ready in memory: reading, flow estimation and cropping are not counted, though
    our frames include them. Returns a function that returns seconds per object-frame: "forward",
    one pass through time as our stream makes it, and "both directions", as released.
    """
    generator, (rows, cols) = torch.Generator().manual_seed(seed), image
    split = (TRACKS, FRAMES)
    corner = torch.rand((*split, 2), generator=generator) * torch.tensor(
        (cols - BOX_PX[0], rows - BOX_PX[1])
    )
    boxes = torch.cat((corner, corner + torch.tensor(BOX_PX)), -1).floor()
    visible = torch.zeros(*split, rows, cols)
    for place, (x0, y0, x1, y1) in zip(
        visible.flatten(0, 1), boxes.flatten(0, 1).int().tolist(), strict=True
    ):
        place[(3 * y0 + y1) // 4 : (y0 + 3 * y1) // 4, (3 * x0 + x1) // 4 : (x0 + 3 * x1) // 4] = 1
    patches = torch.rand((*split, INPUT_CHANNELS + 2, *OFFICIAL_MODEL.patch), generator=generator)
    flows = (3 * torch.randn((*split, 2, rows, cols), generator=generator) for _ in range(2))
    clip = Clip(*(part.to(device) for part in (patches, visible, boxes, *flows)))
    net = SavosNet(OFFICIAL_MODEL).eval().to(device)

    def forward() -> torch.Tensor:
        return estimate(net.sequence(clip.patches[:, :, :INPUT_CHANNELS])[0], clip).mask

    passes = {"forward": forward, "both directions": lambda: bidirectional_masks(net, clip)}

    @torch.inference_mode()
    def run() -> dict[str, float]:
        torch.set_num_threads(threads)
        took = {}
        for name, work in passes.items():
            began = time.perf_counter()
            float(work().sum())  # on a GPU, waits for the result
            took[name] = (time.perf_counter() - began) / (TRACKS * FRAMES)
        return took

    run()
    return run
