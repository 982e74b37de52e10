# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses

import numpy as np
import pytest
from failing import refused

torch = pytest.importorskip("torch")

from tiny_store import tiny_run, write_store

import training.adapt.calibrate
from savos_model.config import BackendConfig
from savos_model.network.presets import make_net
from savos_model.network.weights import load_weights, save_weights
from savos_model.results import read_results
from savos_model.stream.video import described
from training.adapt.calibrate import (
    Hidden,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from training.learn.augment_config import AugmentConfig
from training.learn.checkpoint import Reached
from training.train import save_best


def test_too_few_windows_are_reported(tmp_path):
    store = write_store(tmp_path / "store")  # clips of six frames, windows have twelve
    with refused("data"):
        calibrate(BackendConfig().weights, [store], tmp_path / "out.safetensors", "tiny")


def test_clips_are_held_out_and_cropped_as_while_training(tmp_path, monkeypatch):
    store, used = write_store(tmp_path / "store"), []

    def noted(net, clips, places, length, augment):
        used.append(([clip.name for clip in clips], augment.enlarge))
        return Hidden(np.array([1.0, -1.0]), np.array([True, False]))

    monkeypatch.setattr(training.adapt.calibrate, "hidden_pixels", noted)
    run = dataclasses.replace(tiny_run(store), augment=AugmentConfig(enlarge=1.5))
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, held_out=2, min_px=1))
    path, out = tmp_path / "best.safetensors", tmp_path / "out.safetensors"
    save_best(path, run, make_net(run.model).state_dict(), Reached(6, 0.5))
    done = calibrate(str(path), [store], out, "done", tmp_path / "out.json", length=3)
    metrics = read_results(tmp_path / "out.json")["metrics"]
    assert metrics["model"] == described(done) == described(load_weights(str(out)))
    save_weights(path, dataclasses.replace(load_weights(str(path)), info={}))
    calibrate(str(path), [store], out, "done", length=3)
    assert used == [(["clip0", "clip2"], 1.5), (["clip0"], AugmentConfig().enlarge)]


def test_temperature_is_recovered_and_calibrates():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 200_000)
    truth = rng.random(len(honest)) < 1 / (1 + np.exp(-honest))
    overconfident = Hidden(honest * 2.5, truth)
    temperature = fit_temperature(overconfident)
    assert temperature == pytest.approx(2.5, rel=0.03)
    after, before = (reliability(overconfident, t) for t in (temperature, 1.0))
    assert sum(part.share for part in after) == pytest.approx(1)
    assert expected_calibration_error(after) < 0.01
    assert expected_calibration_error(before) > 0.05
