import threading
import time

import pytest
from failing import fails

from savos_model.config import ModelConfig
from savos_model.network.weights import Weights, WeightsError
from savos_model.stream.stream import AmodalStream
from savos_ros.messages import settings
from savos_ros.node.engine import Engine, crop_advice, load_engine, progress
from tests.tiny_scene import EchoBackend


def test_progress_reports_start_progress_and_end():
    said = []
    with progress("loading", said.append, every_s=0.05):
        time.sleep(0.2)
    assert said[0] == "loading ..."
    assert said[-1].startswith("loading: done in 0.")
    assert 2 <= len([line for line in said if "in progress for" in line]) <= 4


def test_progress_ends_with_an_error_too():
    before, said = threading.active_count(), []
    with pytest.raises(KeyError), progress("loading", said.append):
        raise KeyError
    assert threading.active_count() == before
    assert said == ["loading ..."], "what failed is not done"


def test_weights_of_other_crops_are_reported_with_the_setting():
    def engine(info, **parameters):
        backend = EchoBackend()
        backend.weights = Weights("gum", ModelConfig(), {}, info)
        return Engine(AmodalStream(backend, settings.build(parameters).stream), "echo", "")

    text = crop_advice(engine({"enlarge": "1.25"}))
    assert text.startswith("tracks.enlarge is 2.0") and text.endswith("set it to 1.25")
    assert not crop_advice(engine({"enlarge": "1.25"}, **{"tracks.enlarge": 1.25}))
    assert not crop_advice(engine({"enlarge": "2.0"})) and not crop_advice(engine({}))


def test_missing_weights_are_named():
    wanted = settings.build({"model.weights": "/nowhere/none.safetensors"})
    with fails(WeightsError, "missing", "none.safetensors"):
        load_engine(wanted)
