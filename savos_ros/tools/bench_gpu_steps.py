"""The steps of `savos bench gpu`, each in a process that ends with it.

    python -m savos_ros.tools.bench_gpu_steps NAME FOLDER PLAN

PLAN is a GpuPlan as JSON. The step's state and result are in FOLDER/NAME.json, also of a step that
was ended before it was done.
"""

import dataclasses
import itertools
import json
import math
import multiprocessing
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from savos_model.backends.reference import random_inputs
from savos_model.files import write_file
from savos_model.hints import installed
from savos_ros.tools.bench_gpu_engine import AbsentError, Keep, clocked, engine, summary, timed
from savos_ros.tools.settings import GpuPlan

PACKAGES = (
    "torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt_rtx", "cuda-bindings",
    "nvidia-cudnn-cu12", "triton",
)  # fmt: skip
QUERY = "name,driver_version,memory.total,clocks.max.sm,power.limit"
CLIP_FRAMES = 24  # of the scene that the adaptation learns from
CLIP_TRACKS = 6


class Step(NamedTuple):
    """A step: its work, the most seconds of 8 minutes that it may take, and what it is."""

    run: Callable[[GpuPlan, Path, Keep], dict[str, Any]]
    seconds: float
    text: str


def machine(plan: GpuPlan, folder: Path, keep: Keep) -> dict[str, Any]:
    """Return the card, versions, and what products of matrices reach on it."""
    from savos_ros.tools.bench_step import BenchStepConfig, matrix_products

    found: dict[str, Any] = {"versions": versions(), "gpu": card(plan)}
    keep(found)
    limits = {}
    for precision in plan.precisions:
        config = BenchStepConfig(device=plan.device, precision=precision)
        rates = [
            flop / min(timed(product, plan.seconds)) / 1e6
            for flop, product in matrix_products(config)
        ]
        limits[precision] = max(rates)
    return found | {"limit_gflops": limits}


def versions() -> dict[str, str]:
    """Return the packages that matter here, with their versions."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def card(plan: GpuPlan) -> dict[str, Any]:
    """Return what the driver and torch say about the GPU; empty on the CPU."""
    if plan.device == "cpu":
        return {}
    found: dict[str, Any] = {}
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        found["driver"] = done.stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:  # a Jetson has no nvidia-smi
        found["driver"] = f"nvidia-smi: {error}"
    if installed("torch"):
        import torch

        properties = torch.cuda.get_device_properties(0)
        found |= {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
        }
    return found


def adaptation(plan: GpuPlan, folder: Path, keep: Keep) -> dict[str, Any]:
    """Time steps of an engine alone and while another process adapts weights on the device.

    Returns engine, tracks, "alone" and "meanwhile" (steps), iterations and seconds of the
    adaptation, and loss (of the first iteration, and the mean of the last measurement).
    """
    from savos_model.backends.choose import make_backend
    from savos_model.config import BackendConfig

    config = BackendConfig(
        weights=plan.weights, device=plan.device, precision=plan.precisions[-1],
        engine_dir=str(folder / "engines"),
    )  # fmt: skip
    backend, tracks = make_backend(config), plan.tracks[-1]
    step = partial(backend.step, *random_inputs(backend.weights, tracks))
    # Spawned: CUDA cannot be used in a fork of a process that uses it.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(adapted, dataclasses.replace(plan, iterations=1)).result()  # imports, warms up
        alone = timed(step, plan.seconds)
        job = pool.submit(adapted, plan)
        meanwhile: list[float] = []
        while not job.done() or not meanwhile:
            meanwhile.append(clocked(step))
        result = job.result()
    times = {"alone": summary(alone), "meanwhile": summary(meanwhile)}
    return {"engine": backend.name, "tracks": tracks, **times, "adaptation": result}


def adapted(plan: GpuPlan) -> dict[str, float]:
    """Adapt weights to a generated scene; returns iterations, seconds, first and last loss."""
    import torch

    from savos_model.instances import from_label_image
    from savos_model.network.weights import load_weights
    from savos_ros.tools.bench_scene import scene
    from training.adapt.adapt import adapt, visible_clip
    from training.adapt.settings import AdaptConfig
    from training.data.store import ClipFrame

    torch.set_num_threads(1)
    weights = load_weights(plan.weights)
    shown = itertools.islice(
        itertools.cycle(scene(plan.image, CLIP_TRACKS, plan.seed)), CLIP_FRAMES
    )
    frames = (ClipFrame(image, from_label_image(labels)) for image, labels in shown)
    clip = visible_clip("bench", frames, weights.model)
    # It is to compute to the end: nothing is gained by a stop.
    config = AdaptConfig(
        max_iterations=plan.iterations,
        stop_gain=-1.0,
        batch=plan.windows,
        checked=plan.windows,
        seed=plan.seed,
        device=plan.device,
    )
    began = time.perf_counter()
    history = adapt(weights, clip, config).history
    took = time.perf_counter() - began
    losses = {"first_loss": history[0]["loss"], "last_loss": history[-1]["loss"]}
    return {"iterations": history[-1]["iteration"], "seconds": took, **losses}


def training(plan: GpuPlan, folder: Path, keep: Keep) -> dict[str, Any]:
    """Return the speed of training steps, each design in a process that does nothing else."""
    from training.bench.settings import BenchTrainConfig
    from training.bench.train import VARIANTS, in_fresh_process, measure, write_clips

    tracks, frames = plan.batch
    config = BenchTrainConfig(
        1, tracks, frames, seconds=plan.seconds, device=plan.device, seed=plan.seed
    )
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        clips = Path(name)
        write_clips(clips, plan.seed)
        for variant in plan.trained:
            times = in_fresh_process(variant, measure, variant, clips, config)
            count = math.prod(VARIANTS[variant].size(config))
            rates = {"object_frames_per_s": count / times["wall_s"], "object_frames": count}
            found[variant] = {"text": VARIANTS[variant].text, **rates, **times}
            keep(found)
    return found


def tests(plan: GpuPlan, folder: Path, keep: Keep) -> dict[str, Any]:
    """Run the tests marked gpu; returns how many passed, failed and were skipped, with reasons.

    Raises AbsentError: this is no source tree, or pytest is not installed.
    """
    root = Path(__file__).absolute().parents[2]
    marked = [
        str(path)
        for path in sorted((root / "tests").rglob("test_*.py"))
        if "mark.gpu" in path.read_text(encoding="utf-8")
    ]
    if not marked or not installed("pytest"):
        raise AbsentError("run it in a source tree with pytest: `make test` sets both up")
    report = folder / "tests.xml"
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command = [sys.executable, "-m", "pytest", *options, *marked]
    status = subprocess.run(command, cwd=root, check=False).returncode
    if status not in (0, 1, 5):  # 5: nothing was collected
        raise RuntimeError(f"pytest ended with status {status}")
    return counted(report)


def counted(report: Path) -> dict[str, Any]:
    """Return what a JUnit file says: passed, failed, skipped; reasons of the last two by test."""
    found: dict[str, Any] = {"passed": 0, "failed": {}, "skipped": {}}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        for kind, group in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
            if (node := case.find(kind)) is not None:
                found[group][case.get("name", "?")] = node.get("message", "")
                break
        else:
            found["passed"] += 1
    return found


STEPS = {
    "machine": Step(machine, 40, "the card, its limits and the versions"),
    "torch": Step(partial(engine, "torch"), 80, "torch, on a GPU with CUDA graphs"),
    "onnx": Step(partial(engine, "onnx"), 70, "ONNX Runtime"),
    "tensorrt": Step(partial(engine, "tensorrt"), 110, "TensorRT, or TensorRT for RTX"),
    "adaptation": Step(adaptation, 50, "an engine while another process adapts weights"),
    "training": Step(training, 80, "training steps"),
    "tests": Step(tests, 50, "tests marked gpu"),
}  # together 480 s


def main(name: str, folder: Path, plan: GpuPlan) -> int:
    """Run a step; returns 0 when its result is complete, else 1."""
    path = folder / f"{name}.json"

    def keep(result: dict[str, Any], state: str = "unfinished", error: str = "") -> None:
        document = {"state": state, "error": error, "result": result}
        write_file(path, json.dumps(document, default=str))

    kept: dict[str, Any] = {}

    def partly(result: dict[str, Any]) -> None:
        kept.update(result)
        keep(kept)

    try:
        keep(STEPS[name].run(plan, folder, partly), "done")
    except AbsentError as error:
        keep(kept, "absent", str(error))
    except Exception as error:
        keep(kept, "failed", f"{type(error).__name__}: {error}")
        raise
    return 0


if __name__ == "__main__":
    given = json.loads(sys.argv[3])
    lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), GpuPlan(**given | lists)))
