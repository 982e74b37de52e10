"""The network on torch: CPU or CUDA."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from savos_model.backends.base import BackendError, StepOutput, check_inputs
from savos_model.config import ModelConfig
from savos_model.network import SavosNet, StepState
from savos_model.weights import Weights


class TorchBackend:
    """Runs SavosNet.step in inference mode, channels last."""

    name = "torch"

    def __init__(self, weights: Weights, device: str, threads: int, reason: str) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendError(
                f"model.device {device}: torch sees no CUDA GPU here: set device cpu"
            )
        if device == "cpu":
            torch.set_num_threads(threads)
        self.weights, self.reason, self.device = weights, reason, torch.device(device)
        net = SavosNet(weights.model)
        net.load_state_dict({k: torch.from_numpy(v) for k, v in weights.arrays.items()})
        self.net = net.eval().to(self.device, memory_format=torch.channels_last)

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """As Backend.update_weights; copied in place, so that CUDA graphs stay valid."""
        state = {k: torch.from_numpy(v).to(self.device) for k, v in weights.arrays.items()}

        def use() -> None:
            self.net.load_state_dict(state)
            self.weights = weights

        return use

    @property
    def model(self) -> ModelConfig:
        """Settings of the network."""
        return self.weights.model

    @property
    def weights_name(self) -> str:
        """Short name of the weights."""
        return self.weights.name

    @torch.inference_mode()
    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """As Backend.step."""
        check_inputs(patches, h, c, self.model)
        inputs, h_in, c_in = (torch.from_numpy(a).to(self.device) for a in (patches, h, c))
        out, state = self.net.step(inputs, StepState(h_in, c_in))
        tensors = (out.mask_logits, out.alpha, out.residual, state.h, state.c)
        return StepOutput(*(t.cpu().numpy() for t in tensors))
