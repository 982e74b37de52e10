"""Define the layer list (supplement, Table 6), shared by torch network and ONNX graph."""

import math
from typing import NamedTuple

from savos_model.config import ModelConfig
from savos_model.network.unet_layers import unet_flop, unet_shapes

# Channels of a patch, NCHW; the only place with indices.
RGB = slice(0, 3)
VISIBLE = slice(3, 4)
FLOW = slice(4, 6)
FLOW_X = slice(4, 5)
INPUT_CHANNELS = 6
PRIOR = slice(6, 7)  # with ModelConfig.prior_mask only
UNKNOWN = 0.5  # prior at a track's birth
# Logits per unit of the two trained gains, of V and of the prior: the scale lets them change fast
# enough at the common learning rate.
GAIN_SCALE = 4.0
GAIN_START = 0.25
# Scale of alpha in the softmax of eq. 8: without it alpha would need ten times as many steps.
ALPHA_SCALE = 10.0

LEAK = 0.01  # negative slope of every LeakyReLU
NORM_EPS = 1e-5  # of every GroupNorm (one group)
EMBEDDING = 256
BOTTLENECK = 512

EMBED_CHANNELS = (32, 64, 128, 256, 256, 512)
# The motion encoder is narrower, in the released code only.
MOTION_CHANNELS = (16, 32, 64, 128, 256, 256)
KERNELS = ((4, 4), (4, 4), (4, 4), (4, 4), (3, 4), (4, 4))
STRIDES = ((2, 2), (2, 2), (2, 2), (2, 2), (1, 2), (1, 1))
PADDINGS = ((1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (0, 0))


class Stage(NamedTuple):
    """One (transposed) convolution."""

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def convolved(stage: Stage, size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns after a convolution."""
    rows, cols = (
        (n + 2 * p - k) // t + 1
        for n, p, k, t in zip(size, stage.padding, stage.kernel, stage.stride, strict=True)
    )
    return rows, cols


def deconvolved(stage: Stage, size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns after a transposed convolution."""
    rows, cols = (
        (n - 1) * t - 2 * p + k
        for n, p, k, t in zip(size, stage.padding, stage.kernel, stage.stride, strict=True)
    )
    return rows, cols


def first_stage(config: ModelConfig) -> int:
    """Return the index of the first of the six stages in use.

    A 32-row patch skips the first stride-2 stage, so that the innermost size is always 4x4.
    """
    return 0 if config.patch_height == 64 else 1


def encoder_stages(config: ModelConfig, inputs: int, channels: tuple[int, ...]) -> list[Stage]:
    """Return the convolutions of an encoder: [inputs, H, W] down to [C, 1, 1]."""
    stages = []
    for i in range(first_stage(config), len(KERNELS)):
        outputs = config.channels(channels[i])
        stages.append(Stage(inputs, outputs, KERNELS[i], STRIDES[i], PADDINGS[i]))
        inputs = outputs
    return stages


def decoder_stages(config: ModelConfig) -> list[Stage]:
    """Return the transposed convolutions of a decoder: [C, 1, 1] up to [2, H, W]."""
    stages, first, inputs = [], first_stage(config), config.channels(BOTTLENECK)
    for i in range(len(KERNELS) - 1, first - 1, -1):
        outputs = 2 if i == first else config.channels(EMBED_CHANNELS[i - 1])
        stages.append(Stage(inputs, outputs, KERNELS[i], STRIDES[i], PADDINGS[i]))
        inputs = outputs
    return stages


def input_channels(config: ModelConfig) -> int:
    """Return the number of channels of a patch."""
    return PRIOR.stop if config.prior_mask else INPUT_CHANNELS


def completer_channels(config: ModelConfig) -> list[int]:
    """Return the channels that the mask completer reads."""
    # The released code uses horizontal flow instead of the paper's V (its issue 9).
    first = FLOW_X if config.preset == "official" else VISIBLE
    return [first.start, PRIOR.start] if config.prior_mask else [first.start]


def encoders(config: ModelConfig) -> dict[str, list[Stage]]:
    """Return the stages of the three encoders by name."""
    return {
        "embed_encoder": encoder_stages(config, input_channels(config), EMBED_CHANNELS),
        "mask_encoder": encoder_stages(config, len(completer_channels(config)), EMBED_CHANNELS),
        "motion_encoder": encoder_stages(config, 2, MOTION_CHANNELS),
    }


DECODERS = ("mask_decoder", "motion_decoder")


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every parameter of the network, without building it."""
    if config.preset == "online":
        return unet_shapes(config) | shared_shapes(config)
    shapes: dict[str, tuple[int, ...]] = {}

    def affine(name: str, weight: tuple[int, ...], bias: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, (bias,)

    code = config.channels(EMBEDDING)
    for name, stages in encoders(config).items():
        for i, s in enumerate(stages):
            affine(f"{name}.stages.{i}.0", (s.outputs, s.inputs, *s.kernel), s.outputs)
            affine(f"{name}.stages.{i}.1", (s.outputs,), s.outputs)
        affine(f"{name}.linear", (code, stages[-1].outputs), code)
    for name in DECODERS:
        affine(
            f"{name}.linear", (config.channels(BOTTLENECK), 2 * code), config.channels(BOTTLENECK)
        )
        for i, s in enumerate(decoder_stages(config)):
            affine(f"{name}.stages.{i}.0", (s.inputs,), s.inputs)
            affine(f"{name}.stages.{i}.2", (s.inputs, s.outputs, *s.kernel), s.outputs)
    return shapes | shared_shapes(config)


def shared_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the common parameters: memory and evidence."""
    shapes: dict[str, tuple[int, ...]] = {}
    for kind in ("ih", "hh"):
        shapes[f"lstm.weight_{kind}_l0"] = (4 * config.hidden, config.hidden)
        shapes[f"lstm.bias_{kind}_l0"] = (4 * config.hidden,)
    if config.prior_mask:
        shapes["evidence_gain"] = (2,)
    return shapes


def step_flop(config: ModelConfig) -> int:
    """Return multiplications and additions of one track's step."""
    shapes = parameter_shapes(config).values()
    total = sum(2 * math.prod(shape) for shape in shapes if len(shape) == 2)
    if config.preset == "online":
        return total + unet_flop(config)
    for stages in encoders(config).values():
        size = config.patch
        for s in stages:
            size = convolved(s, size)
            total += 2 * s.inputs * s.outputs * math.prod(s.kernel) * math.prod(size)
    for _ in DECODERS:
        size = (1, 1)
        for s in decoder_stages(config):
            total += 2 * s.inputs * s.outputs * math.prod(s.kernel) * math.prod(size)
            size = deconvolved(s, size)
    return total
