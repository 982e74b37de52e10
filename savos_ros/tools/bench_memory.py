"""Measures the memory of the node's pipeline, without DDS: each case in a separate process."""

import dataclasses
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from savos_model.memory import MIB, process_bytes
from savos_model.results import keep_results
from savos_model.tables import columned
from savos_ros.tools.bench_scene import STEPS
from savos_ros.tools.bench_stream import SIZES, SMALL, Case, prepared, runner
from savos_ros.tools.settings import BenchMemoryConfig, BenchStreamConfig

CASES = (("1242x375", 10), ("1242x375", 100), ("3840x2160", 10), ("3840x2160", 100))
SCENE_BYTES = 3 + 2  # of a pixel: colours and label


def bench_memory(config: BenchMemoryConfig, out: Path | None = None) -> dict:
    """Measure all cases, one after the other.

    Returns settings, and rows: image, tracks, messages (through the node's pipeline, where ROS is
    there), start_mib (of the process, libraries loaded), peak_mib (without the scene, which stays
    in memory) and mask_mib (masks published for a frame).
    """
    messages = any(case.messages for case in prepared({}))
    rows = []
    for image, tracks in CASES:
        case = Case(SMALL, image, tracks, messages)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rows.append(pool.submit(memory_of, case, config).result())
    report = {"settings": dataclasses.asdict(config), "rows": rows}
    keep_results(out, report, config.seed)
    return report


def memory_of(case: Case, config: BenchMemoryConfig) -> dict:
    """Return the row of a case, measured in this process."""
    start = process_bytes("VmRSS") / MIB
    run = runner(case, BenchStreamConfig(threads=config.threads, seed=config.seed))
    published = [run()["mask_bytes"] for _ in range(config.frames)]
    rows, columns = SIZES[case.image]
    scene = STEPS * rows * columns * SCENE_BYTES / MIB
    return {
        "image": case.image,
        "tracks": case.tracks,
        "messages": case.messages,
        "start_mib": start,
        "peak_mib": process_bytes("VmHWM") / MIB - scene,
        "mask_mib": max(published) / MIB,
    }


def print_bench(report: dict, console: Console) -> None:
    """Print the result of bench_memory."""
    heads = ("image", "tracks", "start [MiB]", "peak [MiB]", "masks [MiB]")
    rows = [
        (
            row["image"], str(row["tracks"]), f"{row['start_mib']:.0f}", f"{row['peak_mib']:.0f}",
            f"{row['mask_mib']:.2f}",
        )
        for row in report["rows"]
    ]  # fmt: skip
    console.print(columned("Memory of the node's pipeline", *heads, rows=rows))
