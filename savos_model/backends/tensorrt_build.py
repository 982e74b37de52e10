"""Build TensorRT engines of the step network from its ONNX graph, for one kind of GPU."""

from __future__ import annotations

import functools
import hashlib
import importlib
from types import ModuleType
from typing import Any

from savos_model.backends.interface import PROFILE, TENSORRT_MODULES, BackendError
from savos_model.backends.onnx_graph import build_step
from savos_model.hints import PIP, installed
from savos_model.network.weights import Weights


@functools.cache
def tensorrt() -> ModuleType:
    """Return TensorRT, or TensorRT for RTX, which has the same interface.

    Raises BackendError: neither is installed.
    """
    for name in TENSORRT_MODULES:
        if installed(name):
            return importlib.import_module(name)
    raise BackendError(f"TensorRT is not installed: {PIP['tensorrt']}")


@functools.cache
def logger() -> Any:
    """Return the logger, of which TensorRT allows one per process."""
    trt = tensorrt()
    return trt.Logger(trt.Logger.WARNING)


def graph_bytes(weights: Weights, precision: str) -> bytes:
    """Return the step network as serialised ONNX for TensorRT."""
    return build_step(weights, precision=precision).SerializeToString()


def engine_key(
    weights: Weights, graph: bytes, gpu: str, capability: str, precision: str
) -> dict[str, str]:
    """Return everything that an engine depends on.

    Args:
        weights: their name for readers; the graph contains their values.
        graph: of graph_bytes.
        gpu: name of the GPU. Engines of TensorRT for RTX run on every GPU of their capability,
            and are built for one, here or ahead.
        capability: compute capability, such as 8.9.
        precision: fp32 or fp16.
    """
    trt = tensorrt()
    return {
        "weights": weights.name,
        "onnx": hashlib.sha256(graph).hexdigest(),
        "tensorrt": f"{trt.__name__} {trt.__version__}",
        "gpu": "any" if portable(trt) else gpu,
        "capability": capability,
        # Engines of TensorRT for RTX without a target need 8.6 or newer.
        "target": "capability" if portable(trt) else "gpu",
        "precision": precision,
        "profile": ",".join(map(str, PROFILE)),
    }


def portable(trt: ModuleType) -> bool:
    """Return whether engines can be built for other GPUs by compute capability."""
    return hasattr(trt, "ComputeCapability")


def build_engine(graph: bytes, *, capability: str = "") -> bytes:
    """Build a serialised engine from an ONNX graph; takes seconds to minutes.

    Args:
        graph: of graph_bytes; its types are the engine's precision.
        capability: of another GPU; empty: for the GPU of this machine. Only the latter can be
            refitted, as TensorRT needs the GPU to prepare it.

    Raises:
        BackendError: TensorRT failed; its messages are on standard error.
    """
    trt = tensorrt()
    builder, network, _parser = parsed(graph)
    config = configured(trt, builder, network, capability)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(
            f"TensorRT {trt.__version__} could not build the engine, see its message above: "
            "choose model.backend torch or onnx"
        )
    return bytes(plan)


def parsed(graph: bytes) -> tuple[Any, Any, Any]:
    """Return builder, network and parser of a graph; the network uses the parser's memory.

    Raises BackendError: TensorRT cannot read it.
    """
    trt = tensorrt()
    builder = trt.Builder(logger())
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger())
    if not parser.parse(graph):
        faults = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise BackendError(f"TensorRT {trt.__version__} cannot read the network: {faults}")
    return builder, network, parser


def configured(trt: ModuleType, builder: Any, network: Any, capability: str) -> Any:
    """Return builder settings: shape profile, no TF32, target or refit."""
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        profile.set_shape(tensor.name, *((rows, *tuple(tensor.shape)[1:]) for rows in PROFILE))
    config.add_optimization_profile(profile)
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 must not be reduced to TF32
    if not capability:
        config.set_flag(trt.BuilderFlag.REFIT)
    if capability or portable(trt):
        aim(trt, config, capability)
    return config


def aim(trt: ModuleType, config: Any, capability: str) -> None:
    """Set one compute capability; empty: that of this machine's GPU.

    Raises BackendError: this TensorRT does not support it.
    """
    if not portable(trt):
        raise BackendError(
            "TensorRT builds for the GPU of this machine only: leave the compute capability out, "
            "or use an environment with tensorrt_rtx and without tensorrt"
        )
    target = f"SM{capability.replace('.', '')}" if capability else "CURRENT"
    known = [n for n in vars(trt.ComputeCapability) if n[:2] == "SM"]
    if target not in ("CURRENT", *known):
        raise BackendError(
            f"TensorRT for RTX does not support compute capability {capability}: use one of "
            + ", ".join(f"{n[2:-1]}.{n[-1]}" for n in sorted(known))
        )
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(getattr(trt.ComputeCapability, target), 0):
        raise BackendError(
            f"TensorRT for RTX does not build for {capability or 'this GPU'}, see its message "
            "above: choose model.backend torch or onnx"
        )


def refit(engine: Any, graph: bytes) -> None:
    """Refit an engine with the weights of another graph of the same network.

    Raises BackendError: TensorRT rejects them.
    """
    trt = tensorrt()
    refitter = trt.Refitter(engine, logger())
    parser = trt.OnnxParserRefitter(refitter, logger())
    if not (parser.refit_from_bytes(graph) and refitter.refit_cuda_engine()):
        raise BackendError("TensorRT could not refit the engine, see its message above")
