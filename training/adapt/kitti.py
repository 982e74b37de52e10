"""Scores weights on KITTI sequences before and after adaptation to each of them alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from savos_model.weights import load_weights
from training.adapt.adapt import AdaptConfig, AdaptResult, adapt, visible_clip
from training.adapt.scored import KITTI_BOUND, bound, course, saved, ticking, with_weights
from training.data.kitti_frames import clip_frames
from training.data.kitti_mots import open_tracking
from training.evaluate.jobs import Tick, run_jobs
from training.evaluate.kitti import (
    COUNTS,
    BoxScore,
    SequenceJob,
    count_frames,
    evaluate_sequence,
    gain,
    summarise_levels,
)
from training.evaluate.tables import kitti_table
from training.online import Setup
from training.results import keep_results

SCORED = ("visible", "ours")
METHODS = (*SCORED, "adapted")


@dataclass(frozen=True)
class AdaptSequenceJob:
    """One sequence to score, adapt to and score again; OUT keeps the adapted weights.

    What is scored from a later frame on is adapted to the frames before it.
    """

    sequence: SequenceJob
    config: AdaptConfig
    out: Path | None = None


@dataclass(frozen=True)
class AdaptedSequence:
    """Scores of a sequence by METHODS, counts and model of the base run, the adaptation."""

    scores: list[BoxScore]
    counts: dict[str, int]
    model: dict
    result: AdaptResult


def adapt_sequence(job: AdaptSequenceJob, tick: Tick) -> AdaptedSequence:
    """Score, adapt, score; ticks after each scored frame and each iteration."""
    torch.set_num_threads(1)
    sequence = job.sequence
    before, counts, model = evaluate_sequence(sequence, tick)
    weights = load_weights(sequence.ours.backend.weights)
    masks = "txt" if sequence.masks == "truth" else "tracker"
    tracking = open_tracking(sequence.data, sequence.sequence, masks)
    frames = clip_frames(tracking, stop=sequence.first or None)
    clip = visible_clip(sequence.sequence, frames, weights.model)
    result = adapt(weights, clip, job.config, watch=ticking(tick))
    tick(job.config.max_iterations - result.iterations)
    with saved(bound(result.weights, KITTI_BOUND), job.out, sequence.sequence) as path:
        ours = with_weights(sequence.ours, path)
        after, _, _ = evaluate_sequence(
            dataclasses.replace(sequence, methods=("ours",), ours=ours), tick
        )
    scores = [joined(one, two) for one, two in zip(before, after, strict=True)]
    return AdaptedSequence(scores, counts, model, result)


def joined(before: BoxScore, after: BoxScore) -> BoxScore:
    """Scores of one object-frame, those of `after` as method "adapted"."""
    return dataclasses.replace(
        before,
        **{
            name: {**getattr(before, name), "adapted": getattr(after, name)["ours"]}
            for name in ("iou", "coverage", "growth", "in_holes")
        },
    )


def adapt_kitti(
    data: Path,
    sequences: Sequence[str],
    masks: str,
    ours: Setup,
    config: AdaptConfig,
    out: Path | None,
    weights_out: Path | None,
    *,
    half: bool = False,
    processes: int = 1,
    seed: int = 0,
    console: Console | None = None,
) -> dict:
    """Adapt to every sequence by itself, print the table and write the results file.

    The adapted weights fall under KITTI's licence, CC BY-NC-SA 3.0.

    Args:
        data: folder in the KITTI MOTS layout.
        sequences: four-digit names.
        masks: "truth" (MOTS annotation) or "tracker" (predicted masks).
        ours: how our method runs; names the weights to start from.
        config: the adaptation.
        out: results file; None writes none.
        weights_out: folder of the adapted weights, one file per sequence; None keeps none.
        half: adapt to the first half of each sequence, score the second.
        processes: worker processes.
        seed: of the bootstrap.
        console: where table and progress go; standard output when None.

    Returns:
        The metrics: as evaluate_kitti's with the methods of METHODS, and adapt, sequences and gain:
        by occlusion level "1", "2" and "1+2" adapted minus ours with its 95 % interval over tracks.

    Raises:
        ValueError: bad arguments, or files that are missing or broken.
    """
    console = console or Console()
    if masks not in ("truth", "tracker") or not sequences:
        raise ValueError(f"masks must be truth or tracker and sequences named, got {masks!r}")
    scored, frames = scoring_jobs(data, sequences, masks, ours, half)
    jobs = [AdaptSequenceJob(job, config, weights_out) for job in scored]
    steps = 2 * frames + len(jobs) * config.max_iterations
    done = run_jobs(adapt_sequence, jobs, processes, steps, "adapting", console)
    metrics = {
        "data": {"set": "kitti_mots", "sequences": list(sequences), "masks": masks},
        "mode": ours.mode,
        "adapt": dataclasses.asdict(config),
        "half": half,
        **summary(done, seed),
        "sequences": {n: course(item.result) for n, item in zip(sequences, done, strict=True)},
    }
    kitti_table(metrics, console)
    print_gains(metrics["gain"], console)
    keep_results(out, metrics, seed, console)
    return metrics


def scoring_jobs(
    data: Path, sequences: Sequence[str], masks: str, ours: Setup, half: bool
) -> tuple[list[SequenceJob], int]:
    """A job for each sequence, that of its second half alone with `half`; frames of all."""
    counts = count_frames(data, sequences)
    firsts = [count // 2 if half else 0 for count in counts]
    jobs = [
        SequenceJob(data, name, masks, SCORED, ours, first)
        for name, first in zip(sequences, firsts, strict=True)
    ]
    return jobs, sum(counts)


def print_gains(gains: dict[str, dict], console: Console) -> None:
    """Print adapted minus ours by occlusion level."""
    for name, row in gains.items():
        bounds = row["ci95"] and f", 95 % {row['ci95'][0]:+.4f} to {row['ci95'][1]:+.4f}"
        console.print(f"level {name}, adapted - ours: {row['mean']:+.4f}{bounds or ''}")


def summary(done: Sequence[AdaptedSequence], seed: int) -> dict:
    """What adapt_kitti returns of all sequences together: answered, model, levels, gain."""
    scores = [score for item in done for score in item.scores]
    levels = {"1": (1,), "2": (2,), "1+2": (1, 2)}
    chosen = {name: [s for s in scores if s.level in kept] for name, kept in levels.items()}
    return {
        "answered": {name: sum(item.counts[name] for item in done) for name in COUNTS},
        "model": done[0].model,
        "levels": summarise_levels(scores, METHODS, seed),
        "gain": {k: gain(kept, "adapted", "ours", seed) for k, kept in chosen.items() if kept},
    }
