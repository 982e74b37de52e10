"""Measures what each further camera costs: one node per camera, fed the same frames at 10 Hz."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from savos_model.results import keep_results
from savos_ros.bags.recording import record
from savos_ros.bags.settings import RecordOptions
from savos_ros.tools.bench import (  # fmt: skip
    CLIP_FRAMES,
    MEASURED,
    CountingRecorder,
    cpu_s,
    figures,
    frames_with,
    playing,
)
from savos_ros.tools.harness import NODE, NodeProcess, environment
from savos_ros.tools.settings import CamerasOptions

BEGIN_S = 30.0  # a node's first frames may take this long to be diagnosed
PARAMETERS = {"diagnostics.window": "100000"}


def bench_cameras(options: CamerasOptions, out: Path | None) -> dict:
    """Run 1, 2, ... nodes, each in its namespace; all answer the same pictures at the same moment.

    That is how cameras of one trigger meet on a computer, and the hardest case for it.

    Args:
        options: what to measure.
        out: results file (savos_model/results.py); None writes none.

    Returns:
        runs: for each number of cameras, of each node: frames in and out, drops by reason, latency
        p50 and p99 [ms] within the node ("total") and from the image stamp ("stamp"), CPU seconds
        per frame, memory (RSS, and PSS in which shared pages are split) [MB]; per_added_camera: how
        much the sums over all nodes grow with each camera.

    Raises:
        DemoError: a node did not start, died, or did not end cleanly.
    """
    os.environ.update(environment())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag = folder / "street"
        record(frames_with(options.tracks, options.seed), CLIP_FRAMES, bag, RecordOptions())
        runs = [run(bag, folder, count, options.seconds) for count in range(1, options.cameras + 1)]
    report = {"image": "1242x375", "rate_in_hz": 10.0, "tracks": options.tracks}
    report |= {"seconds": options.seconds, "runs": runs, "per_added_camera": added(runs)}
    keep_results(out, report, options.seed)
    return report


def run(bag: Path, folder: Path, count: int, seconds: float) -> dict:
    """Feed `count` nodes for the asked time and collect the figures of each."""
    with ExitStack() as stack:
        nodes, recorders = [], []
        for index in range(count):
            log = folder / f"camera{index}.log"
            output = stack.enter_context(log.open("w"))
            space = f"/camera{index}"
            nodes.append(stack.enter_context(NodeProcess(PARAMETERS, output, log, space)))
            recorders.append(stack.enter_context(CountingRecorder(space + NODE)))
        for node, recorder in zip(nodes, recorders, strict=True):
            recorder.wait_for_node(node.check)
        processes = [psutil.Process(node.pid) for node in nodes]
        begun = [cpu_s(process) for process in processes]
        with playing(bag):
            pass_time(nodes, BEGIN_S, lambda: all(MEASURED in r.values for r in recorders))
            pass_time(nodes, seconds)
            memory = [process.memory_full_info() for process in processes]
        cameras = []
        for index, (node, recorder) in enumerate(zip(nodes, recorders, strict=True)):
            recorder.wait_until_quiet(sys.maxsize, node.check)
            took = cpu_s(processes[index]) - begun[index]
            cameras.append(camera(figures(recorder.values), took, memory[index]))
            node.stop()
    return {"cameras": count, "nodes": cameras}


def pass_time(
    nodes: Sequence[NodeProcess], seconds: float, enough: Callable[[], bool] = lambda: False
) -> None:
    """Sleep so long, or until it is enough, while all nodes live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not enough():
        for node in nodes:
            node.check()
        time.sleep(0.2)


def camera(found: dict, took_s: float, memory: Any) -> dict:
    """The figures of one node."""
    latency = {
        stage: {part: found["latency_ms"][stage][part] for part in ("p50", "p99")}
        for stage in ("total", "stamp")
    }
    return {
        "frames_in": found["frames_in"],
        "frames_out": found["frames_out"],
        "drops": found["drops"],
        "latency_ms": latency,
        "cpu_s_per_frame": took_s / max(found["frames_out"], 1),
        "rss_mb": memory.rss / 1e6,
        "pss_mb": memory.pss / 1e6,
        "weights": found["weights"],
        "backend": found["backend"],
    }


def added(runs: list[dict]) -> dict[str, float] | None:
    """Growth of the sums over all nodes, from one camera to the most; None with one alone."""
    if len(runs) < 2:
        return None
    names = ("cpu_s_per_frame", "rss_mb", "pss_mb")
    first, last = ({n: sum(c[n] for c in r["nodes"]) for n in names} for r in (runs[0], runs[-1]))
    return {name: (last[name] - first[name]) / (len(runs) - 1) for name in names}
