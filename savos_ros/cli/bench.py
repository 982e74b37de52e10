"""Commands of `savos bench` that start nodes or run the whole method."""

from __future__ import annotations

import typer

from savos_model.backends.interface import BackendError
from savos_model.commands import Options, command
from savos_ros.tools.settings import (
    BenchOptions,
    BenchStreamConfig,
    CamerasOptions,
    DemoError,
    GpuFolder,
    GpuOptions,
    ResultsFile,
    StartOptions,
)

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
RESULTS = Options(ResultsFile)


@command(app, "cameras", Options(CamerasOptions), RESULTS, failures=(DemoError,))
def cameras(options: CamerasOptions, results: ResultsFile) -> None:
    """CPU, memory and latency of one node, then two, ... all fed at the same moment at 10 Hz."""
    from rich import print_json

    from savos_ros.tools.bench_cameras import bench_cameras

    print_json(data=bench_cameras(options, results.json))


@command(app, "start", Options(StartOptions), RESULTS, failures=(DemoError,))
def start(options: StartOptions, results: ResultsFile) -> None:
    """From the start of the node's process to its first answer, with caches empty and full."""
    from rich import print_json

    from savos_ros.tools.bench_start import bench_start

    print_json(data=bench_start(options, results.json))


@command(app, "node", Options(BenchOptions), RESULTS, failures=(DemoError,))
def node(options: BenchOptions, results: ResultsFile) -> None:
    """Latency, drops and memory of the node on a street played over DDS at 10 Hz."""
    from rich import print_json

    from savos_ros.tools.bench import bench_node

    print_json(data=bench_node(options, results.json))


@command(app, "stream", Options(BenchStreamConfig), RESULTS, failures=(BackendError,))
def stream(options: BenchStreamConfig, results: ResultsFile) -> None:
    """Whole frames by stage, tracks and image size, compared with the released design's."""
    from rich.console import Console

    from savos_ros.tools.bench_stream import bench_stream, print_bench

    print_bench(bench_stream(options, results.json), Console(width=160))


@command(app, "gpu", Options(GpuFolder), Options(GpuOptions), failures=(DemoError,))
def gpu(folder: GpuFolder, options: GpuOptions) -> None:
    """All that needs an NVIDIA GPU, in at most 8 minutes: one page and one JSON file.

    Engines compared with torch on the CPU, their speed, swaps of weights, adaptation, training and
    the tests marked gpu, each in a process of its own; status 1 when one of them is not good.

    Example: savos bench gpu --out gpu
    """
    from rich.console import Console

    from savos_ros.tools.bench_gpu import bench_gpu, good

    report = bench_gpu(options, folder.out, Console())
    raise typer.Exit(0 if good(report) else 1)
