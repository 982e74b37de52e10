import os
import subprocess
import sys
import threading

import numpy as np
import pytest

openvino = pytest.importorskip(
    "savos_model.backends.openvino", reason="openvino is not installed: pip install openvino"
)

from savos_model.backends.choose import candidates, make_backend  # noqa: E402
from savos_model.backends.interface import BackendError, StepOutput  # noqa: E402
from savos_model.backends.openvino import OpenvinoBackend  # noqa: E402
from savos_model.backends.reference import (  # noqa: E402
    TOLERANCE,
    deviation,
    random_inputs,
    reference_step,
)
from savos_model.config import BackendConfig, ModelConfig  # noqa: E402
from savos_ros.node.engine import background  # noqa: E402
from tests.model.test_backends import random_weights  # noqa: E402
from tests.presets import PAPER_PATCH, PAPER_SMALL  # noqa: E402

pytestmark = pytest.mark.slow  # each builds an engine

TINY = ModelConfig(width=0.125, patch_height=32, patch_width=64)
GROUPS = ModelConfig(width=0.5, patch_height=32, patch_width=64)  # norms of several groups
PAPER = ModelConfig(width=0.125, **PAPER_SMALL)
OFFICIAL = ModelConfig(
    width=0.125, preset="official", **PAPER_PATCH, occluder_hint=False, prior_mask=False
)
bf16_only = pytest.mark.skipif(
    not openvino.has_bf16(openvino.openvino.Core()),
    reason="this processor has neither AMX nor AVX512-BF16",
)


@pytest.fixture(params=["fp32", pytest.param("bf16", marks=bf16_only)])
def precision(request):
    return request.param


def worst(got, want):
    return max(deviation(got, want).values())


@pytest.mark.parametrize("model", [TINY, GROUPS, PAPER, OFFICIAL])
def test_step_is_that_of_the_reference(model, precision):
    weights = random_weights(model)
    backend = OpenvinoBackend(weights, 1, "", precision)
    inputs = random_inputs(weights, 3)
    got = backend.step(*inputs)
    assert worst(got, reference_step(weights, *inputs)) <= TOLERANCE[precision]
    assert {array.dtype for array in got} == {np.dtype("float32")}
    if precision == "fp32":
        assert worst(got, reference_step(weights, *inputs)) < 1e-5


def test_shipped_weights_pass_the_self_test_and_carry_the_state(precision):
    config = BackendConfig(backend="openvino", precision=precision, threads=1)
    backend = make_backend(config)
    assert (backend.name, backend.reason) == ("openvino", "chosen by model.backend")
    patches, h, c = random_inputs(backend.weights, 2)
    want_h, want_c = h, c
    for _ in range(4):
        got = backend.step(patches, h, c)
        want = reference_step(backend.weights, patches, want_h, want_c)
        assert worst(got, want) <= TOLERANCE[precision]
        h, c, want_h, want_c = got.h, got.c, want.h, want.c


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_tracks_together_or_one_by_one(precision, threads):
    weights = random_weights(TINY)
    backend = OpenvinoBackend(weights, threads, "", precision)
    assert backend.request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") <= threads
    rng = np.random.default_rng(2)
    inputs = [rng.permutation(array) for array in random_inputs(weights, 64)]
    single = [backend.step(*(a[k : k + 1] for a in inputs)) for k in range(64)]
    alone = StepOutput(*map(np.concatenate, zip(*single, strict=True)))
    for tracks in (1, 2, 9, 33, 64):  # some are new to the engine, and fewer follow more
        got = backend.step(*(array[:tracks] for array in inputs))
        want = StepOutput(*(array[:tracks] for array in alone))
        assert worst(got, want) <= (1e-5 if precision == "fp32" else TOLERANCE["bf16"]), tracks


def test_inputs_may_be_views_and_stay_as_they_are():
    weights = random_weights(TINY)
    backend = OpenvinoBackend(weights, 1, "")
    patches, h, c = random_inputs(weights, 3)
    want = backend.step(patches, h, c)
    odd = np.asfortranarray(patches), np.concatenate((h, h), 1)[:, : h.shape[1]], c.copy()
    odd[2].setflags(write=False)
    for got, expected in zip(backend.step(*odd), want, strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(odd[0], patches)
    again = backend.step(0 * patches, h, c)  # must not write into earlier results
    assert np.abs(again.alpha - want.alpha).max() > 1e-3


@bf16_only
@pytest.mark.parametrize("model", [GROUPS, PAPER])
def test_bf16_computes_every_convolution_and_product_in_bf16(model):
    weights = random_weights(model)
    backend = OpenvinoBackend(weights, 1, "", "bf16")
    heavy = []
    for node in backend.request.get_compiled_model().get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind, precision = (info[key].astype(str) for key in ("layerType", "runtimePrecision"))
        if kind in ("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected"):
            heavy.append(precision)
    assert len(heavy) > 10 and set(heavy) == {"bf16"}
    inputs = random_inputs(weights, 2)
    off = worst(backend.step(*inputs), reference_step(weights, *inputs))
    assert off > 1e-5  # it is not fp32


@pytest.mark.parametrize(("limit", "offered"), [("avx2", False), ("AVX512_CORE_AMX", True)])
def test_bf16_is_not_offered_where_onednn_is_limited(monkeypatch, limit, offered):
    class Core:
        def get_property(self, device, name):
            return ["FP32", "BF16"]

    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert openvino.has_bf16(Core()) is offered


def test_bf16_is_refused_where_the_processor_lacks_it(monkeypatch):
    monkeypatch.setattr(openvino, "has_bf16", lambda core: False)
    with pytest.raises(BackendError, match="model.precision bf16 on openvino .*fp32$"):
        make_backend(BackendConfig(backend="openvino", precision="bf16"))


def test_weights_are_swapped_other_engine_running_steps():
    first, second = random_weights(TINY, 0), random_weights(TINY, 1)
    backend = OpenvinoBackend(first, 1, "")
    inputs = random_inputs(first, 2)
    wanted = [OpenvinoBackend(weights, 1, "").step(*inputs) for weights in (first, second)]
    answers, stop = [], threading.Event()

    def run():
        while not stop.is_set():
            answers.append(backend.step(*inputs))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    backend.update_weights(second)()
    last = backend.step(*inputs)
    stop.set()
    for thread in threads:
        thread.join()
    kinds = [[worst(answer, want) < 1e-6 for want in wanted] for answer in answers]
    assert len(answers) > 2 and all(sum(kind) == 1 for kind in kinds)
    assert worst(last, wanted[1]) < 1e-6 and kinds[0] == [True, False]


def test_an_engine_for_a_thread_other_engine_the_stream_is_another_one():
    weights, other = random_weights(TINY, 0), random_weights(TINY, 1)
    backend = OpenvinoBackend(weights, 2, "why")
    other_engine = background(backend, other)
    assert type(other_engine) is OpenvinoBackend and other_engine is not backend
    assert (other_engine.settings["INFERENCE_NUM_THREADS"], other_engine.weights) == (1, other)


def test_nothing_is_reported_to_openvinos_maker(tmp_path):
    code = (
        "import sys; import savos_model.backends.openvino; "
        "print([n for n, m in sys.modules.items() if m and 'openvino_telemetry' in n])"
    )
    env = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout == "[]\n"
    assert not list(tmp_path.iterdir())  # a consent or client file


def test_gpus_are_refused():
    with pytest.raises(BackendError, match="^model.backend openvino .*model.device cpu$"):
        candidates(BackendConfig(backend="openvino", device="cuda"))
    assert "openvino" not in [name for name, _ in candidates(BackendConfig(device="cuda"))]


def test_bf16_is_first_tried_on_openvino():
    names = [name for name, _ in candidates(BackendConfig(precision="bf16"))]
    assert names[0] == "openvino" and "onnx" not in names
