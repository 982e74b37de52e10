"""Run the network on torch: CPU or CUDA."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch

from savos_model.backends.interface import (
    BUCKETS,
    Backend,
    BackendError,
    StepOutput,
    check_inputs,
    in_buckets,
)
from savos_model.network.layers import input_channels
from savos_model.network.net import StepState
from savos_model.network.presets import make_net
from savos_model.network.weights import Weights

HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
WARM_UP = 3  # runs before a capture, so that libraries have chosen their kernels and memory


class TorchBackend(Backend):
    """Engine in inference mode, channels last; on CUDA one graph per bucket."""

    name = "torch"

    def __init__(
        self, weights: Weights, device: str, threads: int, reason: str, precision: str = "fp32"
    ) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendError(f"model.device {device}: torch finds no CUDA GPU: set device cpu")
        if device == "cpu":
            torch.set_num_threads(threads)
        self.weights, self.reason, self.device = weights, reason, torch.device(device)
        self.precision = precision
        net = make_net(weights.model)
        net.load_state_dict({k: torch.from_numpy(v) for k, v in weights.arrays.items()})
        self.net = net.eval().to(self.device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._turn = threading.Lock()  # one thread at a time uses a bucket's buffers
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # fp32 must not be reduced to TF32
            self.buckets = {rows: Bucket(self, rows) for rows in BUCKETS}

    def update_weights(self, weights: Weights) -> Callable[[], None]:
        """Implement Backend.update_weights by a copy in place, so that CUDA graphs stay valid."""
        state = {k: torch.from_numpy(v).to(self.device) for k, v in weights.arrays.items()}

        def use() -> None:
            with self._turn:
                self.net.load_state_dict(state)
                self.weights = weights

        return use

    def step(self, patches: np.ndarray, h: np.ndarray, c: np.ndarray) -> StepOutput:
        """Implement Backend.step."""
        check_inputs(patches, h, c, self.model)
        if self.device.type == "cuda":
            with self._turn:
                return in_buckets(lambda *a: self.buckets[len(a[0])](*a), patches, h, c)
        outputs = self.forward(*(torch.from_numpy(a) for a in (patches, h, c)))
        return StepOutput(*(t.numpy() for t in outputs))

    @torch.inference_mode()
    def forward(self, patches: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> list:
        """Run the step on tensors of this device; return the fields of StepOutput, float32."""
        half: contextlib.AbstractContextManager = contextlib.nullcontext()
        if self.precision in HALF:
            # Without its cache, so that a captured graph reads the weights each time.
            half = torch.autocast(self.device.type, HALF[self.precision], cache_enabled=False)
        with half:
            out, state = self.net.step(patches, StepState(h, c))
        return [t.float() for t in (out.mask_logits, out.alpha, out.residual, state.h, state.c)]


class Bucket:
    """The step at one batch size on fixed buffers, as a CUDA graph.

    Inputs are uploaded and outputs downloaded in one copy through pinned memory, and the CPU waits
    once, at the end: patches and states of ten tracks are smaller than the image.
    """

    def __init__(self, backend: TorchBackend, rows: int) -> None:
        model, device = backend.model, backend.device
        cuda = device.type == "cuda"
        sizes = ((rows, input_channels(model), *model.patch), *[(rows, model.hidden)] * 2)
        self.staged = torch.zeros(sum(map(math.prod, sizes)), pin_memory=cuda)
        self.given = self.staged.to(device, copy=True)
        self.slots = [part.numpy() for part in parts(self.staged, sizes)]
        self.inputs = parts(self.given, sizes)
        self.replay: Callable[[], None] = self.run
        self.forward = backend.forward
        if cuda:
            aside = torch.cuda.Stream(device)
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self.run()
            torch.cuda.current_stream(device).wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.device(device), torch.cuda.graph(graph):
                self.run()
            self.replay = graph.replay
        else:
            self.run()
        self.made = torch.empty(self.packed.shape, pin_memory=cuda)

    def run(self) -> None:
        """Compute `packed`, all outputs concatenated, from `inputs`."""
        outputs = self.forward(*self.inputs)
        self.shapes = [tuple(output.shape) for output in outputs]
        self.packed = torch.cat([output.flatten() for output in outputs])

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Return the outputs of `arrays`, which have this bucket's batch size."""
        for slot, array in zip(self.slots, arrays, strict=True):
            np.copyto(slot, array)
        self.given.copy_(self.staged, non_blocking=True)
        self.replay()
        self.made.copy_(self.packed, non_blocking=True)
        if self.packed.is_cuda:
            torch.cuda.current_stream(self.packed.device).synchronize()
        return [part.numpy().copy() for part in parts(self.made, self.shapes)]


def parts(flat: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Return consecutive views of a flat tensor in these shapes."""
    pieces = flat.split([math.prod(shape) for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
