from collections import Counter

import numpy as np
import pytest

graph = pytest.importorskip(
    "savos_model.backends.openvino_graph", reason="openvino is not installed: pip install openvino"
)

from savos_model.backends.onnx_graph import build_step  # noqa: E402
from savos_model.config import ModelConfig  # noqa: E402
from tests.model.test_backends import random_weights  # noqa: E402
from tests.presets import PAPER_SMALL  # noqa: E402

opset, CHANNELS, ROWS, COLUMNS = graph.opset, 8, 4, 6
VALUES = np.random.default_rng(0).random((3, CHANNELS, ROWS, COLUMNS), np.float32)


def model(build):
    """A model of one input [N, CHANNELS, ROWS, COLUMNS]."""
    x = opset.parameter([-1, CHANNELS, ROWS, COLUMNS], np.float32)
    return graph.openvino.Model([build(x)], [x], "made")


def answer(made):
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return graph.openvino.Core().compile_model(made, "CPU", settings)([VALUES])[0].copy()


def kinds(made):
    return Counter(map(graph.kind, made.get_ops()))


def rewritten(build, change):
    """Kinds of operators after a rewrite that must not change the answer by more than rounding."""
    made = model(build)
    before = answer(made)
    change(made)
    np.testing.assert_allclose(answer(made), before, atol=1e-5)
    return kinds(made)


def normed(x, scale, bias):
    """GroupNorm in two groups, as the graph writes it."""
    parts = opset.reshape(x, np.int64([0, 2, -1]), True)
    parts = opset.mvn(parts, np.int64([2]), True, 1e-5, "inside_sqrt")
    whole = opset.reshape(parts, np.int64([0, CHANNELS, ROWS, COLUMNS]), True)
    return opset.relu(opset.add(opset.multiply(whole, scale), bias))


def test_pixels_are_gathered():
    found = rewritten(lambda x: opset.depth_to_space(x, "depth_first", 2), graph.gather_pixels)
    assert (found["DepthToSpace"], found["Gather"]) == (0, 1)


def test_another_order_of_pixels_is_left_alone():
    found = rewritten(lambda x: opset.depth_to_space(x, "blocks_first", 2), graph.gather_pixels)
    assert (found["DepthToSpace"], found["Gather"]) == (1, 0)


def test_affine_after_a_grouped_norm_becomes_a_depthwise_convolution():
    scale, bias = np.random.default_rng(1).normal(size=(2, CHANNELS, 1, 1)).astype(np.float32)
    found = rewritten(lambda x: normed(x, scale, bias), graph.convolve_affine)
    assert (found["GroupConvolution"], found["Multiply"], found["Add"]) == (1, 0, 1)


def test_other_products_and_sums_are_left_alone():
    one = np.ones((1, 1, 1), np.float32)
    found = rewritten(lambda x: normed(x, one, one), graph.convolve_affine)
    assert found["GroupConvolution"] == 0
    full = np.ones((CHANNELS, ROWS, COLUMNS), np.float32)
    found = rewritten(lambda x: opset.add(opset.multiply(x, full), x), graph.convolve_affine)
    assert found["GroupConvolution"] == 0


def test_constants_that_repeat_are_shrunk():
    scale = np.random.default_rng(1).random((CHANNELS, 1, 1), np.float32)
    made = model(lambda x: opset.multiply(x, np.broadcast_to(scale, VALUES.shape[1:]).copy()))
    before = answer(made)
    graph.shrink_constants(made)
    (constant,) = [node for node in made.get_ops() if graph.kind(node) == "Constant"]
    assert constant.data.shape == (CHANNELS, 1, 1)
    np.testing.assert_array_equal(answer(made), before)


def test_norms_of_the_network_are_affine_per_channel():
    weights = random_weights(ModelConfig(width=0.125, **PAPER_SMALL))
    made = graph.openvino.Core().read_model(build_step(weights).SerializeToString())

    def spread():
        values = [node.data for node in made.get_ops() if graph.kind(node) == "Constant"]
        return [v for v in values if v.ndim == 3 and v.shape[1] > 1 and not np.ptp(v, (1, 2)).any()]

    assert spread()
    graph.rewrite(made, "fp32")
    assert not spread()


def test_all_of_the_unets_norms_in_groups_and_its_shuffle_are_known():
    weights = random_weights(ModelConfig(patch_height=32, patch_width=64))
    made = graph.openvino.Core().read_model(build_step(weights).SerializeToString())
    graph.rewrite(made, "fp32")
    norms = sum(name.endswith("norm.weight") and len(v) > 16 for name, v in weights.arrays.items())
    assert (kinds(made)["GroupConvolution"], kinds(made)["DepthToSpace"]) == (norms, 0)
    assert norms > 5


def test_a_transposed_convolution_at_the_end_is_followed_by_one_that_runs_low():
    kernel = np.random.default_rng(1).random((CHANNELS, 2, 2, 2), np.float32)

    def build(x):
        low = opset.convolution_backprop_data(x, kernel, [2, 2])
        return opset.tanh(opset.convolution_backprop_data(low, kernel[:2], [2, 2]))

    found = rewritten(build, graph.lower_decoders)
    assert (found["ConvolutionBackpropData"], found["Convolution"]) == (2, 1)
