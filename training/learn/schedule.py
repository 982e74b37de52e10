"""Schedule of a run: learning rate and stage of each step, and what may change on resume."""

from __future__ import annotations

import math
from typing import Any

from training.learn.config import RunConfig, TrainConfig
from training.learn.stages import stage_at

COURSE = ("steps", "decay")


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step: linear warm-up, level part, cosine to a hundredth at the end."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    begin = max(config.warmup, config.steps - round(config.decay * config.steps))
    done = max(0, step - begin) / max(1, config.steps - begin)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def settle(begun: dict[str, Any], now: dict[str, Any], done: int) -> dict[str, Any]:
    """Return the settings of a run's checkpoint that those of the resumed run must be equal to.

    Settings added since have their defaults. `steps` and `decay` may change as long as that changes
    none of the completed steps.

    Args:
        begun: JSON values by group and field, of the run's checkpoint.
        now: of the same form, of the resumed run.
        done: completed steps.
    """
    defaults = RunConfig().learnt_from()
    begun = {group: {**defaults.get(group, {}), **values} for group, values in begun.items()}
    old = begun.get("train", {})
    new = old | {name: now["train"][name] for name in COURSE}
    if old != new:
        before, after = (
            TrainConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
            for values in (old, new)
        )
        # The checkpoint may be damaged, and its numbers of any size; those of `now` are the user's.
        if all(course(s, before) == course(s, after) for s in range(min(done, after.steps))):
            begun["train"] = new
    return begun


def course(step: int, config: TrainConfig) -> tuple[Any, ...]:
    """Return what a step does: its rate, and the windows and directions of its stage."""
    stage = stage_at(config.plan, step, config.steps)
    return learning_rate(step, config), stage.length, stage.batch, stage.both
