"""Commands of `savos bench`."""

from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from savos_model.commands import Value, command, option
from savos_ros.tools import settings

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
RESULTS = Value("json", Path | None, option("results file to write", None))
OUT = Value("out", Path, option("folder of gpu.json, gpu.md and each step's log"))
BENCHES = {  # module in savos_ros.tools, its options and help text, by the name of the command
    "cameras": (
        "bench",
        settings.CamerasOptions,
        "Measure CPU, memory and latency of 1, 2, ... nodes that are fed simultaneously at 10 Hz.",
    ),
    "start": (
        "bench_start",
        settings.StartOptions,
        "Measure the time from process start to the first masks, with empty and with filled "
        "caches.",
    ),
    "node": (
        "bench",
        settings.BenchOptions,
        "Measure latency, drops and memory of the node on a street played over DDS at 10 Hz.",
    ),
    "stream": (
        "bench_stream",
        settings.BenchStreamConfig,
        "Measure whole frames by stage, number of tracks and image size.",
    ),
    "memory": (
        "bench_memory",
        settings.BenchMemoryConfig,
        "Measure the peak memory of the node's pipeline with 10 and 100 tracks, up to 3840x2160.",
    ),
    "step": (
        "bench_step",
        settings.BenchStepConfig,
        "Measure a step of the network on each engine, compared with a matrix product.",
    ),
}


def _add(name: str, module: str, kind: type, text: str) -> None:
    """Add the command that runs bench_NAME of a module and prints what it returns."""

    def run(options: Any, json: Path | None) -> None:
        from rich.console import Console

        tool = import_module(f"savos_ros.tools.{module}")
        report = getattr(tool, f"bench_{name}")(options, json)
        if hasattr(tool, "print_bench"):
            tool.print_bench(report, Console(width=160 if name == "stream" else None))
        else:
            Console().print_json(data=report)

    run.__doc__ = text
    command(app, name, kind, RESULTS, status=1, extra="bags")(run)


for _name, _bench in BENCHES.items():
    _add(_name, *_bench)


@command(app, "gpu", OUT, settings.GpuOptions, status=1)
def gpu(out: Path, options: settings.GpuOptions) -> bool:
    """Measure everything that needs an NVIDIA GPU, in at most 8 minutes.

    Engines compared with torch on the CPU, their speed, swaps of weights, adaptation, training and
    the tests marked gpu, each in a separate process; exit status 1 when one fails. Writes
    gpu.json and gpu.md.

    Example: savos bench gpu --out gpu
    """
    from rich.console import Console

    from savos_ros.tools.bench_gpu import bench_gpu, good

    return not good(bench_gpu(options, out, Console()))
