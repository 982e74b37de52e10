from functools import partial

import numpy as np
import pytest

from savos_model.backends import onnx_blocked
from savos_model.backends.onnx import OnnxBackend
from savos_model.backends.onnx_blocked import (
    BlockedLayers,
    best_layers,
    block_size,
    blocked_kernel,
    fits,
)
from savos_model.backends.onnx_graph import Layers, build_step
from savos_model.backends.reference import convolve, deviation, random_inputs, reference_step
from savos_model.config import ModelConfig
from tests.model.test_backends import random_weights
from tests.presets import PAPER_SMALL


@pytest.fixture
def probed():
    """Forgets what was found out about this processor, before and after."""
    block_size.cache_clear()
    yield
    block_size.cache_clear()


def operators(weights, **settings):
    return {node.domain for node in build_step(weights, **settings).graph.node}


@pytest.mark.parametrize("tracks", [1, 3])
@pytest.mark.parametrize("rows", [32, 64])
def test_blocked_layers_compute_the_same_network(tracks, rows):
    weights = random_weights(ModelConfig(patch_height=rows, patch_width=2 * rows))
    if best_layers(weights.model) is Layers:
        pytest.skip("this ONNX Runtime has no blocked layout on this processor")
    assert onnx_blocked.DOMAIN in operators(weights, layers=best_layers(weights.model))
    inputs = random_inputs(weights, tracks)
    off = deviation(OnnxBackend(weights, 1, "").step(*inputs), reference_step(weights, *inputs))
    assert max(off.values()) < 1e-5, off


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("inputs", [3, 32])
def test_kernels_are_in_the_order_of_blocked_maps(block, inputs):
    rng = np.random.default_rng(0)
    kernel = rng.random((32, inputs, 3, 3), np.float32)
    pixels = rng.random((1, inputs, 3, 3), np.float32)  # one position of the kernel
    want = convolve(pixels, kernel, np.zeros(32, np.float32), (1, 1), (0, 0)).ravel()
    inner = block if inputs > block else 1
    maps = pixels.reshape(inputs // inner, inner, 9).transpose(0, 2, 1).ravel()
    parts = blocked_kernel(kernel, block).reshape(32 // block, -1, block)
    np.testing.assert_allclose(np.einsum("k,okb->ob", maps, parts).ravel(), want, rtol=1e-5)


def test_channels_must_fill_blocks():
    assert fits(ModelConfig(), 16)
    assert fits(ModelConfig(width=0.25), 8) and not fits(ModelConfig(width=0.25), 16)
    assert not fits(ModelConfig(width=0.25, **PAPER_SMALL), 8)


def test_exports_and_other_engines_keep_standard_operators():
    assert operators(random_weights(ModelConfig(width=0.25))) == {""}


def test_a_layout_that_differs_is_not_used(probed, monkeypatch):
    monkeypatch.setattr(onnx_blocked, "blocked_kernel", lambda kernel, block: kernel)
    assert block_size() == 0
    assert best_layers(ModelConfig()) is Layers


def test_missing_operators_are_no_error(probed, monkeypatch):
    monkeypatch.setattr(onnx_blocked, "DOMAIN", "com.example")
    assert block_size() == 0


def test_layers_know_their_block():
    made = best_layers(ModelConfig())
    block = block_size()
    assert made is Layers if not block else isinstance(made, partial)
    if block:
        assert made.func is BlockedLayers and made.keywords == {"block": block}
