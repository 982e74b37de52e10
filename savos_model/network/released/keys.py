"""Map parameter names of the released checkpoint to ours."""

import re
from collections.abc import Mapping

import numpy as np

from savos_model.config import ModelConfig
from savos_model.network.weights import Weights, WeightsError, check_shapes

OFFICIAL_MODEL = ModelConfig(
    width=1.0,
    patch_height=64,
    patch_width=128,
    preset="official",
    occluder_hint=False,
    prior_mask=False,
)
# `st_encoder`, `mask_decoder.down_networks` and `flow_decoder.last_flow_encoder` are the encoders
# (docs/departures.md row 38).
RULES = (
    (r"st_encoder\.encoder\.([0-5])\.([01])\.", r"embed_encoder.stages.\1.\2."),
    (r"st_encoder\.encoder\.6\.1\.", "embed_encoder.linear."),
    (r"st_encoder\.lstm\.", "lstm."),
    (r"mask_decoder\.down_networks\.([0-5])\.([01])\.", r"mask_encoder.stages.\1.\2."),
    (r"mask_decoder\.last_vm_map\.1\.", "mask_encoder.linear."),
    (r"mask_decoder\.fm_deconv_map\.0\.", "mask_decoder.linear."),
    (r"mask_decoder\.up_networks\.([0-5])\.([02])\.", r"mask_decoder.stages.\1.\2."),
    (r"flow_decoder\.last_flow_encoder\.([0-5])\.([01])\.", r"motion_encoder.stages.\1.\2."),
    (r"flow_decoder\.last_flow_encoder\.6\.1\.", "motion_encoder.linear."),
    (r"flow_decoder\.flow_decoder\.0\.0\.", "motion_decoder.linear."),
    (
        r"flow_decoder\.flow_decoder\.([1-6])\.([02])\.",
        lambda m: f"motion_decoder.stages.{int(m[1]) - 1}.{m[2]}.",
    ),
)


def our_name(official_key: str) -> str:
    """Return our name of a parameter in the released state dict, without `module.`.

    Raises WeightsError: the key is not of the released network.
    """
    key = official_key.removeprefix("module.")
    for pattern, ours in RULES:
        name, hits = re.subn("^" + pattern, ours, key)
        if hits:
            return name
    raise WeightsError(
        f"model.weights: {official_key!r} is not a parameter of the released network",
        "names",
    )


def from_official(state: Mapping[str, np.ndarray], name: str, preset: str = "official") -> Weights:
    """Return weights from the released state dict (name -> float array).

    Raises WeightsError: a key or a shape does not belong to the released network.
    """
    model = ModelConfig(**{**OFFICIAL_MODEL.__dict__, "preset": preset})
    arrays = {our_name(key): np.asarray(a, np.float32) for key, a in state.items()}
    check_shapes(arrays, model, name)
    return Weights(name, model, arrays, {"source": "released SaVos checkpoint"})
