"""Measures one engine on a GPU: agreement with torch on the CPU, speed, and a swap of weights."""

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from savos_model.backends.choose import candidates, start, tested
from savos_model.backends.interface import Backend, BackendError, StepOutput
from savos_model.backends.reference import TOLERANCE, deviation, random_inputs
from savos_model.config import BackendConfig, StreamConfig, TracksConfig
from savos_model.instances import from_label_image
from savos_model.network.layers import step_flop
from savos_model.network.weights import Weights, load_weights
from savos_model.stream.stream import AmodalStream
from savos_model.types import Frame
from savos_ros.tools.bench_scene import PERIOD_NS, scene
from savos_ros.tools.settings import GpuPlan

ODD_TRACKS = 3  # no batch size of an engine: it is filled up
LEAST = 20  # calls behind a 99th percentile
Keep = Callable[[dict[str, Any]], None]


class AbsentError(RuntimeError):
    """Something that a step needs is not installed here; the text says what."""


def engine(name: str, plan: GpuPlan, folder: Path, keep: Keep) -> dict[str, Any]:
    """Measure an engine of savos_model.backends.choose in every precision.

    `folder` is for built engines; `keep` is called with the results so far. Returns by precision
    what `measured` returns, or error. Raises AbsentError: the engine is not installed here;
    BackendError: it fails in every precision.
    """
    found: dict[str, Any] = {}
    weights = load_weights(plan.weights)
    for precision in plan.precisions:
        config = BackendConfig(
            weights=plan.weights, backend=name, device=plan.device, precision=precision,
            engine_dir=str(folder / "engines"),
        )  # fmt: skip
        try:
            candidates(config)
        except BackendError as error:
            raise AbsentError(str(error)) from error
        found[precision] = {}
        try:
            for part in measured(name, weights, config, plan):
                found[precision] |= part
                keep(found)
        except Exception as error:  # libraries of a GPU raise whatever they like
            found[precision]["error"] = f"{type(error).__name__}: {error}"
            keep(found)
    if all("error" in part for part in found.values()):
        raise BackendError("; ".join(part["error"] for part in found.values()))
    return found


def measured(name: str, weights: Weights, config: BackendConfig, plan: GpuPlan) -> Any:
    """Yield parts of the result as they are known.

    Yields:
        reason and start_s, first (engines built) and again (from the cache); parity; steps and
        frames by number of tracks; swap.
    """
    began = time.perf_counter()
    backend = tested(name, weights, config, "savos bench gpu")
    first = time.perf_counter() - began
    began = time.perf_counter()
    tested(name, weights, config, "")
    again = time.perf_counter() - began
    yield {"reason": backend.reason, "start_s": {"first": first, "again": again}}
    yield {"parity": parity(backend, weights, config.precision, plan)}
    yield {"steps": {str(n): step_times(backend, n, plan.seconds) for n in plan.tracks}}
    yield {"frames": {str(n): frame_times(backend, n, plan) for n in plan.frame_tracks}}
    yield {"swap": swap(backend, weights, config.precision, plan)}


def parity(backend: Backend, weights: Weights, precision: str, plan: GpuPlan) -> dict[str, Any]:
    """Compare an engine with torch on the CPU in fp32.

    Returns by_tracks (largest difference of a step, in units of the output's largest value or 1;
    None: not finite), sequence (that of the last of plan.sequence steps, each engine with its own
    states), allowed, and good: whether no step is off by more.
    """
    cpu = on_cpu(weights)
    counts = sorted({*plan.tracks, ODD_TRACKS})
    by_tracks = {str(count): off(backend, cpu, *random_inputs(weights, count)) for count in counts}
    allowed = TOLERANCE[precision]
    return {
        "by_tracks": by_tracks,
        "sequence": sequence_off(backend, cpu, plan),
        "allowed": allowed,
        "good": all(value is not None and value <= allowed for value in by_tracks.values()),
    }


def on_cpu(weights: Weights) -> Backend:
    """Return torch on the CPU in fp32, which the engines of the GPU are compared with."""
    return start("torch", weights, BackendConfig(threads=1), "")


def off(backend: Backend, cpu: Backend, *inputs: np.ndarray) -> float | None:
    """Return the largest difference between the steps of two engines."""
    return largest(backend.step(*inputs), cpu.step(*inputs))


def largest(got: StepOutput, want: StepOutput) -> float | None:
    """Return the largest of all outputs' differences; None when it is not finite."""
    value = max(deviation(got, want).values(), key=lambda v: math.inf if math.isnan(v) else v)
    return value if math.isfinite(value) else None


def sequence_off(backend: Backend, cpu: Backend, plan: GpuPlan) -> float | None:
    """Return how far the engines are apart after a sequence of steps on random patches."""
    rng = np.random.default_rng(plan.seed)
    patches, h, c = random_inputs(cpu.weights, plan.tracks[-1])
    states = [(h, c), (h, c)]
    found: float | None = 0.0
    for _ in range(plan.sequence):
        patches = rng.random(patches.shape, np.float32)
        got, want = (
            one.step(patches, *state) for one, state in zip((backend, cpu), states, strict=True)
        )
        states = [(out.h, out.c) for out in (got, want)]
        found = largest(got, want)
    return found


def step_times(backend: Backend, tracks: int, seconds: float) -> dict[str, float]:
    """Time steps of so many tracks; adds gflop, the arithmetic of one of them."""
    inputs = random_inputs(backend.weights, tracks)
    times = timed(partial(backend.step, *inputs), seconds)
    return summary(times) | {"gflop": tracks * step_flop(backend.model) / 1e9}


def frame_times(backend: Backend, tracks: int, plan: GpuPlan) -> dict[str, float]:
    """Time whole frames of a generated scene, from image and masks to masks."""
    stream = AmodalStream(backend, StreamConfig(TracksConfig(max_tracks=tracks)))
    frames = [
        (image, from_label_image(labels)) for image, labels in scene(plan.image, tracks, plan.seed)
    ]
    count = 0

    def run() -> None:
        nonlocal count
        image, instances = frames[count % len(frames)]
        stream.step(Frame(count * PERIOD_NS, image, instances))
        count += 1

    return summary(timed(run, plan.seconds))


def timed(run: Callable[[], object], seconds: float) -> list[float]:
    """Return times [ms] of as many calls as fit, at least LEAST, after three to warm up."""
    for _ in range(3):
        run()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < LEAST or time.perf_counter() < end:
        took.append(clocked(run))
    return took


def clocked(run: Callable[[], object]) -> float:
    """Return the time of one call [ms]."""
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def summary(times_ms: Sequence[float]) -> dict[str, float]:
    """Return fps (of the median), p50_ms, p99_ms and the number of calls."""
    p50, p99 = (float(v) for v in np.percentile(times_ms, (50, 99)))
    return {"fps": 1e3 / p50, "p50_ms": p50, "p99_ms": p99, "calls": len(times_ms)}


def swap(backend: Backend, weights: Weights, precision: str, plan: GpuPlan) -> dict[str, Any]:
    """Give an engine other weights while it runs, then its own again.

    Returns prepare_s and use_ms of the swap; parity with torch on the CPU with the other weights,
    and after the way back; "alone" and "meanwhile": steps of the most tracks without a swap, and
    while one is prepared in another thread.
    """
    other, inputs = changed(weights, plan.seed), random_inputs(weights, plan.tracks[-1])
    step = partial(backend.step, *inputs)
    alone = timed(step, plan.seconds)
    made: list[Any] = []

    def prepare() -> None:
        began = time.perf_counter()
        try:
            made.append((backend.update_weights(other), time.perf_counter() - began))
        except Exception as error:
            made.append(error)

    thread = threading.Thread(target=prepare)
    thread.start()
    meanwhile: list[float] = []
    while thread.is_alive() or not meanwhile:
        meanwhile.append(clocked(step))
    if isinstance(made[0], Exception):
        raise made[0]
    use, took = made[0]
    use_ms = clocked(use)
    there = off(backend, on_cpu(other), *inputs)
    backend.update_weights(weights)()
    back = off(backend, on_cpu(weights), *inputs)
    return {
        "prepare_s": took,
        "use_ms": use_ms,
        "parity": there,
        "parity_back": back,
        "allowed": TOLERANCE[precision],
        "alone": summary(alone),
        "meanwhile": summary(meanwhile),
    }


def changed(weights: Weights, seed: int) -> Weights:
    """Return weights of the same network that differ by about a hundredth."""
    rng = np.random.default_rng(seed)
    arrays = {
        name: (array * rng.normal(1, 0.01, array.shape)).astype(np.float32)
        for name, array in weights.arrays.items()
    }
    return dataclasses.replace(weights, name=f"{weights.name}-changed", arrays=arrays)
