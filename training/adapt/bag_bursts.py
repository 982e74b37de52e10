"""Adapt weights to bursts of frames; take them only where held-out frames get no worse."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from savos_model.backends.choose import make_backend
from savos_model.backends.interface import Backend
from savos_model.config import BackendConfig
from savos_model.network.weights import Weights
from savos_model.types import Frame
from training.adapt.adapt import adapt
from training.adapt.scored import saved, ticking
from training.adapt.settings import AdaptConfig
from training.adapt.site import clip_of, first_better, joined, score
from training.data.store import Clip
from training.learn.windows import list_places

BURST, MOST_BURSTS = 40, 15  # consecutive frames, and how many such: rows of 600 frames fit memory
HELD = 3  # every third burst is held out


def adapt_to_bursts(
    bursts: Iterable[list[Frame]],
    weights: Weights,
    backend: BackendConfig,
    iterations: int,
    name: str,
    tick: Callable[[int], None],
) -> tuple[Weights, str]:
    """Return weights adapted to the visible masks of frames, or the given ones; with the reason.

    Of each three bursts, runs of consecutive frames that are all held in memory, the last is held
    out, and decides by the rule of the node's adaptation (training.adapt.site.Score). Accepted
    weights are named WEIGHTS+name. `tick` gets the number of iterations done since its last call.
    """
    torch.set_num_threads(backend.threads)
    clips = [clip_of(frames, weights.model) for frames in bursts]
    config = AdaptConfig(max_iterations=iterations, device=backend.device)
    taught = [clip for place, clip in enumerate(clips) if place % HELD != HELD - 1]
    held = clips[HELD - 1 :: HELD]
    if not _places(taught, config) or not _places(held, config):
        tick(config.max_iterations)
        return weights, f"skipped: no track is seen for {config.length} frames"
    result = adapt(weights, joined(taught), config, watch=ticking(tick))
    tick(config.max_iterations - result.iterations)
    before, after = (score(w, joined(held), config) for w in (weights, result.weights))
    if reason := first_better(after, {"the base": before}):
        return weights, f"rejected: {reason}"
    reason = f"loss {before.loss:.4f} -> {after.loss:.4f} on frames held out"
    named = dataclasses.replace(result.weights, name=f"{weights.name}+{name}")
    return named, f"accepted: {reason}"


def engine_of(weights: Weights, config: BackendConfig) -> Backend:
    """Return an engine with weights that have no file."""
    with saved(weights, None, "adapted") as path:
        return make_backend(dataclasses.replace(config, weights=path))


def _places(clips: list[Clip], config: AdaptConfig) -> list:
    return list_places([joined(clips)], config.length, config.min_px) if clips else []


def bursts_of(frames: Iterable[Frame], expected: int, gap_s: float) -> Iterator[list[Frame]]:
    """Yield bursts of consecutive frames of a recording, spread evenly over the `expected` number.

    One ends early where tracks would: where stamps are further apart than `gap_s`.
    """
    length = max(1, min(BURST, expected // HELD))
    count = max(1, min(MOST_BURSTS, expected // length))
    starts = np.linspace(0, expected - length, count).astype(int)
    number = {start + step: burst for burst, start in enumerate(starts) for step in range(length)}
    run: list[Frame] = []
    current = None
    for index, frame in enumerate(frames):
        burst = number.get(index)
        broken = run and (
            frame.image.shape[:2] != run[-1].image.shape[:2]
            or not 0 <= frame.stamp_ns - run[-1].stamp_ns <= gap_s * 1e9
        )
        if run and (burst != current or broken):
            yield run
            run = []
        current = burst
        if burst is not None:
            run.append(frame)
    if run:
        yield run
