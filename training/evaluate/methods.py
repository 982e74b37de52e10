"""Methods that an evaluation reads from files: trained U-Nets and results of other programs."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from savos_model.settings import SettingError
from savos_model.types import AmodalObject, Frame
from training.baselines.external import ExternalClip
from training.evaluate.metrics import Masks

if TYPE_CHECKING:
    from training.baselines.unet import UNet

TTA = "deocclusion+tta"  # partial completion, adapted to each video before it is scored
KINDS = ("deocclusion", TTA, "oracle", "external")
HELP = "deocclusion:FILE, deocclusion+tta:FILE, oracle:FILE (weights), external:FOLDER"
TTA_ITERATIONS, TTA_RATE = 50, 1e-4


def from_files(method: str) -> bool:
    """Return whether a method is one of HELP."""
    return method.partition(":")[0] in KINDS and ":" in method


def label(method: str) -> str:
    """Return the name in result files: that of the kind, with the folder of external ones."""
    kind, _, path = method.partition(":")
    return f"external:{Path(path).name}" if kind == "external" else kind


def describe_methods(methods: Sequence[str]) -> dict[str, dict]:
    """Describe the methods of HELP among `methods` by label, for result files.

    Raises ValueError: a file or folder is not there or not fit, or two methods have one label.
    """
    names = [label(method) for method in methods]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SettingError(f"methods must differ, got {twice[0]} twice: score it in two runs")
    return {label(method): _describe(method) for method in methods if from_files(method)}


def _describe(method: str) -> dict:
    kind, _, path = method.partition(":")
    if kind == "external":
        if not Path(path).is_dir():
            raise SettingError(f"methods must name a folder of results, got {method}")
        return {"folder": Path(path).name}
    net, info = _opened(Path(path))
    if net.config.task != kind.partition("+")[0]:
        raise SettingError(f"methods must fit their files, got {method}, of {net.config.task}")
    adapted = {"iterations": TTA_ITERATIONS, "learning_rate": TTA_RATE} if kind == TTA else None
    return {"file": Path(path).name, "settings": asdict(net.config), "training": info} | (
        {"adaptation": adapted} if adapted else {}
    )


def with_missing(
    described: dict[str, dict], methods: Sequence[str], counts: Iterable[Mapping[str, int]]
) -> dict[str, dict]:
    """Add to external methods' descriptions the objects that kept their visible mask."""
    total: Counter[str] = sum(map(Counter, counts), Counter())
    external = {label(m): total[m] for m in methods if m.startswith("external:")}
    return described | {
        name: described[name] | {"missing": count} for name, count in external.items()
    }


@functools.lru_cache(maxsize=4)
def _opened(path: Path) -> tuple[UNet, dict[str, str]]:
    # Imported here, so that rules and results of others are scored without PyTorch.
    import torch

    from training.baselines.unet import load_unet

    torch.set_num_threads(1)  # the processes share the cores already
    return load_unet(path)


def masks_from_files(
    method: str,
    video: str,
    frames: Callable[[], Iterable[tuple[int, Frame]]],
    missing: Counter[str],
    wanted: Iterable[Collection[str] | None] = repeat(None),
) -> Iterator[Masks | list[AmodalObject]]:
    """Yield the masks by one method of HELP, frame by frame of a video.

    `frames` is called for number and frame of each. `missing` counts under `method` the objects
    without a result, which keep their visible mask. `wanted` are the ids to complete in each frame;
    None for all.
    """
    kind, _, path = method.partition(":")
    if kind == "external":
        results = ExternalClip(Path(path), video)
        for (number, frame), ids in zip(frames(), wanted, strict=False):
            masks = {}
            for item in frame.instances:
                if ids is None or item.id in ids:
                    found = results.mask(number, item.id, frame.image.shape[:2])
                    missing[method] += found is None
                    masks[item.id] = found or (item.box, item.mask)
            yield masks
        return
    from training.baselines.unet import adapt_unet, clip_rows, complete_frame

    net, _ = _opened(Path(path))
    if kind == TTA:
        seen = ((frame.image, frame.instances) for _, frame in frames())
        net = adapt_unet(net, clip_rows(seen, net.config.model.patch), TTA_ITERATIONS, TTA_RATE)
    for (_, frame), ids in zip(frames(), wanted, strict=False):
        yield complete_frame(net, frame.image, frame.instances, ids)
