"""The network on ONNX Runtime: the default on a CPU, without torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime

from savos_model.backends.base import StepOutput, check_inputs
from savos_model.backends.onnx_graph import INPUTS, OUTPUTS, build_step
from savos_model.config import ModelConfig
from savos_model.weights import Weights


class OnnxBackend:
    """Builds the step graph from the weights in memory, so that one file holds them."""

    name = "onnx"

    def __init__(self, weights: Weights, threads: int, reason: str) -> None:
        self.threads, self.reason = threads, reason
        self.update_weights(weights)()

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """As Backend.update_weights: a session of its own takes the place of the present one."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Idle threads must sleep: a robot's cores have other work between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        constants: dict[str, np.ndarray] = {}
        graph = build_step(weights, constants).SerializeToString()
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in constants.values()]
        options.add_external_initializers(list(constants), values)
        session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])

        def use() -> None:
            # The session reads the constants where they lie.
            self.weights, self.session, self.constants = weights, session, constants

        return use

    @property
    def model(self) -> ModelConfig:
        """Settings of the network."""
        return self.weights.model

    @property
    def weights_name(self) -> str:
        """Short name of the weights."""
        return self.weights.name

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """As Backend.step."""
        check_inputs(patches, h, c, self.model)
        feeds = dict(zip(INPUTS, (patches, h, c), strict=True))
        return StepOutput(*self.session.run(list(OUTPUTS), feeds))
