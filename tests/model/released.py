"""The reference of the released network: its weights by rule, its names, its arrays."""

import zlib
from pathlib import Path

import numpy as np
import torch

from savos_model.network.layers import parameter_shapes
from savos_model.network.net import SavosNet
from savos_model.network.released.keys import OFFICIAL_MODEL, from_official
from tests.model.released_geometry import Clip


def reference_arrays(shared_data: Path) -> dict[str, np.ndarray]:
    with np.load(shared_data / "official_reference" / "reference.npz") as file:
        return dict(file)


def reference_net(reference: dict[str, np.ndarray], preset: str = "official") -> SavosNet:
    weights = from_official(released_state(int(reference["seed"])), "reference", preset)
    net = SavosNet(weights.model).eval()
    net.load_state_dict({k: torch.from_numpy(v) for k, v in weights.arrays.items()})
    return net


def reference_tensor(reference: dict[str, np.ndarray], key: str) -> torch.Tensor:
    return torch.from_numpy(reference[key]).float()


def reference_clip(reference: dict[str, np.ndarray]) -> Clip:
    row0, row1, col0, col1 = reference_tensor(reference, "boxes").unbind(-1)  # inclusive
    return Clip(
        reference_tensor(reference, "patches").permute(0, 1, 4, 2, 3),
        reference_tensor(reference, "visible"),
        torch.stack((col0, row0, col1 + 1, row1 + 1), -1),
        reference_tensor(reference, "flow").permute(0, 1, 4, 2, 3),
        reference_tensor(reference, "flow_backward").permute(0, 1, 4, 2, 3),
    )


def released_state(seed: int) -> dict[str, np.ndarray]:
    """The fixed weights of the reference, by the rule in its README, under the released names."""
    state = {}
    for ours, shape in parameter_shapes(OFFICIAL_MODEL).items():
        key = official_name(ours)
        rng = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
        if len(shape) == 1:
            value = rng.uniform(-0.1, 0.1, shape) + key.endswith("weight")
        else:
            value = rng.uniform(-1, 1, shape) * np.sqrt(3 / np.prod(shape[1:]))
        state[key] = value.astype(np.float32)
    return state


def official_name(ours: str) -> str:
    """Inverse of `our_name`, by trying the released spellings."""
    part, _, rest = ours.partition(".")
    stem = {
        "embed_encoder": "st_encoder.encoder",
        "lstm": "st_encoder.lstm",
        "mask_encoder": "mask_decoder.down_networks",
        "mask_decoder": "mask_decoder.up_networks",
        "motion_encoder": "flow_decoder.last_flow_encoder",
        "motion_decoder": "flow_decoder.flow_decoder",
    }[part]
    linear = {
        "embed_encoder": "st_encoder.encoder.6.1",
        "mask_encoder": "mask_decoder.last_vm_map.1",
        "mask_decoder": "mask_decoder.fm_deconv_map.0",
        "motion_encoder": "flow_decoder.last_flow_encoder.6.1",
        "motion_decoder": "flow_decoder.flow_decoder.0.0",
    }
    if rest.startswith("linear."):
        return f"{linear[part]}.{rest.removeprefix('linear.')}"
    if part == "lstm":
        return f"{stem}.{rest}"
    _, index, layer, kind = rest.split(".")
    shift = 1 if part == "motion_decoder" else 0
    return f"{stem}.{int(index) + shift}.{layer}.{kind}"
