"""Measures the network's step on every engine against what a matrix product reaches here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from savos_model.backends.choose import candidates, start
from savos_model.backends.interface import Backend, BackendError, installed
from savos_model.backends.reference import random_inputs
from savos_model.config import BackendConfig, ModelConfig
from savos_model.layers import parameter_shapes, step_flop
from savos_model.weights import Weights
from training.results import keep_results

TRACKS = (1, 4, 10, 20, 50)
NETWORKS = {
    "width 0.5, 32x64": ModelConfig(),
    "width 1.0, 64x128": ModelConfig(width=1.0, patch_height=64, patch_width=128),
}
MATRIX = {"cpu": 1024, "cuda": 8192}  # rows and columns of the product


@dataclass(frozen=True)
class BenchStepConfig:
    """How to measure: rounds, seconds for each number in a round, and the engines' settings."""

    rounds: int = 7
    seconds: float = 0.3
    threads: int = 1
    device: str = "cpu"
    precision: str = "fp32"


def bench_step(config: BenchStepConfig, out: Path | None = None) -> dict:
    """Measure all engines, networks and numbers of tracks, interleaved in rounds.

    Returns:
        settings, limit_gflops (best over rounds), absent (engines that cannot run here, with the
        reason) and rows: network, tracks, engine, gflop, ms (median over rounds), rounds_ms and
        times_limit, the step over the time that its arithmetic takes at the limit.

    Raises:
        BackendError: no engine runs here.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's idle threads take ours' time
    limits = matrix_products(config)
    runs, absent = prepared(config)
    if not runs:
        raise BackendError("; ".join(absent.values()))
    times: dict[tuple, list[float]] = {key: [] for key in runs}
    rates = []
    for _ in track(range(config.rounds), "measuring", transient=True):
        for flop, product in limits:
            rates.append(flop / seconds_of(product, config.seconds) / 1e9)
        for key, run in runs.items():
            times[key].append(seconds_of(run, config.seconds))
    limit = max(rates)
    rows = []
    for (network, tracks, engine), measured in times.items():
        gflop = tracks * step_flop(NETWORKS[network]) / 1e9
        rows.append(
            {"network": network, "tracks": tracks, "engine": engine, "gflop": gflop}
            | {"ms": 1e3 * median(measured), "rounds_ms": [1e3 * t for t in measured]}
            | {"times_limit": median(measured) * limit / gflop}
        )
    report = {"settings": asdict(config), "limit_gflops": limit, "absent": absent, "rows": rows}
    keep_results(out, report, 0)
    return report


def prepared(
    config: BenchStepConfig,
) -> tuple[dict[tuple[str, int, str], Callable[[], object]], dict[str, str]]:
    """A step to call by network, tracks and engine, warmed up; why other engines are absent."""
    runs, absent = {}, {}
    settings = BackendConfig(
        device=config.device, precision=config.precision, threads=config.threads
    )
    for network, model in NETWORKS.items():
        weights = random_weights(model)
        for name in ("onnx", "torch", "tensorrt"):
            try:
                candidates(replace(settings, backend=name))  # says what is missing
                backend = start(name, weights, settings, "")
            except BackendError as error:
                absent[name] = str(error)
                continue
            for tracks in TRACKS:
                runs[network, tracks, name] = step_of(backend, weights, tracks)
                runs[network, tracks, name]()
    return runs, absent


def step_of(backend: Backend, weights: Weights, tracks: int) -> Callable[[], object]:
    """A step of so many tracks, to be called again and again."""
    inputs = random_inputs(weights, tracks)
    return lambda: backend.step(*inputs)


def random_weights(model: ModelConfig) -> Weights:
    """Weights of no skill; how long a step takes does not depend on their values."""
    rng = np.random.default_rng(0)
    shapes = parameter_shapes(model).items()
    arrays = {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes}
    return Weights("random", model, arrays, {})


def matrix_products(config: BenchStepConfig) -> list[tuple[float, Callable[[], object]]]:
    """Square products of this device with their FLOP, by each library that is here."""
    on_gpu = config.device != "cpu"
    size = MATRIX["cuda" if on_gpu else "cpu"]
    values = np.random.default_rng(0).random((size, size), np.float32)
    products: list[Callable[[], object]] = []
    if not on_gpu:
        from onnx import helper
        from onnxruntime import InferenceSession, SessionOptions

        names = [helper.make_tensor_value_info(name, 1, values.shape) for name in "aby"]
        node = helper.make_node("MatMul", ["a", "b"], ["y"])
        graph = helper.make_graph([node], "product", names[:2], names[2:])
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
        options = SessionOptions()
        options.intra_op_num_threads = config.threads
        session = InferenceSession(model, options, ["CPUExecutionProvider"])
        products.append(lambda: session.run(None, {"a": values, "b": values}))
    if installed("torch"):
        import torch

        from savos_model.backends.torch import HALF

        kind = HALF.get(config.precision, torch.float32)
        matrix = torch.from_numpy(values).to(config.device, kind)

        def product() -> None:
            torch.mm(matrix, matrix)
            if on_gpu:
                torch.cuda.synchronize(config.device)

        products.append(product)
    if not products:
        raise BackendError("the limit of a GPU is measured with torch: pip install torch")
    return [(2.0 * size**3, product) for product in products]


def seconds_of(run: Callable[[], object], seconds: float) -> float:
    """Median time of a call, over as many calls as fit, three at least."""
    took: list[float] = []
    while len(took) < 3 or sum(took) < seconds:
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return median(took)


def print_bench(report: dict, console: Console) -> None:
    """Print the result of bench_step."""
    settings = report["settings"]
    title = (
        f"Step on {settings['device']}, {settings['precision']}, {settings['threads']} threads; a "
        f"matrix product reaches {report['limit_gflops']:.0f} GFLOP/s"
    )
    table = Table(title=title, title_justify="left")
    for name in ("network", "tracks", "engine", "step [ms]", "times the limit"):
        table.add_column(name, justify="left" if name in ("network", "engine") else "right")
    for row in report["rows"]:
        cells = (row["network"], str(row["tracks"]), row["engine"])
        table.add_row(*cells, f"{row['ms']:.2f}", f"{row['times_limit']:.2f}")
    console.print(table)
    for name, why in report["absent"].items():
        console.print(f"{name}: {why}", highlight=False)
