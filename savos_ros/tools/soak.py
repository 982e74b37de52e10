"""Runs hours of frames through the real node in accelerated time and checks what grows."""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from savos_model.config import RefineConfig
from savos_model.results import keep_results
from savos_ros.tools.harness import NodeProcess, environment, node_parameters
from savos_ros.tools.settings import SoakOptions
from savos_ros.tools.soak_run import MASKS, MIN_SAMPLES, REFINED, Feeder, Run, frames_of
from savos_ros.tools.soak_scene import base_scores, renumbering, soak_frames

LIMIT = 0.02


def against_fresh(old: Run, fresh: Run, rounds: int) -> dict:
    """Feed each frame of the loop to one and then to the other; other work meets both alike.

    Returns old_ms, fresh_ms: medians of the latency; growth: median of old over fresh by the same
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
    """Run one round of the loop, the node `first` first; returns latencies [frames, 2] [s]."""
    latency = np.zeros((runs[0].loop_frames, 2))
    for row in latency:
        for turn in (first, 1 - first):
            row[turn] = runs[turn].answer()
    return latency


def soak(options: SoakOptions, out: Path | None, say: Callable[[str], None]) -> dict:
    """Loop a street through a fresh node at full speed, with stamps that continue at 10 Hz.

    `out` is a results file, written after each sample; `say` gets lines of progress. Returns
    options; ended ("complete", or why not); sent, answered, lost, unmatched (frames); samples
    (memory, threads, handles, latency, scores); node (its last diagnostics); verdict, in it
    against_fresh. With Ctrl-C, or when the node fails, of what was run until then.

    Raises DemoError: the node did not start; ValueError: the scene cannot be looped, or weights or
    engine cannot be used.
    """
    frames = soak_frames(options.scene, options.tracks)
    renumbering(frames, 0)  # refuses what cannot be looped before the node starts
    base = base_scores(frames, {"model.weights": options.weights} if options.weights else {})
    given = dataclasses.asdict(options)
    given |= {"width": options.scene.width, "height": options.scene.height}

    def keep(report: dict) -> None:
        keep_results(out, {"options": given, **report}, options.seed)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = [_started(options, folder, 0, stack)]
        run = Run(frames, base, nodes[0], options.warm_up)
        report = run.go(frames_of(options.hours), options.samples, keep, say)
        if report["ended"] == "complete":
            if options.fresh and not options.adapt:
                say(f"{options.fresh} rounds in turn with a fresh node")
                nodes.append(_started(options, folder, 1, stack))
                fresh = Run(frames, base, nodes[1], options.warm_up)
                verdict = report["verdict"]
                verdict["against_fresh"] = against_fresh(run, fresh, options.fresh)
                if not verdict["against_fresh"]["flat"]:
                    verdict["flat"] = False
                keep(report)
            for feeder in nodes:
                feeder.node.stop()
    return {"options": given, **report}


def _started(options: SoakOptions, folder: Path, place: int, stack: ExitStack) -> Feeder:
    """Start a node, and what feeds it, in a separate domain; DemoError when that fails."""
    os.environ.update(environment(place))
    log = folder / f"node{place}.log"
    output = stack.enter_context(log.open("w"))
    node = stack.enter_context(NodeProcess(node_parameters(options, folder), output, log))
    limits = {MASKS: options.ahead}
    if options.refine:  # refined ones come when a window is full, a stride at a time
        limits[REFINED] = options.ahead + RefineConfig.window + 2 * RefineConfig.stride
    return stack.enter_context(Feeder(limits, node))


def summary(report: dict) -> str:
    """Return a few lines about how it ended."""
    judged = report["verdict"]
    answered, lost = report["answered"][MASKS], report["lost"][MASKS]
    lines = [
        f"{report['ended']}: {report['hours']:.2f} h in {report['seconds']:.0f} s; "
        f"{report['sent']} frames sent, {answered} answered, {lost} lost, "
        f"{report['unmatched']} unmatched"
    ]
    for name, row in judged["compared"].items():
        note = {None: "not judged", True: "flat", False: "NOT FLAT"}[row["flat"]]
        lines.append(
            f"{name}: {row['early']:.2f} -> {row['late']:.2f} ({row['growth']:+.2%}) {note}"
        )
    if fresh := judged.get("against_fresh"):
        note = "flat" if fresh["flat"] else "NOT FLAT"
        lines.append(
            f"latency, in turn with a fresh node: {fresh['fresh_ms']:.2f} -> {fresh['old_ms']:.2f} "
            f"ms ({fresh['growth']:+.2%}, {fresh['low']:+.2%} to {fresh['high']:+.2%}) {note}"
        )
    if not judged["compared"]:
        lines.append(f"fewer than {MIN_SAMPLES} samples: nothing compared")
    return "\n".join(lines)
