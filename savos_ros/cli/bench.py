"""Commands of `savos bench`."""

from __future__ import annotations

import typer

from savos_model.backends.interface import BackendError
from savos_model.commands import command
from savos_ros.bags.settings import BagError
from savos_ros.tools.settings import (
    BenchLabelOptions,
    BenchOptions,
    BenchStepConfig,
    BenchStreamConfig,
    CamerasOptions,
    DemoError,
    GpuFolder,
    GpuOptions,
    ResultsFile,
    StartOptions,
)

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
FAILURES = (DemoError, BackendError, BagError, OSError)


@command(app, "cameras", CamerasOptions, ResultsFile, failures=FAILURES)
def cameras(options: CamerasOptions, results: ResultsFile) -> None:
    """Measure CPU, memory and latency of 1, 2, ... nodes that are fed simultaneously at 10 Hz."""
    from rich import print_json

    from savos_ros.tools.bench import bench_cameras

    print_json(data=bench_cameras(options, results.json))


@command(app, "start", StartOptions, ResultsFile, failures=FAILURES)
def start(options: StartOptions, results: ResultsFile) -> None:
    """Measure the time from process start to the first masks, with empty and with filled caches."""
    from rich import print_json

    from savos_ros.tools.bench_start import bench_start

    print_json(data=bench_start(options, results.json))


@command(app, "node", BenchOptions, ResultsFile, failures=FAILURES)
def node(options: BenchOptions, results: ResultsFile) -> None:
    """Measure latency, drops and memory of the node on a street played over DDS at 10 Hz."""
    from rich import print_json

    from savos_ros.tools.bench import bench_node

    print_json(data=bench_node(options, results.json))


@command(app, "stream", BenchStreamConfig, ResultsFile, failures=FAILURES)
def stream(options: BenchStreamConfig, results: ResultsFile) -> None:
    """Measure whole frames by stage, number of tracks and image size, and the released design."""
    from rich.console import Console

    from savos_ros.tools.bench_stream import bench_stream, print_bench

    print_bench(bench_stream(options, results.json), Console(width=160))


@command(app, "step", BenchStepConfig, ResultsFile, failures=FAILURES)
def step(options: BenchStepConfig, results: ResultsFile) -> None:
    """Measure the step of the network on every engine against the speed of a matrix product."""
    from rich.console import Console

    from savos_ros.tools.bench_step import bench_step, print_bench

    print_bench(bench_step(options, results.json), Console())


@command(app, "label", BenchLabelOptions, ResultsFile, failures=FAILURES, extra="bags")
def label(options: BenchLabelOptions, results: ResultsFile) -> None:
    """Measure labelling on a Ray cluster against one process; compare the labels bit by bit."""
    from rich import print_json

    from savos_ros.tools.bench_label import bench_label

    print_json(data=bench_label(options, results.json))


@command(app, "gpu", GpuFolder, GpuOptions, failures=FAILURES)
def gpu(folder: GpuFolder, options: GpuOptions) -> bool:
    """All that needs an NVIDIA GPU, in at most 8 minutes: one page and one JSON file.

    Engines compared with torch on the CPU, their speed, swaps of weights, adaptation, training and
    the tests marked gpu, each in a separate process; status 1 when one of them is not good.

    Example: savos bench gpu --out gpu
    """
    from rich.console import Console

    from savos_ros.tools.bench_gpu import bench_gpu, good

    return not good(bench_gpu(options, folder.out, Console()))
