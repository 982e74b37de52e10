import dataclasses
import json
import math
import os
import re
import struct

import numpy as np
import pytest
from failing import fails
from safetensors.numpy import save_file

from savos_model.config import BackendConfig, ModelConfig, TracksConfig
from savos_model.network.layers import parameter_shapes
from savos_model.network.weights import (
    WeightsError,
    find_weights,
    load_weights,
    save_weights,
    shipped_weights,
)
from tests.full_disk import full_disk
from tests.model.test_backends import random_weights

TINY = ModelConfig(width=0.0625)


def test_round_trip_keeps_everything(tmp_path):
    weights = dataclasses.replace(random_weights(TINY), info={"temperature": "1.5", "seed": "7"})
    path = tmp_path / "tiny.safetensors"
    save_weights(path, weights, "float32")
    again = load_weights(str(path))
    assert (again.name, again.model, again.info) == (weights.name, weights.model, weights.info)
    assert again.temperature == 1.5
    for key, value in weights.arrays.items():
        np.testing.assert_array_equal(again.arrays[key], value)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_a_full_disk_leaves_what_was_there(tmp_path):
    weights, path = random_weights(TINY), tmp_path / "tiny.safetensors"
    save_weights(path, weights)
    other = dataclasses.replace(weights, name="other")
    with (
        full_disk(1000),
        pytest.raises(OSError, match=re.escape(str(path)) + ".*large"),
    ):
        save_weights(path, other)
    assert load_weights(str(path)).name == weights.name != "other"
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_shipped_default_loads_and_belongs_to_the_default_settings():
    name = BackendConfig().weights
    assert name in shipped_weights()
    weights = load_weights(name)
    assert weights.name == name
    assert float(weights.info["enlarge"]) == TracksConfig().enlarge
    assert 0.5 < weights.temperature < 3
    assert os.stat(find_weights(name)).st_size < 12e6


def test_missing_weights_name_what_there_is():
    with fails(WeightsError, "missing", "model.weights", "'nope'", BackendConfig().weights):
        load_weights("nope")


def test_a_released_checkpoint_names_the_command_that_converts_it(tmp_path):
    path = tmp_path / "released.pt"
    path.write_bytes(b"x")
    with fails(WeightsError, "form", f"savos weights import {path} --out released."):
        load_weights(str(path))


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", b"\xff" * 64])
def test_foreign_bytes_are_refused(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with fails(WeightsError, "unreadable", str(path)):
        load_weights(str(path))


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_weights(path, random_weights(TINY))
    path.write_bytes(path.read_bytes()[:-100])
    with fails(WeightsError, "unreadable", str(path)):
        load_weights(str(path))


def test_weights_of_another_shape_are_refused_by_name(tmp_path):
    path = tmp_path / "other.safetensors"
    arrays = random_weights(TINY).arrays
    save_file(arrays, path, {"model": json.dumps(dataclasses.asdict(ModelConfig(width=0.125)))})
    with fails(WeightsError, "shape", str(path), "width 0.125"):
        load_weights(str(path))


@pytest.mark.parametrize(
    ("metadata", "kind", "found"),
    [
        ({}, "no_settings", "savos weights import"),
        ({"model": "{"}, "settings", ""),
        ({"model": '{"width": -1}'}, "settings", "width"),
        ({"model": '{"depth": 3}'}, "settings", "depth"),
        ({"model": f'{{"width": 1{"0" * 400}}}'}, "settings", ""),
    ],
)
def test_missing_or_wrong_settings_are_refused(tmp_path, metadata, kind, found):
    path = tmp_path / "odd.safetensors"
    save_file(random_weights(TINY).arrays, path, metadata or None)
    with fails(WeightsError, kind, str(path), found):
        load_weights(str(path))


def test_values_that_are_not_finite_are_refused(tmp_path):
    weights = random_weights(TINY)
    weights.arrays["code.bias"][0] = np.nan
    path = tmp_path / "nan.safetensors"
    save_weights(path, weights, "float32")
    with fails(WeightsError, "values", "code.bias"):
        load_weights(str(path))


def test_foreign_tensors_are_refused_by_their_header(tmp_path, monkeypatch):
    shapes, path = parameter_shapes(TINY), tmp_path / "odd.safetensors"

    def write(kind, size, **other):
        entries, end = {}, 0
        for key, shape in (shapes | other).items():
            bytes_ = size * math.prod(shape)
            entries[key] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + bytes_]}
            end += bytes_
        entries["__metadata__"] = {"model": json.dumps(dataclasses.asdict(TINY))}
        head = json.dumps(entries).encode()
        path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(end))

    write("F64", 8)
    assert load_weights(str(path)).arrays["evidence_gain"].dtype == np.float32
    for kind, size in (("F8_E4M3", 1), ("BF16", 2), ("I64", 8)):
        write(kind, size)
        with fails(WeightsError, "type", "F16, F32, F64", kind):
            load_weights(str(path))
    write("F8_E4M3", 1, more=(10_000_000,))
    monkeypatch.setattr(np, "isfinite", lambda array: pytest.fail("read"))
    with fails(WeightsError, "shape", "more must have shape None"):
        load_weights(str(path))


def test_weights_can_be_read_by_others(tmp_path):
    before = os.umask(0o022)
    try:
        save_weights(tmp_path / "w.safetensors", random_weights(TINY))
    finally:
        os.umask(before)
    assert os.stat(tmp_path / "w.safetensors").st_mode & 0o777 == 0o644
