"""Export the step network as ONNX after comparing it with the original network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from savos_model.backends.interface import BUCKETS, BackendError, StepOutput
from savos_model.backends.onnx_graph import INPUTS, OUTPUTS, build_step
from savos_model.backends.reference import TOLERANCE, deviation, random_inputs, reference_step
from savos_model.files import atomic
from savos_model.hints import installed
from savos_model.network.weights import Weights

Step = Callable[..., StepOutput]
Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]


class ExportError(BackendError):
    """The exported network differs from the original; the text names the difference."""


def export_onnx(
    path: Path,
    weights: Weights,
    *,
    precision: str = "fp32",
    real: Iterable[Inputs] = (),
    properties: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Write the step network as ONNX with any number N of tracks, after a comparison.

    Args:
        path: the .onnx file; written atomically, and only if the comparison succeeds.
        weights: of the network.
        precision: fp32, or fp16 with float32 inputs, outputs, state and sums.
        real: patches, h and c of frames, compared in addition to random ones of 1 and 64 tracks.
        properties: metadata in addition to name of weights, settings of the network and version.

    Returns:
        The reference (torch, or NumPy without it), tolerance, and the largest
        difference of each output, in units of its largest value or 1.

    Raises:
        ExportError: a difference is above the tolerance.
    """
    model = build_step(weights, precision=precision)
    present = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, present | dict(properties or {}))
    with atomic(path) as temporary:
        onnx.save(model, str(temporary))
        return compare(str(temporary), weights, precision, list(real))


def compare(path: str, weights: Weights, precision: str, real: list[Inputs]) -> dict[str, object]:
    """Compare a file with the network; see export_onnx."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # idle threads spin
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    name, original = original_step(weights)
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for inputs in [random_inputs(weights, tracks) for tracks in (1, BUCKETS[-1])] + real:
        got = session.run(list(OUTPUTS), dict(zip(INPUTS, inputs, strict=True)))
        off = deviation(StepOutput(*got), original(*inputs))
        # NaN must win here, as it would lose against any number in max().
        worst = {
            key: float(np.maximum(was, now))
            for (key, was), now in zip(worst.items(), off.values(), strict=True)
        }
    allowed = TOLERANCE[precision]
    if not all(value <= allowed for value in worst.values()):
        listed = ", ".join(f"{key} {value:.2g}" for key, value in worst.items())
        raise ExportError(
            f"the export differs from {name}: {listed}, allowed in {precision} {allowed}: "
            "nothing was written"
        )
    return {
        "compared_with": name,
        "real_batches": len(real),
        "tolerance": allowed,
        "largest_difference": worst,
    }


def original_step(weights: Weights) -> tuple[str, Step]:
    """Return name and step of the reference of an export."""
    if not installed("torch"):
        return "NumPy", lambda *inputs: reference_step(weights, *inputs)
    from savos_model.backends.torch import TorchBackend

    return "torch", TorchBackend(weights, "cpu", 1, "").step
