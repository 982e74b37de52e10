"""Turns the frames of a KITTI clip into frames that can be stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from savos_model.masks import BoxedMask
from savos_model.types import Instance
from training.data.kitti_mots import KittiClip
from training.data.store import ClipFrame

Truth = Callable[[int, list[Instance], tuple[int, int]], dict[str, BoxedMask] | None]


def clip_frames(
    clip: KittiClip,
    start: int = 0,
    stop: int | None = None,
    classes: Collection[str] | None = None,
    truth: Truth | None = None,
) -> Iterator[ClipFrame]:
    """Frames of a clip; a track's id gets the number of the frame where its run begins before it.

    Args:
        clip: with masks.
        start: place of the first frame among those of the clip.
        stop: place after the last one; None: to the end.
        classes: classes tracked, None for all; other objects and ignored regions only hide.
        truth: gives the whole masks by track id of (frame number, tracked masks, image shape), or
            None in a frame without truth.

    Raises:
        KittiError: an image or a mask is damaged.
    """
    numbers = clip.frames[start:stop]
    run = numbers[0] if numbers else 0
    for place, number in enumerate(numbers):
        if place and number != numbers[place - 1] + 1:
            run = number  # a frame is missing: tracks must not be linked over the gap
        image = clip.image(number)
        shape = image.shape[:2]
        tracked, untracked = [], clip.ignored(number, shape)
        for item in clip.instances(number, shape):
            (tracked if classes is None or item.class_id in classes else untracked).append(item)
        known = truth(number, tracked, shape) if truth is not None else None
        yield ClipFrame(
            image,
            [Instance(f"{run}/{t.id}", t.box, t.mask, t.class_id, t.score) for t in tracked],
            None if known is None else {f"{run}/{name}": mask for name, mask in known.items()},
            untracked,
        )
