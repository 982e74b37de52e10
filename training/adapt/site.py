"""Adapt to the first part of a burst of frames, and decide by its last part."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from savos_model.adaptation_link import Start, file_of, name_of
from savos_model.config import ModelConfig
from savos_model.network.losses import savos_losses, total_loss
from savos_model.network.weights import Weights, save_weights
from savos_model.types import Frame
from training.adapt.adapt import (
    adapt,
    check_batches,
    network,
    seeded,
    trained_with,
    visible_clip,
    visible_iou,
)
from training.adapt.settings import AdaptConfig
from training.data.store import Clip, ClipFrame
from training.learn.augment import make_input
from training.learn.windows import StoredWindows, list_places

HELD = 3  # one in so many frames of a burst, the last ones, is held out
BURSTS = 4  # the last ones, whose training frames are used again
MOST_TRACKS = 16  # of a frame, the largest ones: rows of so many stay in memory
DRAWS = 4  # batches that measure the loss
SLACK = 0.02  # visible IoU that may be lost where the loss falls
KEPT = 5  # files of accepted weights, the newest

Say = Callable[..., None]


class Score(NamedTuple):
    """How weights do on frames they did not learn from.

    loss: that of the training, with occluders pasted over what is seen. visible_iou: 0..1.
    """

    loss: float
    visible_iou: float

    def worse_than(self, other: Score) -> bool:
        """Return whether loss is higher or visible IoU lower by more than SLACK; nan is worse."""
        fine = self.loss <= other.loss and self.visible_iou >= other.visible_iou - SLACK
        return not fine


class Site:
    """The memory of the process: the weights in use, and the last bursts.

    `say` reports some of adaptation_link.FACTS to the node.
    """

    def __init__(self, start: Start, say: Say) -> None:
        self.start, self.say = start, say
        self.current, self.version = start.current, start.version
        self.held = start.config.min_frames // HELD
        self.config = AdaptConfig(
            learning_rate=start.config.learning_rate,
            max_iterations=start.config.max_iterations,
            device=start.config.device,
            length=min(AdaptConfig().length, self.held),
        )
        self.bursts: deque[Clip] = deque(maxlen=BURSTS)

    def learn(self, frames: Sequence[Frame]) -> None:
        """Adapt to consecutive frames, decide on the last of them, and report it.

        Adapted weights are accepted when they do no worse on the frames held out than the weights
        in use and the base. Weights in use that do worse there than the base give way to it.
        """
        base, config = self.start.base, self.config
        taught = clip_of(frames[: -self.held], base.model)
        held = clip_of(frames[-self.held :], base.model)
        if not all(list_places([c], config.length, config.min_px) for c in (taught, held)):
            reason = f"no track is seen for {config.length} frames"
            self.say(decision="skipped", reason=reason)
            return
        self.say(state="checking")
        scores = {"the base": score(base, held, config)}
        if self.current is not base:
            scores["those in use"] = score(self.current, held, config)
            if reason := first_better(scores["those in use"], {"the base": scores["the base"]}):
                self.say(decision="rolled_back", reason=reason)
                self.current = base
                del scores["those in use"]
        self.bursts.append(taught)
        self.say(state="adapting", iterations=0)
        config = dataclasses.replace(config, seed=self.version)
        clip = joined(self.bursts)
        done = adapt(self.current, clip, config, watch=lambda i, _: self.say(iterations=i)).weights
        self.say(state="checking")
        self.decide(done, score(done, held, config), scores)

    def decide(self, adapted: Weights, after: Score, scores: dict[str, Score]) -> None:
        """Accept or reject adapted weights by their score and those of what they would replace."""
        before = scores.get("those in use", scores["the base"])
        facts = {
            "loss_before": before.loss,
            "loss_after": after.loss,
            "visible_iou_before": before.visible_iou,
            "visible_iou_after": after.visible_iou,
        }
        if reason := first_better(after, scores):
            self.say(decision="rejected", reason=reason, **facts)
            return
        self.version += 1
        name = name_of(self.start.base, self.version)
        self.current = dataclasses.replace(adapted, name=name)
        keep(self.start.folder, self.current)
        reason = f"loss {before.loss:.4f} -> {after.loss:.4f} on frames held out"
        self.say(decision="accepted", version=self.version, reason=reason, **facts)


@torch.no_grad()
def score(weights: Weights, held: Clip, config: AdaptConfig) -> Score:
    """Score weights on held-out frames; the same windows and occluders for all weights."""
    loss, augment = trained_with(weights)
    net = network(weights, config.device)
    places = list_places([held], config.length, config.min_px)
    source = StoredWindows([held], places, config.length)
    totals = []
    for draw in range(DRAWS):
        window = source.draw(config.batch, np.random.default_rng(draw))
        targets = make_input(window, weights.model, augment, seeded(draw))
        targets = targets.to(config.device)
        losses = savos_losses(net, targets, loss, bf16=config.bf16)
        totals.append(total_loss(losses, loss).item())
    batches = check_batches(held, weights.model, config, augment.enlarge)
    return Score(float(np.mean(totals)), visible_iou(net, batches, config.bf16))


def first_better(score: Score, others: dict[str, Score]) -> str:
    """Return which of others the score is worse than, in words; empty when none."""
    for name, other in others.items():
        if score.worse_than(other):
            return (
                f"worse than {name} on frames held out: loss {score.loss:.4f} against "
                f"{other.loss:.4f}, visible IoU {score.visible_iou:.4f} against "
                f"{other.visible_iou:.4f}"
            )
    return ""


def clip_of(frames: Sequence[Frame], model: ModelConfig) -> Clip:
    """Return rows of the largest tracks of consecutive frames."""

    def made(frame: Frame) -> ClipFrame:
        image = frame.image
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        elif frame.order == "rgb":
            image = image[..., ::-1]
        items = sorted(frame.instances, key=lambda item: -int(item.mask.sum()))
        return ClipFrame(
            np.ascontiguousarray(image), items[:MOST_TRACKS], untracked=items[MOST_TRACKS:]
        )

    return visible_clip("site", map(made, frames), model)


def joined(clips: Sequence[Clip]) -> Clip:
    """Return rows of several clips as one; a clip's last row is linked to nothing."""
    # Arrays of a clip without rows have no shape that others could be joined to.
    filled = [clip for clip in clips if len(clip.arrays["linked"])] or clips[:1]
    arrays = {
        name: np.concatenate([clip.arrays[name] for clip in filled]) for name in filled[0].arrays
    }
    return Clip(clips[0].name, arrays)


def keep(folder: Path, weights: Weights) -> None:
    """Write accepted weights and remove all but the newest ones, and what a crash left."""
    for unfinished in folder.glob("*.part"):
        unfinished.unlink(missing_ok=True)
    save_weights(file_of(folder, weights.name), weights, "float32")  # what was checked is kept
    files = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    for old in files[:-KEPT]:
        old.unlink(missing_ok=True)
