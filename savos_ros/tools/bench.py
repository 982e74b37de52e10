"""Measures the running node over DDS: rate, drops, latency by stage, memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from savos_model.results import keep_results
from savos_model.stream.stream import STAGES
from savos_model.types import Instance
from savos_ros.bags.recording import START_NS, SourceFrame, record
from savos_ros.bags.settings import RecordOptions
from savos_ros.node.adaptation import COUNTS
from savos_ros.tools.harness import NodeProcess, Recorder, environment, latencies, node_parameters
from savos_ros.tools.settings import BenchOptions, DemoError
from training.street.config import StreetConfig
from training.street.generate import generate

WARM_UP_S = 60.0  # memory is compared with that after one minute; before it caches fill
CLIP_FRAMES = 100
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


def frames_with(tracks: int, seed: int) -> Iterator[SourceFrame]:
    """A crowded street whose tracker reports the `tracks` largest masks of each frame."""
    config = StreetConfig(seed=seed, frames=CLIP_FRAMES, density=2.0, lost_share=0.0, jitter_px=0.0)
    for frame in generate(config):
        seen = [(item, item.tracked) for item in frame.objects if item.tracked is not None]
        seen.sort(key=lambda pair: -int(pair[1][1].sum()))
        # From far to near: in a label image near ones cover.
        largest = {item.id: boxed for item, boxed in seen[:tracks]}
        kept = [item for item in reversed(frame.objects) if item.id in largest]
        masks = [Instance(str(i.id), *largest[i.id], class_id=str(i.class_id)) for i in kept]
        yield SourceFrame(START_NS + frame.stamp_ns, frame.image, masks)


def bench_node(options: BenchOptions, out: Path | None) -> dict:
    """Play a looped street clip to a fresh node at 10 Hz and report what it did.

    Args:
        options: what to measure.
        out: results file (savos_model/results.py); None writes none.

    Returns:
        tracks_per_frame, seconds, frames_in, frames_out, drops by reason, rate_hz, latency_ms by
        stage ("stamp": image stamp to published masks), refine and adapt (counts), other_share
        (of the work on a frame that is not the network), rss_mb after one minute and at the end,
        cpu_cores used, without the process that adapts.

    Raises:
        DemoError: the node did not start, died, or did not end cleanly.
    """
    os.environ.update(environment())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag = folder / "street"
        kept = list(frames_with(options.tracks, options.seed))
        record(iter(kept), CLIP_FRAMES, bag, RecordOptions())
        masks = sum(len(frame.instances) for frame in kept) / len(kept)
        del kept
        report = run(bag, folder / "node.log", options)
    report = {"tracks_per_frame": masks, "image": "1242x375", "rate_in_hz": 10.0, **report}
    keep_results(out, report, options.seed)
    return report


def run(bag: Path, log: Path, options: BenchOptions) -> dict:
    """Start node and player, watch for the asked time, and collect the figures."""
    parameters = {"diagnostics.window": "100000", **node_parameters(options, log.parent)}
    with log.open("w") as output, NodeProcess(parameters, output, log) as node:
        with CountingRecorder() as recorder:
            recorder.wait_for_node(node.check)
            process = psutil.Process(node.pid)
            begun_cpu = cpu_s(process)
            with playing(bag):
                memory = watch(process, node, options.seconds)
            recorder.wait_until_quiet(sys.maxsize, node.check)
            values, received, refined = recorder.values, recorder.count, recorder.refined
            cores = (cpu_s(process) - begun_cpu) / options.seconds
        node.stop()
    return {
        "seconds": options.seconds,
        "received": received,
        "received_refined": refined,
        **figures(values),
        "rss_mb": memory,
        "cpu_cores": cores,
    }


def cpu_s(process: psutil.Process) -> float:
    """CPU time that a process has used [s]."""
    return sum(process.cpu_times()[:2])


@contextlib.contextmanager
def playing(bag: Path) -> Iterator[None]:
    """Play a bag round and round, with stamps of now, from when somebody listens."""
    player = [sys.executable, "-m", "savos_ros.cli", "play", str(bag), "--loop", "--restamp"]
    process = subprocess.Popen([*player, "--wait", "30"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def watch(process: psutil.Process, node: NodeProcess, seconds: float) -> dict[str, float]:
    """Sleep through the run; return the node's memory after a minute and at the end [MB]."""
    first_at = min(WARM_UP_S, seconds / 2)
    begun, first = time.monotonic(), None
    while (passed := time.monotonic() - begun) < seconds:
        node.check()
        if first is None and passed >= first_at:
            first = process.memory_info().rss / 1e6
        time.sleep(0.2)
    last = process.memory_info().rss / 1e6
    if first is None:
        raise DemoError(f"seconds must be longer, got {seconds}")
    return {"after_first_minute": first, "end": last, "growth": last / first - 1}


def figures(values: dict[str, str]) -> dict:
    """The node's last diagnostics as numbers."""
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
