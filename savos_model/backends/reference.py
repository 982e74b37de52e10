"""Run the step in plain NumPy, the reference for every engine that is loaded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import expit

from savos_model.backends.interface import BackendError, StepOutput
from savos_model.config import ModelConfig
from savos_model.network.layers import (
    DECODERS,
    FLOW,
    GAIN_SCALE,
    LEAK,
    NORM_EPS,
    PRIOR,
    VISIBLE,
    completer_channels,
    decoder_stages,
    encoders,
    input_channels,
)
from savos_model.network.unet_layers import LEVELS, MAPS, MEMORY, Conv, groups, stem, unet_convs
from savos_model.network.weights import Weights

# Largest difference from the reference, in units of the output's largest value or 1.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}

Arrays = dict[str, np.ndarray]


def reference_step(
    weights: Weights, patches: np.ndarray, h: np.ndarray, c: np.ndarray
) -> StepOutput:
    """Run one step like Backend.step, many times slower."""
    a, model = weights.arrays, weights.model
    step = unet_step if model.preset == "online" else encoder_decoder_step
    mask_logits, alpha, residual, h, c = step(a, model, patches, h, c)
    if model.prior_mask:
        visible, prior = patches[:, VISIBLE][:, 0], patches[:, PRIOR][:, 0]
        seen = np.maximum(2 * visible - 1, -1 - visible if model.occluder_hint else 0)
        gains = GAIN_SCALE * a["evidence_gain"]
        mask_logits = mask_logits + gains[0] * seen + gains[1] * (2 * prior - 1)
    return StepOutput(mask_logits, alpha, residual, h, c)


def encoder_decoder_step(
    a: Arrays, model: ModelConfig, patches: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Run SavosNet without its evidence; return the fields of StepOutput."""
    fed = {
        "embed_encoder": patches,
        "motion_encoder": patches[:, FLOW],
        "mask_encoder": patches[:, completer_channels(model)],
    }
    codes = {name: encode(a, name, fed[name], stages) for name, stages in encoders(model).items()}
    h, c = lstm(a, codes["embed_encoder"], h, c)
    masks, residual = (
        decode(a, name, np.concatenate((h, codes[code]), 1), decoder_stages(model))
        for name, code in zip(DECODERS, ("mask_encoder", "motion_encoder"), strict=True)
    )
    return masks[:, 0], masks[:, 1], residual, h, c


def unet_step(
    a: Arrays, model: ModelConfig, patches: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Run RecurrentUNet without its evidence; return the fields of StepOutput."""
    convs, last = {conv.name: conv for conv in unet_convs(model)}, len(LEVELS) - 1

    def run(x: np.ndarray, name: str) -> np.ndarray:
        return unet_conv(a, x, convs[name])

    x, skips = run(patches, "enter"), []
    for i in range(last):
        skips.append(x)
        x = run(x, f"down.{i}")
    x = run(x, "mid")
    code = run(x, "squeeze").reshape(len(x), -1) @ a["code.weight"].T + a["code.bias"]
    h, c = lstm(a, code, h, c)
    memory = (h @ a["spread.weight"].T + a["spread.bias"]).reshape(len(x), MEMORY, *x.shape[2:])
    x = run(np.concatenate((x, memory), 1), "fuse")
    for i in reversed(range(last)):
        x = run(run(x, f"up.{i}").repeat(2, 2).repeat(2, 3) + skips[i], f"join.{i}")
    # Pixel shuffle: each channel of a map is one pixel of its blocks.
    step = stem(model)
    x = run(x, "leave").reshape(len(x), MAPS, step, step, *x.shape[2:])
    maps = x.transpose(0, 1, 4, 2, 5, 3).reshape(len(x), MAPS, *model.patch)
    return maps[:, 0], maps[:, 1], maps[:, 2:], h, c


def unet_conv(a: Arrays, x: np.ndarray, conv: Conv) -> np.ndarray:
    """Run a convolution of the U-Net, with GroupNorm and ReLU if it has them."""
    stride, padding = (conv.stride,) * 2, (conv.padding,) * 2
    if not conv.norm:
        return convolve(x, a[f"{conv.name}.weight"], a[f"{conv.name}.bias"], stride, padding)
    weight = a[f"{conv.name}.conv.weight"]
    x = convolve(x, weight, np.zeros(conv.outputs, np.float32), stride, padding)
    grouped = x.reshape(len(x), groups(conv.outputs), -1)
    centred = grouped - grouped.mean(2, keepdims=True)
    x = (centred / np.sqrt(grouped.var(2, keepdims=True) + NORM_EPS)).reshape(x.shape)
    weight, bias = a[f"{conv.name}.norm.weight"], a[f"{conv.name}.norm.bias"]
    return np.maximum(x * weight[:, None, None] + bias[:, None, None], 0)


def encode(a: Arrays, name: str, x: np.ndarray, stages: list) -> np.ndarray:
    """Return the code [N, D] of x [N, C, H, W]."""
    for i, s in enumerate(stages):
        at = f"{name}.stages.{i}"
        x = convolve(x, a[f"{at}.0.weight"], a[f"{at}.0.bias"], s.stride, s.padding)
        x = norm(x, a[f"{at}.1.weight"], a[f"{at}.1.bias"])
    return x.reshape(len(x), -1) @ a[f"{name}.linear.weight"].T + a[f"{name}.linear.bias"]


def decode(a: Arrays, name: str, x: np.ndarray, stages: list) -> np.ndarray:
    """Return the image [N, 2, H, W] of a code [N, 2D]."""
    x = (x @ a[f"{name}.linear.weight"].T + a[f"{name}.linear.bias"])[:, :, None, None]
    for i, s in enumerate(stages):
        at = f"{name}.stages.{i}"
        x = norm(x, a[f"{at}.0.weight"], a[f"{at}.0.bias"])
        # A transposed convolution: zeros between the pixels, then the rotated kernel.
        wide = np.zeros(
            (*x.shape[:2], *((n - 1) * t + 1 for n, t in zip(x.shape[2:], s.stride, strict=True))),
            np.float32,
        )
        wide[:, :, :: s.stride[0], :: s.stride[1]] = x
        turned = a[f"{at}.2.weight"][:, :, ::-1, ::-1].swapaxes(0, 1)
        padding = tuple(k - 1 - p for k, p in zip(s.kernel, s.padding, strict=True))
        x = convolve(wide, turned, a[f"{at}.2.bias"], (1, 1), padding)
    return x


def convolve(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> np.ndarray:
    """Convolve x [N, C, H, W] with weight [D, C, h, w]."""
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    seen = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    return (
        np.tensordot(seen, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        + (bias[:, None, None])
    )


def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Apply GroupNorm with one group, then LeakyReLU."""
    axes = (1, 2, 3)
    x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + NORM_EPS)
    x = x * weight[:, None, None] + bias[:, None, None]
    return np.maximum(x, LEAK * x)


def lstm(a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return new h and c, in torch's gate order."""
    gates = x @ a["lstm.weight_ih_l0"].T + h @ a["lstm.weight_hh_l0"].T
    i, f, g, o = np.split(gates + a["lstm.bias_ih_l0"] + a["lstm.bias_hh_l0"], 4, axis=1)
    c = expit(f) * c + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


def random_inputs(weights: Weights, tracks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return reproducible random patches, h and c."""
    model, rng = weights.model, np.random.default_rng(0)
    patches = rng.random((tracks, input_channels(model), *model.patch), np.float32)
    h, c = rng.uniform(-1, 1, (2, tracks, model.hidden)).astype(np.float32)
    return patches, h, c


def deviation(got: StepOutput, want: StepOutput) -> dict[str, float]:
    """Return the largest difference of each output, in units of its largest value or 1."""
    return {
        name: float(np.abs(g - w).max() / max(1.0, np.abs(w).max()))
        for name, g, w in zip(StepOutput._fields, got, want, strict=True)
    }


def self_test(
    engine: str, weights: Weights, step: Callable[..., StepOutput], precision: str
) -> None:
    """Compare a step of a new engine with the reference.

    Raises BackendError: its result differs; the text names output and difference.
    """
    inputs = random_inputs(weights, 1)
    want = reference_step(weights, *inputs)
    three = step(*(np.repeat(array, 3, axis=0) for array in inputs))
    off = deviation(three, StepOutput(*(np.repeat(array, 3, axis=0) for array in want)))
    worst = max(off, key=lambda name: np.nan_to_num(off[name], nan=np.inf))
    if not off[worst] <= TOLERANCE[precision]:
        raise BackendError(
            f"engine {engine} computes {worst} incorrectly: it differs by {off[worst]:.2g}, "
            f"allowed in {precision} {TOLERANCE[precision]}: choose another model.backend"
        )
