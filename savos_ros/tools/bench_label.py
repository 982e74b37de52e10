"""Measures labelling on a Ray cluster against one process, and compares the labels bit by bit."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from savos_model.config import BackendConfig, SiteConfig
from savos_model.results import keep_results
from savos_ros.bags.fleet import label_bags
from savos_ros.bags.label import LABELS, Labelled
from savos_ros.bags.run import RESULT_BAG
from savos_ros.bags.settings import BagError, LabelOptions
from savos_ros.tools.settings import BenchLabelOptions

WAYS = ("one_process", "ray")


def bench_label(config: BenchLabelOptions, out: Path | None) -> dict:
    """Label bags in this process and on a cluster, in turn.

    The first round warms both up and is left out: a cluster starts its workers then. Returns bags,
    frames, threads, adaptation, cluster (version, nodes, cpus), seconds (by way, each round),
    frames_per_second (by way, of the median), speedup, equal. Raises BagError: a bag cannot be
    labelled, or the cluster is not available.
    """
    iterations = SiteConfig().max_iterations if config.adapt else 0
    options = LabelOptions(BackendConfig(threads=config.threads), iterations=iterations)
    bags = config.bags
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    equal, frames = True, 0
    for number in range(config.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for way in WAYS:
                started = time.perf_counter()
                ray = config.ray if way == "ray" else ""
                done = label_bags(bags, Path(folder) / way, options, ray=ray)
                if number:
                    seconds[way].append(round(time.perf_counter() - started, 2))
                frames = _checked(done)
            equal &= _files(Path(folder) / WAYS[0]) == _files(Path(folder) / WAYS[1])
    speeds = {way: round(frames / median(values), 2) for way, values in seconds.items()}
    metrics = {
        "bags": len(bags),
        "frames": frames,
        "threads": config.threads,
        "adaptation": config.adapt,
        "cluster": _cluster(config.ray),
        "seconds": seconds,
        "frames_per_second": speeds,
        "speedup": round(speeds["ray"] / speeds["one_process"], 3),
        "equal": equal,
    }
    keep_results(out, metrics, 0)
    return metrics


def _checked(done: list[Labelled]) -> int:
    """Return the number of frames labelled; a failed bag ends the measurement."""
    for item in done:
        if item.text:
            raise BagError(f"{item.name}: {item.text}")
    return sum(item.frames for item in done)


def _files(folder: Path) -> dict[str, bytes]:
    """Return what must not depend on where it was made: labels and result bags."""
    paths = [*folder.glob(f"*/{LABELS}"), *folder.glob(f"*/{RESULT_BAG}/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _cluster(address: str) -> dict:
    import ray

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        alive = [node for node in ray.nodes() if node["Alive"]]
        cpus = [node["Resources"].get("CPU", 0) for node in alive]
        return {"ray": ray.__version__, "nodes": len(alive), "cpus": cpus}
    finally:
        ray.shutdown()
