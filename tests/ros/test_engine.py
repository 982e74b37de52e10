import threading
import time

import pytest

from savos_model.weights import WeightsError
from savos_ros import settings
from savos_ros.engine import load_engine, progress


def test_progress_says_begin_life_and_end():
    said = []
    with progress("loading", said.append, every_s=0.05):
        time.sleep(0.2)
    assert said[0] == "loading ..."
    assert said[-1].startswith("loading: done in 0.")
    assert 2 <= len([line for line in said if "still at it after" in line]) <= 4


def test_progress_ends_with_an_error_too():
    before, said = threading.active_count(), []
    with pytest.raises(KeyError), progress("loading", said.append):
        raise KeyError
    assert threading.active_count() == before
    assert said == ["loading ..."], "what failed is not done"


def test_missing_weights_are_named():
    wanted = settings.build({"model.weights": "/nowhere/none.safetensors"})
    with pytest.raises(WeightsError, match="none.safetensors"):
        load_engine(wanted)
