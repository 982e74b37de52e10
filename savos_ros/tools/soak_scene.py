"""A short street that is looped for hours under ever new ids, with the truth to score answers."""

from dataclasses import dataclass

import numpy as np

from savos_model.instances import from_label_image
from savos_model.masks import look_at
from savos_model.types import Box, Frame
from savos_ros.bags.convert import with_largest
from savos_ros.messages.settings import build
from savos_ros.node.engine import load_engine
from training.street.generate import CLASS_DIVISOR, StreetConfig, generate, label_image

PERIOD_NS = 100_000_000
TRACKS = CLASS_DIVISOR - 1  # numbers of a class, 1..999
HIDDEN = 0.1  # objects of which at least this share is hidden are scored against their whole truth
# What is summed over frames: hits and pixels of given masks, of withheld masks; IoU and objects.
SCORES = 6

Mask = tuple[Box, np.ndarray]  # integer box inside the image, uint8 crop


@dataclass(frozen=True)
class SoakFrame:
    """One frame of the loop: image uint8 [H, W, 3] BGR, labels uint16 [H, W] for the node."""

    image: np.ndarray
    labels: np.ndarray
    # By label, the visible part of objects that the tracker has lost for now
    withheld: dict[int, Mask]
    # By label, the whole of objects that the node is given and that are partly hidden
    whole: dict[int, Mask]


def soak_frames(config: StreetConfig, tracks: int) -> list[SoakFrame]:
    """Render the loop; the tracker reports at most `tracks` objects of a frame, the largest."""
    frames, before = [], set()
    for frame in generate(config):
        kept = with_largest(frame, tracks)
        lost = [i for i in frame.objects if i.tracked is None and i.id in before and i.visible]
        hidden = [item for item in kept.objects if item.occlusion >= HIDDEN]
        withheld = {item.id: item.visible for item in lost if item.visible}
        whole = {item.id: item.full for item in hidden}
        frames.append(SoakFrame(frame.image, label_image(kept), withheld, whole))
        before = {item.id for item in (*kept.objects, *lost)}
    return frames


def renumbering(frames: list[SoakFrame], loop: int) -> dict[int, int]:
    """Return new labels for a round of the loop, none of them of the round before.

    Raises ValueError: the clip has so many objects that two rounds would share one.
    """
    old = sorted({int(label) for frame in frames for label in np.unique(frame.labels) if label})
    step = max((label % CLASS_DIVISOR for label in old), default=0)
    if 2 * step > TRACKS:
        raise ValueError(
            f"a loop may have {TRACKS // 2} objects of a class, got {step}: less density"
        )
    return {
        label: label // CLASS_DIVISOR * CLASS_DIVISOR
        + 1 + (label % CLASS_DIVISOR - 1 + loop * step) % TRACKS
        for label in old
    }  # fmt: skip


def label_table(new: dict[int, int]) -> np.ndarray:
    """Return the new label of each label of the loop, uint16 [largest label + 1]."""
    table = np.zeros(1 + max(new, default=0), np.uint16)
    table[list(new)] = list(new.values())
    return table


def score(frame: SoakFrame, answer: dict[int, Mask]) -> np.ndarray:
    """Score the masks that were answered, by the labels of the loop's first round; [SCORES]."""
    shape = frame.labels.shape
    masks = {label: filled(shape, mask) for label, mask in answer.items()}
    empty = np.zeros(shape, bool)
    sums = np.zeros(SCORES)
    given = {int(label): frame.labels == label for label in np.unique(frame.labels) if label}
    withheld = {label: filled(shape, mask) for label, mask in frame.withheld.items()}
    for at, wanted in ((0, given), (2, withheld)):
        for label, truth in wanted.items():
            sums[at] += np.count_nonzero(truth & masks.get(label, empty))
            sums[at + 1] += np.count_nonzero(truth)
    for label, mask in frame.whole.items():
        truth, mine = filled(shape, mask), masks.get(label, empty)
        sums[4] += np.count_nonzero(truth & mine) / np.count_nonzero(truth | mine)
        sums[5] += 1
    return sums


def filled(shape: tuple[int, int], mask: Mask) -> np.ndarray:
    """Return a boxed mask as bool [H, W]."""
    return look_at(mask, Box(0, 0, shape[1], shape[0]))


def shares(sums: np.ndarray) -> dict[str, float | None]:
    """Return recall of given and withheld visible pixels and mean IoU of partly hidden objects."""
    names = ("visible_recall", "withheld_recall", "iou")
    pairs = zip(names, sums[::2], sums[1::2], strict=True)
    return {name: float(part / whole) if whole else None for name, part, whole in pairs}


def base_scores(frames: list[SoakFrame], parameters: dict[str, str]) -> list[np.ndarray]:
    """Score of each frame when the base weights answer it without a node; [SCORES] each.

    They are those of a second round: only the first one has no frame before it, and so no optical
    flow at its start. Raises SettingError, WeightsError, BackendError: the text says what to do.
    """
    stream = load_engine(build(parameters)).stream
    for loop in range(2):
        scores, new = [], renumbering(frames, loop)
        for index, frame in enumerate(frames, loop * len(frames)):
            seen = from_label_image(label_table(new)[frame.labels])
            objects = stream.step(Frame(index * PERIOD_NS, frame.image, seen))
            masks = {int(item.id): (item.box, item.mask) for item in objects}
            known = {old: masks[label] for old, label in new.items() if label in masks}
            scores.append(score(frame, known))
    return scores
