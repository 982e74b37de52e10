"""Convert a released SaVos checkpoint to safetensors without running code of the file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from savos_model.hints import PIP, installed
from savos_model.network.released.keys import from_official, our_name
from savos_model.network.weights import MAX_BYTES, Weights, WeightsError, save_weights

REMEDY = "save the plain `model.state_dict()` with torch.save and import that"


def import_checkpoint(checkpoint: Path, out: Path, preset: str = "official") -> Weights:
    """Convert a released state dict (.pt, .pth) to a weights file of ours, values unchanged.

    Args:
        checkpoint: file written by torch.save(model.state_dict(), ...); `module.` in front of the
            names is ignored.
        out: .safetensors file to write; replaced when it exists.
        preset: `official` repeats the released code's inputs; `paper` is for further training.

    Returns:
        The weights written.

    Raises:
        WeightsError: not such a file, or torch is not installed.
        SettingError: no such preset.
    """
    if out.suffix != ".safetensors":
        raise WeightsError(
            f"--out must end in .safetensors, got {str(out)!r}: add the ending", "ending"
        )
    weights = from_official(read_state(checkpoint), checkpoint.stem, preset)
    save_weights(out, weights, dtype="float32")
    return weights


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return float32 arrays of a released state dict by their names.

    Raises WeightsError: the file is missing, too large, damaged, or anything but named tensors of
    the released network; torch is not installed.
    """
    if not installed("torch"):
        raise WeightsError(f"reading a checkpoint needs torch: {PIP['torch']}", "package")
    import torch

    if not path.is_file():
        raise WeightsError(
            f"no checkpoint {str(path)!r}: give the path of a .pt or .pth file", "missing"
        )
    check_size(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign pickle raises any type
        # PyTorch's text advises to disable the protection: not repeated.
        raise WeightsError(
            f"{path} is damaged or holds pickled objects (a whole model?), not only tensors; "
            f"none of its code was run. Where the model was trained, {REMEDY}",
            "unreadable",
        ) from error
    return state_arrays(state, path)


def check_size(path: Path) -> None:
    """Raise WeightsError for files that are damaged, or too large, packed or unpacked."""
    size = path.stat().st_size
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{path} is damaged ({error}): copy it again", "unreadable") from None
    if size > MAX_BYTES:
        raise WeightsError(
            f"{path} holds {size} bytes, at most {MAX_BYTES} are read: {REMEDY}", "size"
        )


def state_arrays(state: Any, path: Path) -> dict[str, np.ndarray]:
    """Validate a loaded state dict of the released network; return its float32 arrays."""
    import torch

    if not isinstance(state, dict):
        raise WeightsError(
            f"{path} holds a {type(state).__name__}, not a state dict: {REMEDY}", "layout"
        )
    for key, value in state.items():
        plain = isinstance(value, torch.Tensor) and value.layout == torch.strided
        if not (isinstance(key, str) and plain and value.is_floating_point()):
            raise WeightsError(
                f"{path}: {key!r} is a {type(value).__name__}, not a named dense tensor of floats: "
                f"{REMEDY}",
                "layout",
            )
    if 4 * sum(value.numel() for value in state.values()) > MAX_BYTES:
        raise WeightsError(
            f"{path} expands to more than {MAX_BYTES} bytes: not weights of this network", "size"
        )
    if len({our_name(key) for key in state}) < len(state):
        raise WeightsError(
            f"{path} has a parameter with and without `module.` in front: {REMEDY}", "names"
        )
    return {key: value.detach().float().numpy() for key, value in state.items()}
