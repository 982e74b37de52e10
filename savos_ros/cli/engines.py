"""The commands `savos export` and `savos build-engine`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from savos_model.config import BackendConfig
from training.cli.options import JsonOption

WeightsArgument = Annotated[str, typer.Argument(help="Shipped name or .safetensors file.")]
PrecisionOption = Annotated[str, typer.Option(help="fp32 or fp16.")]
WEIGHTS = BackendConfig().weights


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export")(export)
    app.command("build-engine")(build_engine)


def export(
    out: Annotated[Path, typer.Option("--out", help="The .onnx file to write.")],
    weights: WeightsArgument = WEIGHTS,
    precision: PrecisionOption = "fp32",
) -> None:
    """Write the step network as ONNX, after comparing it with torch on random and real patches.

    Example: savos export savos_online --out savos_online.onnx
    """
    from rich import print_json

    from savos_model.backends.export import export_onnx
    from savos_model.network.weights import load_weights
    from savos_model.results import commit

    with errors_as_lines("savos export"):
        check_precision(precision)
        loaded = load_weights(weights)
        real, made_by = street_inputs(weights), {"commit": commit()}
        report = export_onnx(out, loaded, precision=precision, real=real, properties=made_by)
        print_json(data={"file": str(out), **report})


def build_engine(
    weights: WeightsArgument = WEIGHTS,
    precision: PrecisionOption = "fp32",
    device: Annotated[str, typer.Option(help="GPU of this machine: cuda or cuda:N.")] = "cuda",
    compute_capability: Annotated[
        str, typer.Option(help="Build for other GPUs, as 8.9; needs TensorRT for RTX, but no GPU.")
    ] = "",
    engine_dir: Annotated[str, typer.Option(help="Folder; empty: the node's default.")] = "",
    json: JsonOption = None,
) -> None:
    """Build a TensorRT engine ahead of time, so that the node starts at once.

    Example: savos build-engine savos_online --precision fp16 --compute-capability 8.9
    """
    from savos_model.backends import tensorrt_build
    from savos_model.backends.choose import candidates
    from savos_model.backends.engine_cache import cached_engine, engine_folder, engine_path
    from savos_model.backends.interface import gpu_index
    from savos_model.network.weights import load_weights
    from savos_model.results import write_results
    from savos_ros.node.engine import progress

    with errors_as_lines("savos build-engine"):
        check_precision(precision)
        loaded = load_weights(weights)
        gpu, capability = "any", compute_capability
        if not capability:
            candidates(BackendConfig(backend="tensorrt", device=device))  # says what is missing
            from savos_model.backends.tensorrt import describe

            gpu, capability = describe(gpu_index(device))
        graph = tensorrt_build.graph_bytes(loaded, precision)
        key = tensorrt_build.engine_key(loaded, graph, gpu, capability, precision)
        folder = engine_folder(engine_dir)
        took: dict[str, float] = {}

        def build() -> bytes:
            wall, cpu = time.perf_counter(), time.process_time()
            engine = tensorrt_build.build_engine(graph, capability=compute_capability)
            took.update(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)
            return engine

        with progress(f"building for {gpu} GPU, compute capability {capability}", typer.echo):
            engine = cached_engine(folder, key, build)
        if not (path := engine_path(folder, key)).is_file():
            raise OSError(f"{path} could not be written: see the warning above")
        typer.echo(f"{path}: {len(engine) / 2**20:.1f} MiB")
        if json is not None:
            _, network, _parser = tensorrt_build.parsed(graph)
            sizes = {"onnx_bytes": len(graph), "engine_bytes": len(engine)}
            build_report = {"key": key, "layers": network.num_layers, **sizes, "build": took}
            write_results(json, build_report, seed=0)


@contextmanager
def errors_as_lines(command: str) -> Iterator[None]:
    """Turn what a user can mend into one line and exit code 1."""
    from savos_model.backends.export import ExportError
    from savos_model.backends.interface import BackendError

    try:
        yield
    except (ValueError, OSError, BackendError, ExportError) as error:
        typer.echo(f"{command}: {error}", err=True)
        raise typer.Exit(1) from error


def check_precision(precision: str) -> None:
    """Refuse other words, as the setting of the node does."""
    BackendConfig(device="cuda", precision=precision)


def street_inputs(weights: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Patches and states that the network meets on a short generated street."""
    from savos_model.backends.choose import make_backend
    from savos_model.backends.interface import StepOutput
    from savos_model.instances import from_label_image
    from savos_model.stream.stream import AmodalStream
    from savos_model.types import Frame
    from training.street.config import StreetConfig
    from training.street.generate import generate, label_image

    backend = make_backend(BackendConfig(weights=weights, threads=1))
    taken, step = [], backend.step

    def recorded(patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        taken.append((patches, h, c))
        return step(patches, h, c)

    vars(backend)["step"] = recorded  # of this one object, which ends with this function
    stream = AmodalStream(backend)
    for frame in generate(StreetConfig(frames=4, width=620, height=188, min_full_px=60)):
        masks = from_label_image(label_image(frame))
        stream.step(Frame(frame.stamp_ns, frame.image, masks))
    return taken
