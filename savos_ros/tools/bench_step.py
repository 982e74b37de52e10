"""Measures the network's step on every engine against what a matrix product reaches here."""

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from savos_model.backends.choose import candidates, start
from savos_model.backends.interface import Backend, BackendError
from savos_model.backends.reference import random_inputs
from savos_model.config import BackendConfig, ModelConfig
from savos_model.hints import installed
from savos_model.network.layers import parameter_shapes, step_flop
from savos_model.network.weights import Weights
from savos_model.results import keep_results
from savos_model.tables import columned
from savos_ros.tools.settings import NETWORKS, BenchStepConfig

MATRIX = {"cpu": 1024, "cuda": 8192}  # rows and columns of the product


class Measured(NamedTuple):
    """A measured case: an engine in a precision on one network and number of tracks."""

    network: str
    tracks: int
    engine: str
    precision: str


def bench_step(config: BenchStepConfig, out: Path | None = None) -> dict:
    """Measure all engines, networks and numbers of tracks, interleaved in rounds.

    Returns settings, limit_gflops (of a matrix product in config.precision, best over rounds),
    absent (engines that cannot run here, with the reason) and rows: network, tracks, engine,
    precision, gflop, ms and cpu_ms (of the clock and of the processor in all threads, medians over
    rounds), rounds_ms, and times_limit, the step over the time that its arithmetic takes at the
    limit. On a busy machine compare cpu_ms: the clock counts what other programs take. Raises
    BackendError: no engine runs here.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's idle threads take ours' time
    limits = matrix_products(config)
    runs, absent = prepared(config)
    if not runs:
        raise BackendError("; ".join(absent.values()))
    times: dict[Measured, list[tuple[float, float]]] = {key: [] for key in runs}
    rates = []
    for _ in track(range(config.rounds), "measuring", transient=True):
        for flop, product in limits:
            rates.append(flop / seconds_of(product, config.seconds)[0] / 1e9)
        for key, run in runs.items():
            times[key].append(seconds_of(run, config.seconds))
    limit = max(rates)
    rows = []
    for key, measured in times.items():
        gflop = key.tracks * step_flop(NETWORKS[key.network]) / 1e9
        clock, cpu = map(median, zip(*measured, strict=True))
        rows.append(
            {**key._asdict(), "gflop": gflop, "ms": 1e3 * clock, "cpu_ms": 1e3 * cpu}
            | {"rounds_ms": [1e3 * t for t, _ in measured], "times_limit": clock * limit / gflop}
        )
    several = ("tracks", "engine", "network")
    settings = asdict(config) | {name: list(getattr(config, name)) for name in several}
    report = {"settings": settings, "limit_gflops": limit, "absent": absent, "rows": rows}
    keep_results(out, report, 0)
    return report


def prepared(
    config: BenchStepConfig,
) -> tuple[dict[Measured, Callable[[], object]], dict[str, str]]:
    """Return a warmed-up step for each case, and why other engines are absent."""
    runs, absent = {}, {}
    weights = {network: random_weights(NETWORKS[network]) for network in config.network or NETWORKS}
    for name, precision in itertools.product(
        config.engine, dict.fromkeys(("fp32", config.precision))
    ):
        settings = BackendConfig(
            backend=name, device=config.device, precision=precision, threads=config.threads
        )
        try:
            candidates(settings)  # says what is missing
            backends = {key: start(name, found, settings, "") for key, found in weights.items()}
        except BackendError as error:
            absent[f"{name} {precision}"] = str(error)
            continue
        for (network, backend), tracks in itertools.product(backends.items(), config.tracks):
            run = step_of(backend, weights[network], tracks)
            runs[Measured(network, tracks, name, precision)] = run
            run()
    return runs, absent


def step_of(backend: Backend, weights: Weights, tracks: int) -> Callable[[], object]:
    """Return a step of so many tracks, to be called repeatedly."""
    inputs = random_inputs(weights, tracks)
    return lambda: backend.step(*inputs)


def random_weights(model: ModelConfig) -> Weights:
    """Return random weights; the time of a step does not depend on their values."""
    rng = np.random.default_rng(0)
    shapes = parameter_shapes(model).items()
    arrays = {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes}
    return Weights("random", model, arrays, {})


def matrix_products(config: BenchStepConfig) -> list[tuple[float, Callable[[], object]]]:
    """Return square products on this device with their FLOP, one for each library found."""
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


def seconds_of(run: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Return median wall and CPU times of a call, over as many calls as fit, at least 3."""
    took: list[tuple[float, float]] = []
    while len(took) < 3 or sum(clock for clock, _ in took) < seconds:
        clock, cpu = time.perf_counter(), time.process_time()
        run()
        took.append((time.perf_counter() - clock, time.process_time() - cpu))
    clock, cpu = map(median, zip(*took, strict=True))
    return clock, cpu


def print_bench(report: dict, console: Console) -> None:
    """Print the result of bench_step."""
    settings = report["settings"]
    title = (
        f"Step on {settings['device']}, {settings['precision']}, {settings['threads']} threads; a "
        f"matrix product reaches {report['limit_gflops']:.0f} GFLOP/s"
    )
    heads = ("tracks", "step [ms]", "processor [ms]", "times the limit")
    words = ("network", "engine", "precision")
    rows = [
        (*(row[word] for word in words), str(row["tracks"]))
        + tuple(f"{row[key]:.2f}" for key in ("ms", "cpu_ms", "times_limit"))
        for row in report["rows"]
    ]
    console.print(columned(title, *words, *heads, names=len(words), rows=rows))
    for name, why in report["absent"].items():
        console.print(f"{name}: {why}", highlight=False)
