"""Adapts weights to one bag, and takes them only where they do no worse on frames held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from savos_model.backends.choose import make_backend
from savos_model.backends.interface import Backend
from savos_model.config import BackendConfig
from savos_model.types import Frame
from savos_model.weights import Weights
from savos_ros.bags.label import LabelJob, Tick, bag_frames, ticking
from training.adapt import AdaptConfig, adapt
from training.adapt_video import saved
from training.adapt_video import ticking as iterations_of
from training.data.store import Clip
from training.site import clip_of, first_better, joined, score
from training.windows import list_places

BURST, MOST_BURSTS = 40, 15  # consecutive frames, and how many such: rows of 600 frames fit memory
HELD = 3  # every third burst is held out


def adapt_to(job: LabelJob, weights: Weights, expected: int, tick: Tick) -> tuple[Weights, str]:
    """Weights adapted to the visible masks of a bag, or the given ones; with the reason.

    Bursts spread evenly over the bag are learnt from; of each three the last is held out, and
    decides by the rule of the node's adaptation (training.site.Score).
    """
    torch.set_num_threads(job.options.backend.threads)
    device = job.options.backend.device
    clips = [clip_of(frames, weights.model) for frames in _bursts(job, expected, tick)]
    config = AdaptConfig(max_iterations=job.options.iterations, device=device)
    learnt = [clip for place, clip in enumerate(clips) if place % HELD != HELD - 1]
    held = clips[HELD - 1 :: HELD]
    if not _places(learnt, config) or not _places(held, config):
        tick(config.max_iterations)
        return weights, f"skipped: no track is seen for {config.length} frames"
    result = adapt(weights, joined(learnt), config, watch=iterations_of(tick))
    tick(config.max_iterations - result.iterations)
    before, after = (score(w, joined(held), config) for w in (weights, result.weights))
    if reason := first_better(after, {"the base": before}):
        return weights, f"rejected: {reason}"
    reason = f"loss {before.loss:.4f} -> {after.loss:.4f} on frames held out"
    name = f"{weights.name}+{job.folder.name}"
    return dataclasses.replace(result.weights, name=name), f"accepted: {reason}"


def engine_of(weights: Weights, config: BackendConfig) -> Backend:
    """An engine with weights that have no file."""
    with saved(weights, None, "adapted") as path:
        return make_backend(dataclasses.replace(config, weights=path))


def _places(clips: list[Clip], config: AdaptConfig) -> list:
    return list_places([joined(clips)], config.length, config.min_px) if clips else []


def _bursts(job: LabelJob, expected: int, tick: Tick) -> Iterator[list[Frame]]:
    """Runs of consecutive frames; a run ends early where the tracks cannot go on."""
    length = max(1, min(BURST, expected // HELD))
    count = max(1, min(MOST_BURSTS, expected // length))
    starts = np.linspace(0, expected - length, count).astype(int)
    number = {start + step: burst for burst, start in enumerate(starts) for step in range(length)}
    gap_ns = job.options.stream.tracks.reset_gap_s * 1e9
    run: list[Frame] = []
    current = None
    with bag_frames(job) as bag:
        for index, item in enumerate(ticking(bag, tick)):
            burst, frame = number.get(index), item.frame
            broken = run and (
                frame.image.shape[:2] != run[-1].image.shape[:2]
                or not 0 <= frame.stamp_ns - run[-1].stamp_ns <= gap_ns
            )
            if run and (burst != current or broken):
                yield run
                run = []
            current = burst
            if burst is not None:
                run.append(frame)
        if run:
            yield run
