"""Compares the node of a long run with one that has just begun, in turn on the same frames."""

from __future__ import annotations

import numpy as np

from savos_ros.tools.soak_run import Run

LIMIT = 0.02


def against_fresh(old: Run, fresh: Run, rounds: int) -> dict:
    """Feed each frame of the loop to one and then to the other; other work meets both alike.

    Args:
        old: after the long run.
        fresh: connected to a node that has just begun.
        rounds: of the loop.

    Returns:
        old_ms, fresh_ms: medians of the latency; growth: median of old over fresh by the same
        frame, less 1; low, high: its 95 % interval by the bootstrap over rounds of the loop; limit;
        flat.
    """
    runs = (old, fresh)
    for run in runs:
        run.finish_loop()
    latency = np.array([_round(runs, index % 2) for index in range(rounds)])
    ratios = latency[..., 0] / latency[..., 1]
    drawn = np.random.default_rng(0).integers(rounds, size=(1000, rounds))
    medians = [np.nanmedian(ratios[some]) for some in drawn]
    low, high = np.percentile(medians, (2.5, 97.5)) - 1
    growth = float(np.nanmedian(ratios)) - 1
    old_ms, fresh_ms = (1e3 * np.nanmedian(latency, axis=(0, 1))).tolist()
    return {
        "old_ms": old_ms, "fresh_ms": fresh_ms, "growth": growth, "low": float(low),
        "high": float(high), "limit": LIMIT, "flat": growth <= LIMIT,
    }  # fmt: skip


def _round(runs: tuple[Run, Run], first: int) -> np.ndarray:
    """One round of the loop, the node `first` before the other; latencies [frames, 2] [s]."""
    latency = np.zeros((runs[0].loop_frames, 2))
    for row in latency:
        for turn in (first, 1 - first):
            row[turn] = runs[turn].answer()
    return latency
