"""The choice of an engine by measurement, on clocks that the tests set."""

import functools

import pytest

from savos_model.backends import choose
from savos_model.backends.choose import LEAST_GAIN, RACE_ROUNDS, RACE_S, RACE_TRACKS, faster
from savos_model.backends.interface import BackendError
from savos_model.backends.reference import reference_step
from savos_model.config import BackendConfig, ModelConfig
from tests.model.test_backends import random_weights

WEIGHTS = random_weights(ModelConfig(width=0.0625))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class TimedBackend:
    """Answers rightly; a step takes the next of `times` [s], the last one for ever."""

    def __init__(self, name, clock, *times):
        self.name, self.clock, self.times, self.calls = name, clock, list(times), []
        self.weights, self.reason = WEIGHTS, f"reason of {name}"

    def step(self, patches, h, c):
        self.calls.append(len(patches))
        self.clock.now += self.times.pop(0) if len(self.times) > 1 else self.times[0]
        return reference_step(WEIGHTS, patches[:1], h[:1], c[:1])


def race(onnx, openvino):
    clock = Clock()
    backends = TimedBackend("onnx", clock, *onnx), TimedBackend("openvino", clock, *openvino)
    return faster(*backends, clock), *backends, clock.now


def test_the_faster_engine_is_taken_and_both_figures_are_reported():
    chosen, usual, other, _ = race([0.010], [0.006])
    assert chosen is other
    assert chosen.reason == (
        "auto: measured with 8 tracks, median of a step: onnx 10.0 ms, openvino 6.0 ms"
    )
    assert set(usual.calls) == set(other.calls) == {RACE_TRACKS}
    chosen, usual, other, _ = race([0.006], [0.010])
    assert chosen is usual and "onnx 6.0 ms, openvino 10.0 ms" in chosen.reason


def test_a_gain_within_the_noise_keeps_the_usual_engine():
    assert race([0.010], [0.010 / (LEAST_GAIN - 0.01)])[0].name == "onnx"
    assert race([0.010], [0.010 / (LEAST_GAIN + 0.01)])[0].name == "openvino"


def test_the_median_decides_where_single_steps_are_disturbed():
    chosen, *_ = race([0.010], [0.005, 0.040, 0.005, 0.005])
    assert chosen.name == "openvino" and "openvino 5.0 ms" in chosen.reason


def test_measuring_ends_in_time():
    *_, usual, other, took = race([0.001], [0.001])
    assert len(usual.calls) == len(other.calls) == RACE_ROUNDS
    *_, usual, other, took = race([0.020], [0.020])
    assert RACE_S <= took < RACE_S + 0.041
    *_, usual, other, took = race([1.0], [1.0])
    assert len(usual.calls) == len(other.calls) == 1 and took == 2.0


@pytest.fixture
def engines(monkeypatch):
    """Which engines start, with the time of a step [s], or what they raise."""
    clock = Clock()

    def arrange(**found):
        def start(name, weights, config, reason):
            if isinstance(found[name], Exception):
                raise found[name]
            started.append(name)
            backend = TimedBackend(name, clock, found[name])
            backend.reason = reason
            return backend

        started = []
        packages = {"onnx": "onnxruntime"}
        present = {packages.get(name, name) for name in found} | {"onnx"}
        monkeypatch.setattr(choose, "installed", lambda module: module in present)
        monkeypatch.setattr(choose, "start", start)
        monkeypatch.setattr(choose, "load_weights", lambda name: WEIGHTS)
        monkeypatch.setattr(choose, "self_test", lambda *a: None)
        monkeypatch.setattr(choose, "faster", functools.partial(faster, clock=clock))
        return started

    return arrange


def test_start_up_measures_both_where_both_are_installed(engines):
    started = engines(onnx=0.010, openvino=0.005, torch=0.001)
    backend = choose.make_backend(BackendConfig(), measure=True)
    assert backend.name == "openvino" and "onnx 10.0 ms, openvino 5.0 ms" in backend.reason
    assert started == ["onnx", "openvino"]


def test_without_measuring_the_engine_does_not_depend_on_a_clock(engines):
    started = engines(onnx=0.010, openvino=0.005)
    assert choose.make_backend(BackendConfig()).name == "onnx"
    assert started == ["onnx"]


def test_a_named_engine_is_not_measured(engines):
    started = engines(onnx=0.010, openvino=0.005)
    backend = choose.make_backend(BackendConfig(backend="onnx"), measure=True)
    assert (backend.name, started) == ("onnx", ["onnx"])


def test_bf16_takes_openvino_before_torch_without_measuring(engines):
    started = engines(onnx=0.010, openvino=0.020, torch=0.005)
    backend = choose.make_backend(BackendConfig(precision="bf16"), measure=True)
    assert (backend.name, started) == ("openvino", ["openvino"])
    engines(onnx=0.010, openvino=BackendError("no AMX"), torch=0.005)
    backend = choose.make_backend(BackendConfig(precision="bf16"), measure=True)
    assert backend.name == "torch" and backend.reason.endswith("; not openvino: no AMX")


@pytest.mark.parametrize(("broken", "kept"), [("openvino", "onnx"), ("onnx", "openvino")])
def test_one_that_does_not_start_is_reported_and_the_other_taken(engines, broken, kept):
    engines(**{kept: 0.010, broken: OSError("library is missing"), "torch": 0.001})
    backend = choose.make_backend(BackendConfig(), measure=True)
    assert backend.name == kept
    assert backend.reason.endswith(f"; not {broken}: library is missing")


def test_an_absent_package_is_named_with_its_remedy(engines):
    engines(onnx=0.010)
    with pytest.raises(BackendError, match="^model.backend openvino .*pip install openvino$"):
        choose.make_backend(BackendConfig(backend="openvino"))
    assert choose.make_backend(BackendConfig(), measure=True).name == "onnx"
    with pytest.raises(BackendError, match="pip install torch$"):
        choose.make_backend(BackendConfig(precision="bf16"))
