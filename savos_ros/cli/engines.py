"""The commands `savos export`, `savos build-engine` and `savos weights`."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer

from savos_model.commands import Value, command, option
from savos_model.config import BackendConfig
from savos_model.settings import setting

app = typer.Typer()  # its commands become those of `savos` itself
weights_app = typer.Typer(help="Weights of the network.", no_args_is_help=True)
DEFAULT = BackendConfig()
OUT = Value("out", Path, option("the file to write"))
engine_command = partial(command, status=1, extra="torch")


@dataclass(frozen=True)
class NetworkOptions:
    """The network that is written."""

    weights: str = option("shipped name or .safetensors file", DEFAULT.weights, argument=True)
    precision: str = option("fp32 or fp16", DEFAULT.precision)

    def __post_init__(self) -> None:
        BackendConfig(device="cuda", precision=self.precision)  # refuses other words


@dataclass(frozen=True)
class BuildOptions:
    """For which GPU an engine is built, and where it is kept."""

    device: str = option("GPU of this machine: cuda or cuda:N", "cuda")
    compute_capability: str = option(
        "build for other GPUs, as 8.9; needs TensorRT for RTX, but no GPU", ""
    )
    engine_dir: str = option("folder; empty: the node's default", DEFAULT.engine_dir)
    json: Path | None = option("results file to write", None)


@dataclass(frozen=True)
class ImportOptions:
    """A released checkpoint, and how it is used."""

    checkpoint: Path = option("released SaVos state dict (.pt, .pth)", argument=True)
    out: Path = option("the .safetensors file to write")
    preset: str = setting(
        "official", "official: repeat the released code; paper: start training from it"
    )


@dataclass(frozen=True)
class SaveOptions:
    """Node of the adapted weights, and the file to keep them in."""

    out: Path = option("the .safetensors file to write", argument=True)
    node: str = option("of the node /front/savos, say; empty: of any", "")
    folder: str = option("the node's adapt.folder; empty: its default", "")


@engine_command(app, "export", OUT, NetworkOptions)
def export(out: Path, network: NetworkOptions) -> None:
    """Write the step network as ONNX, after comparing it with torch on random and real patches.

    Example: savos export savos_online --out savos_online.onnx
    """
    from rich import print_json

    from savos_model.backends.export import export_onnx
    from savos_model.network.weights import load_weights
    from savos_model.results import commit

    loaded, made_by = load_weights(network.weights), {"commit": commit()}
    real = street_inputs(network.weights)
    report = export_onnx(out, loaded, precision=network.precision, real=real, properties=made_by)
    print_json(data={"file": str(out), **report})


@engine_command(app, "build-engine", NetworkOptions, BuildOptions)
def build_engine(network: NetworkOptions, options: BuildOptions) -> None:
    """Build a TensorRT engine ahead of time, so that the node starts immediately.

    Example: savos build-engine savos_online --precision fp16 --compute-capability 8.9
    """
    from savos_model.backends import tensorrt_build
    from savos_model.backends.choose import candidates
    from savos_model.backends.engine_cache import cached_engine, engine_folder, engine_path
    from savos_model.backends.interface import gpu_index
    from savos_model.network.weights import load_weights
    from savos_model.results import keep_results
    from savos_ros.node.engine import progress

    loaded = load_weights(network.weights)
    gpu, capability = "any", options.compute_capability
    if not capability:
        candidates(
            BackendConfig(backend="tensorrt", device=options.device)
        )  # names what is missing
        from savos_model.backends.tensorrt import describe

        gpu, capability = describe(gpu_index(options.device))
    graph = tensorrt_build.graph_bytes(loaded, network.precision)
    key = tensorrt_build.engine_key(loaded, graph, gpu, capability, network.precision)
    folder = engine_folder(options.engine_dir)
    took: dict[str, float] = {}

    def build() -> bytes:
        wall, cpu = time.perf_counter(), time.process_time()
        engine = tensorrt_build.build_engine(graph, capability=options.compute_capability)
        took.update(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)
        return engine

    with progress(f"building for {gpu} GPU, compute capability {capability}", typer.echo):
        engine = cached_engine(folder, key, build)
    if not (path := engine_path(folder, key)).is_file():
        raise OSError(f"{path} could not be written: see the warning above")
    typer.echo(f"{path}: {len(engine) / 2**20:.1f} MiB")
    if options.json is not None:
        _, parsed, _parser = tensorrt_build.parsed(graph)
        sizes = {"onnx_bytes": len(graph), "engine_bytes": len(engine)}
        report = {"key": key, "layers": parsed.num_layers, **sizes, "build": took}
        keep_results(options.json, report, seed=0)


def street_inputs(weights: str) -> list[tuple[Any, Any, Any]]:
    """Return patches and states that the network meets on a short generated street."""
    from savos_model.backends.choose import make_backend
    from savos_model.instances import from_label_image
    from savos_model.stream.stream import AmodalStream
    from savos_model.types import Frame
    from training.street.generate import StreetConfig, generate, label_image

    backend = make_backend(BackendConfig(weights=weights, threads=1))
    taken: list[tuple[Any, Any, Any]] = []
    step = backend.step

    def recorded(*inputs: Any) -> Any:
        taken.append(inputs)
        return step(*inputs)

    vars(backend)["step"] = recorded  # of this one object, which ends with this function
    stream = AmodalStream(backend)
    for frame in generate(StreetConfig(frames=4, width=620, height=188, min_full_px=60)):
        masks = from_label_image(label_image(frame))
        stream.step(Frame(frame.stamp_ns, frame.image, masks))
    return taken


@engine_command(weights_app, "import", ImportOptions)
def weights_import(options: ImportOptions) -> None:
    """Convert a released checkpoint; code in the file is never run."""
    from savos_model.network.released.checkpoint import import_checkpoint

    weights = import_checkpoint(options.checkpoint, options.out, options.preset)
    typer.echo(f"{options.out}: {len(weights.arrays)} tensors, preset {weights.model.preset}")


@engine_command(weights_app, "save", SaveOptions)
def weights_save(options: SaveOptions) -> None:
    """Keep the weights that a node's adaptation accepted last; model.weights takes the file."""
    from savos_model.network.weights import load_weights, save_weights
    from savos_ros.node.adaptation_files import newest

    weights = load_weights(str(newest(options.folder, options.node)))
    save_weights(options.out, weights, "float32")
    typer.echo(
        f"{options.out}: {weights.name}, adapted from {weights.info.get('adapted_from', '?')}"
    )
