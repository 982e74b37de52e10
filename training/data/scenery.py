"""Find the parts of labelled objects behind unlabelled ones (houses, plants, a robot's arm)."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np

from savos_model.instances import occupancy
from savos_model.masks import from_image, slices
from savos_model.types import Box, Instance

Masks = dict[str, tuple[Box, np.ndarray]]


def scenery_over(full: Masks, shown: Iterable[Instance], shape: tuple[int, int]) -> Masks:
    """Return the part of each whole mask that no visible mask covers.

    Scenery has no mask, so the loss would take what it hides of an object for background. Where a
    whole mask is covered neither by its own visible mask nor by another one, something unlabelled
    must be in front. This part gets the loss weight 0: the whole mask is no target there, it
    only removes a wrong negative.

    Args:
        full: whole masks by id, uint8 0/1 crops of integer boxes inside the image.
        shown: visible masks of everything that has one.
        shape: rows and columns of the image.

    Returns:
        uint8 0/1 crops in the boxes of `full`, of those ids where something is covered.
    """
    free = occupancy(list(shown), *shape) == 0
    covered = {name: (box, mask * free[slices(box)]) for name, (box, mask) in full.items()}
    return {name: (box, mask) for name, (box, mask) in covered.items() if mask.any()}


def remainder(
    masks: Iterable[np.ndarray], instances: Iterable[Instance], name: str
) -> list[Instance]:
    """Return the union of whole-image masks without those of instances, as one instance or none.

    Args:
        masks: uint8 0/1 [H, W], all of one size.
        instances: what is left out.
        name: id of the result.
    """
    left = functools.reduce(np.bitwise_or, masks, np.zeros((), np.uint8))
    if not left.any():
        return []
    for item in instances:
        left[slices(item.box)] &= 1 - item.mask
    boxed = from_image(left)
    return [Instance(name, *boxed)] if boxed.mask.size else []
