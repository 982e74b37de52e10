"""Read, write and validate weights as safetensors with their model settings."""

import dataclasses
import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from savos_model.config import ModelConfig
from savos_model.files import FileError, atomic
from savos_model.network.layers import parameter_shapes

KINDS = ("F16", "F32", "F64")  # types of stored values in safetensors
MAX_BYTES = 512 * 2**20  # several times the largest network; limits memory for other files


class WeightsError(FileError):
    """Weights cannot be used; the text names the reason and the remedy."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """Network parameters by name (float32 arrays) with settings and metadata.

    Attributes:
        name: short name shown to users.
        model: settings of the network.
        arrays: parameter name -> float32 array.
        info: other metadata: strings such as data, command, seed, temperature.
    """

    name: str
    model: ModelConfig
    arrays: dict[str, np.ndarray]
    info: dict[str, str]

    @property
    def temperature(self) -> float:
        """Return the divisor of the mask logits that calibrates confidence; 1.0 by default."""
        return float(self.info.get("temperature", 1.0))


def shipped_weights() -> list[str]:
    """Return the names of the shipped weights."""
    folder = files("savos_model") / "shipped"
    return sorted(
        p.name.removesuffix(".safetensors")
        for p in folder.iterdir()
        if p.name.endswith(".safetensors")
    )


def find_weights(name_or_path: str) -> Path:
    """Return the path of shipped weights by name, or of a file.

    Raises WeightsError: neither exists.
    """
    shipped = Path(str(files("savos_model") / "shipped" / f"{name_or_path}.safetensors"))
    if "/" not in name_or_path and shipped.is_file():
        return shipped
    path = Path(name_or_path).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return path
    if path.suffix in (".pt", ".pth") and path.is_file():
        raise WeightsError(
            f"model.weights: {path} is not a .safetensors file: "
            f"convert it with `savos weights import {path} --out {path.stem}.safetensors`",
            "form",
        )
    raise WeightsError(
        f"model.weights: no weights {name_or_path!r}: give one of "
        f"{', '.join(shipped_weights()) or '(none shipped)'} or the path of a .safetensors file",
        "missing",
    )


def load_weights(name_or_path: str) -> Weights:
    """Read weights as float32 without running code of the file.

    Raises WeightsError: missing, unreadable, too large, or of another network.
    """
    path = find_weights(name_or_path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise WeightsError(
            f"model.weights: {path} has {size} bytes, more than {MAX_BYTES}: "
            "not weights of this network",
            "size",
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            model = model_from_metadata(metadata, path)
            heads = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            check_heads(heads, model, str(path))  # before memory is taken
            arrays = {key: file.get_tensor(key).astype(np.float32) for key in heads}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"model.weights: cannot read {path}: {error}. Copy the file again", "unreadable"
        ) from error
    check_values(arrays, str(path))
    del metadata["model"]
    weights = Weights(metadata.pop("name", path.stem), model, arrays, metadata)
    try:
        good = 0 < weights.temperature < math.inf
    except ValueError:
        good = False
    if not good:
        raise WeightsError(
            f"model.weights: {path}: temperature must be a number above 0, got "
            f"{metadata['temperature']!r:.40}: calibrate again",
            "temperature",
        )
    return weights


def model_from_metadata(metadata: Mapping[str, str], path: Path) -> ModelConfig:
    """Return the settings stored with the weights; raise WeightsError if missing or invalid."""
    if "model" not in metadata:
        raise WeightsError(
            f"model.weights: {path} has no model settings: "
            "convert released checkpoints with `savos weights import`",
            "no_settings",
        )
    try:
        return ModelConfig(**json.loads(metadata["model"]))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        text = f"model.weights: {path} has invalid model settings: {error}"
        raise WeightsError(text, "settings") from error


def save_weights(path: Path, weights: Weights, dtype: str = "float16") -> None:
    """Write weights atomically; raise OSError like save_tensors."""
    metadata = {
        **weights.info,
        "name": weights.name,
        "model": json.dumps(dataclasses.asdict(weights.model)),
    }
    arrays = {key: a.astype(dtype) for key, a in weights.arrays.items()}
    save_tensors(path, arrays, metadata)


def save_tensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and text as safetensors atomically (temporary file, then rename).

    Raises OSError: no space, or no permission; an existing file is kept.
    """
    # The library writes the memory of an array without regard to strides.
    whole = {key: np.ascontiguousarray(a) for key, a in arrays.items()}
    try:
        with atomic(path) as temporary:
            save_file(whole, temporary, metadata=dict(metadata))
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def check_shapes(arrays: Mapping[str, np.ndarray], model: ModelConfig, where: str) -> None:
    """Raise WeightsError unless names, shapes and values fit the stored settings."""
    check_names({key: array.shape for key, array in arrays.items()}, model, where)
    check_values(arrays, where)


def check_heads(heads: Mapping[str, Any], model: ModelConfig, where: str) -> None:
    """Raise WeightsError unless the tensors in the header of a file fit, see check_shapes."""
    check_names({key: tuple(head.get_shape()) for key, head in heads.items()}, model, where)
    for key, head in heads.items():
        if head.get_dtype() not in KINDS:
            raise WeightsError(
                f"model.weights: {where}: {key} must be of type {', '.join(KINDS)}, got "
                f"{head.get_dtype()}: save it as one of them",
                "type",
            )


def check_names(shapes: Mapping[str, tuple[int, ...]], model: ModelConfig, where: str) -> None:
    """Raise WeightsError unless names and shapes are those of the network."""
    expected = parameter_shapes(model)
    for key in sorted(expected.keys() | shapes.keys()):
        if expected.get(key) != shapes.get(key):
            raise WeightsError(
                f"model.weights: {where}: {key} must have shape {expected.get(key)}, got "
                f"{shapes.get(key)}: the file does not belong to width {model.width}, "
                f"patch {model.patch_height}x{model.patch_width}",
                "shape",
            )


def check_values(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Raise WeightsError unless all values are finite."""
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsError(
                f"model.weights: {where}: {key} has values that are not finite: "
                "train or copy again",
                "values",
            )
