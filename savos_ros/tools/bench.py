"""Measures running nodes over DDS: rate, drops, latency by stage, memory, cost of each camera."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from savos_model.results import keep_results
from savos_model.stream.stream import STAGES
from savos_ros.bags.convert import street_frame, with_largest
from savos_ros.bags.recording import SourceFrame, record
from savos_ros.bags.settings import RecordOptions
from savos_ros.node.adaptation import COUNTS
from savos_ros.tools.harness import (
    NODE,
    NodeProcess,
    Recorder,
    environment,
    latencies,
    node_parameters,
)
from savos_ros.tools.settings import BenchOptions, CamerasOptions, DemoError
from training.street.generate import StreetConfig, generate

BEGIN_S = 30.0  # a node's first frames may take this long to be diagnosed
WARM_UP_S = 60.0  # memory is compared with that after one minute; before it caches fill
CLIP_FRAMES = 100
CLIP = {"image": "1242x375", "rate_in_hz": 10.0}
WINDOW = {"diagnostics.window": "100000"}  # percentiles over the whole run
MEASURED = "latency_ms.network.p50"  # the node has diagnosed its first frames
WORK_STAGES = ("decode", *STAGES, "publish")


class CountingRecorder(Recorder):
    """Counts masks instead of keeping them: a long run must not measure its own memory."""

    count = refined = 0

    def __enter__(self) -> CountingRecorder:
        """Connect and start to listen, to the refined masks too."""
        super().__enter__()
        self.subscribe("masks_refined", self._on_refined)
        return self

    def _on_masks(self, data: bytes) -> None:
        self.count += 1
        self._last_s = time.monotonic()

    def _on_refined(self, data: bytes) -> None:
        self.refined += 1


@contextlib.contextmanager
def street_bag(tracks: int, seed: int) -> Iterator[tuple[Path, float]]:
    """Yield a bag of a crowded street with the largest masks, and its masks per frame."""
    config = StreetConfig(seed=seed, frames=CLIP_FRAMES, density=2.0, lost_share=0.0, jitter_px=0.0)
    with tempfile.TemporaryDirectory() as folder:
        bag, masks = Path(folder) / "street", 0

        def counted() -> Iterator[SourceFrame]:
            nonlocal masks
            for frame in generate(config):
                made = street_frame(with_largest(frame, tracks))
                masks += len(made.instances)
                yield made

        record(counted(), CLIP_FRAMES, bag, RecordOptions())
        yield bag, masks / CLIP_FRAMES


def bench_node(options: BenchOptions, out: Path | None) -> dict:
    """Play a looped street clip to a fresh node at 10 Hz and report what it did.

    Returns tracks_per_frame, seconds, what `run` returns of the node, and cpu_cores used, without
    the process that adapts. Raises DemoError: the node did not start, died, or did not end cleanly.
    """
    os.environ.update(environment())
    with street_bag(options.tracks, options.seed) as (bag, masks):
        parameters = node_parameters(options, bag.parent)
        (found,) = run(bag, 1, options.seconds, parameters)
    took = {"seconds": options.seconds, "cpu_cores": found.pop("cpu_s") / found.pop("passed_s")}
    report = {"tracks_per_frame": masks, **CLIP, **took, **found}
    keep_results(out, report, options.seed)
    return report


def bench_cameras(options: CamerasOptions, out: Path | None) -> dict:
    """Run 1, 2, ... nodes, each in its namespace; all process the same images at the same moment.

    That is how cameras of one trigger meet on a computer, and the hardest case for it. Returns
    `runs`, a camera_run for each number of cameras, and per_added_camera: how much the sums over
    all nodes grow with each. Raises DemoError: a node did not start, died, or did not end cleanly.
    """
    os.environ.update(environment())
    with street_bag(options.tracks, options.seed) as (bag, _):
        counts = range(1, options.cameras + 1)
        runs = [camera_run(bag, count, options.seconds) for count in counts]
    report = {**CLIP, "tracks": options.tracks, "seconds": options.seconds}
    report |= {"runs": runs, "per_added_camera": added(runs)}
    keep_results(out, report, options.seed)
    return report


def camera_run(bag: Path, count: int, seconds: float) -> dict:
    """Return cameras, and of each of the `count` nodes what it needs.

    Frames in and out, drops by reason, latency p50 and p99 [ms] within the node ("total") and from
    the image stamp ("stamp"), CPU seconds per frame, memory (RSS, and PSS, shared pages split)
    [MB].
    """
    nodes = []
    for found in run(bag, count, seconds):
        latency = found["latency_ms"]
        row = {n: found[n] for n in ("frames_in", "frames_out", "drops", "weights", "backend")}
        row["latency_ms"] = {
            stage: {part: latency[stage][part] for part in ("p50", "p99")}
            for stage in ("total", "stamp")
        }
        row["cpu_s_per_frame"] = found["cpu_s"] / max(found["frames_out"], 1)
        nodes.append(row | {"rss_mb": found["rss_mb"]["end"], "pss_mb": found["pss_mb"]})
    return {"cameras": count, "nodes": nodes}


def added(runs: list[dict]) -> dict[str, float] | None:
    """Return how the sums over all nodes grow with each camera; None with one camera only."""
    if len(runs) < 2:
        return None
    names = ("cpu_s_per_frame", "rss_mb", "pss_mb")
    first, last = ({n: sum(c[n] for c in r["nodes"]) for n in names} for r in (runs[0], runs[-1]))
    return {name: (last[name] - first[name]) / (len(runs) - 1) for name in names}


def run(
    bag: Path, count: int, seconds: float, parameters: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Feed `count` nodes, each in a namespace, and collect the figures of each.

    The bag is played round and round; logs lie next to it. `seconds` count from when all nodes have
    diagnosed their first frames. Returns of each node: masks received, received_refined, `figures`,
    cpu_s and passed_s since the start of playing, rss_mb (after the first minute or half the time,
    at the end, growth) and pss_mb at the end.
    """
    with ExitStack() as stack:
        nodes, recorders = [], []
        for space in (f"/camera{index}" for index in range(count)):
            log = bag.with_name(f"{space[1:]}.log")
            output = stack.enter_context(log.open("w"))
            node = NodeProcess({**WINDOW, **(parameters or {})}, output, log, space)
            nodes.append(stack.enter_context(node))
            recorders.append(stack.enter_context(CountingRecorder(space + NODE)))
        for node, recorder in zip(nodes, recorders, strict=True):
            recorder.wait_for_node(node.check)
        processes = [psutil.Process(node.pid) for node in nodes]
        begun, cpu = time.monotonic(), [cpu_s(process) for process in processes]
        with playing(bag):
            pass_time(nodes, BEGIN_S, lambda: all(MEASURED in r.values for r in recorders))
            warm_up_s = min(WARM_UP_S, seconds / 2)
            pass_time(nodes, warm_up_s)
            first = [process.memory_info().rss for process in processes]
            pass_time(nodes, seconds - warm_up_s)
            found = [
                {"cpu_s": cpu_s(process) - before, "passed_s": time.monotonic() - begun}
                | grown(process, rss)
                for process, before, rss in zip(processes, cpu, first, strict=True)
            ]
        for row, node, recorder in zip(found, nodes, recorders, strict=True):
            recorder.wait_until_quiet(sys.maxsize, node.check)
            row |= {"received": recorder.count, "received_refined": recorder.refined}
            row |= figures(recorder.values)
            node.stop()
    return found


def grown(process: psutil.Process, first: int) -> dict[str, Any]:
    """Return a process's memory [MB], and its growth since it had `first` bytes."""
    now = process.memory_full_info()
    rss = {"after_first_minute": first / 1e6, "end": now.rss / 1e6, "growth": now.rss / first - 1}
    return {"rss_mb": rss, "pss_mb": now.pss / 1e6}


def pass_time(
    nodes: Sequence[NodeProcess], seconds: float, enough: Callable[[], bool] = lambda: False
) -> None:
    """Sleep so long, or until it is enough, while all nodes live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not enough():
        for node in nodes:
            node.check()
        time.sleep(0.2)


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time that a process has used [s]."""
    return sum(process.cpu_times()[:2])


@contextlib.contextmanager
def playing(bag: Path) -> Iterator[None]:
    """Play a bag round and round, with stamps of now, from the first subscription."""
    player = [sys.executable, "-m", "savos_ros.cli", "play", str(bag), "--loop", "--restamp"]
    process = subprocess.Popen([*player, "--wait", "30"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def figures(values: dict[str, str]) -> dict:
    """Return the node's last diagnostics as numbers."""
    if MEASURED not in values:
        raise DemoError("the node answered no object of a frame before: let it run longer")
    latency = latencies(values)
    work = {name: row["p50"] for name, row in latency.items() if name in WORK_STAGES}
    return {
        "frames_in": int(values["frames_in"]),
        "frames_out": int(values["frames_out"]),
        "drops": {k.removeprefix("drops."): int(v) for k, v in values.items() if k[:6] == "drops."},
        "refine": {k[7:]: int(v) for k, v in values.items() if k.startswith("refine.")},
        "adapt": {name: int(values[f"adapt.{name}"]) for name in COUNTS},
        "latency_ms": latency,
        "other_share": 1 - work["network"] / sum(work.values()),
        "backend": values["backend"],
        "weights": values["weights"],
    }
