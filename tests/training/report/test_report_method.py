# ruff: noqa: E402  (nothing below imports where matplotlib is absent)
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from savos_model.config import BackendConfig, ModelConfig
from savos_model.network.weights import save_weights
from savos_model.stream.video import Online, Setup
from tests.failing import refused
from tests.model.scenes import crossing, instance, rectangle
from tests.model.test_backends import random_weights
from tests.presets import PAPER_SMALL
from training.data.store import ClipFrame
from training.report import method
from training.report.method import draw

SHAPE = (120, 200)


def tiny(tmp_path, preset):
    path = tmp_path / "tiny.safetensors"
    small = {**PAPER_SMALL, "preset": preset}
    save_weights(path, random_weights(ModelConfig(width=0.0625, **small)))
    return Setup(BackendConfig(weights=str(path), backend="onnx", threads=1))


@pytest.fixture
def setup(tmp_path):
    return tiny(tmp_path, "online")


def video(frames=18):
    """Object 7 stays at columns 60..140 while 9 crosses in front of it."""
    truth = instance("7", rectangle(SHAPE, (60, 40, 140, 80)))
    for given in crossing(frames, SHAPE, speed=4):
        front = given.instances[1]
        full = {"7": (truth.box, truth.mask), "9": (front.box, front.mask)}
        yield ClipFrame(given.image, given.instances, full)


@pytest.mark.slow
def test_the_figures_show_what_the_stream_did(setup, tmp_path):
    frames = list(video())
    step, rows = method.follow(frames, Online(setup))
    assert step.name == "7" and step.number >= method.MIN_AGE
    hidden = 1 - step.cue.instance.mask.sum() / step.truth.mask.sum()
    assert method.HIDDEN[0] < hidden < method.HIDDEN[1]
    assert step.prior.shape == step.chance.shape == step.patch.shape[1:]
    np.testing.assert_array_equal(step.patch[6], step.prior)
    assert step.before.seen.frame.stamp_ns < step.after.seen.frame.stamp_ns
    assert step.cue.instance in step.after.seen.frame.instances
    assert step.cue.box == step.after.tracks["7"].box
    assert [row.number - step.number for row in rows] == [-method.AROUND, 0, method.AROUND]
    for row in rows:
        low, high = np.minimum(row.forward, row.backward), np.maximum(row.forward, row.backward)
        assert (low - 1e-6 <= row.merged).all() and (row.merged <= high + 1e-6).all()
        assert ((row.share >= 0) & (row.share <= 1)).all()
    paths = draw(frames, setup, tmp_path / "out")
    first = [path.read_bytes() for path in paths]
    assert len(set(first)) == 6 and all(len(data) < 150_000 for data in first)
    assert [path.read_bytes() for path in draw(frames, setup, tmp_path / "out")] == first


def test_a_scene_without_a_hidden_object_is_refused(setup):
    frames = [ClipFrame(f.image, f.instances[:1], {"7": f.full["7"]}) for f in video(16)][:8]
    with refused("street"):
        method.follow(frames, Online(setup))


def test_a_network_for_the_next_frame_is_refused(tmp_path):
    with refused("weights"):
        method.follow([], Online(tiny(tmp_path, "paper")))
