# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses

import numpy as np
import pytest
from failing import refused

torch = pytest.importorskip("torch")

from safetensors.torch import load_file
from tiny_store import tiny_run, write_store

import training.train
from savos_model.network.losses import LossConfig
from training.learn.config import DataConfig, TrainConfig, make_run, write_run
from training.learn.data import open_data
from training.learn.distributed import Ranks
from training.learn.stages import Stage, read_stages, stage_at
from training.learn.windows import sum_chances
from training.train import CHECKPOINT, make_batch, stage_loss, train

CPU = torch.device("cpu")
STAGES = ("2x6:0.5", "4x2:0.5:both")


def test_stages_say_frames_windows_share_and_directions():
    assert read_stages(("2x128:0.6", "4x64:.2:forward", "8x32:0.2:both"), 8) == [
        Stage(2, 128, 0.6, None),
        Stage(4, 64, 0.2, False),
        Stage(8, 32, 0.2, True),
    ]
    assert TrainConfig(length=3, batch=16, stages=()).plan == [Stage(3, 16)]


@pytest.mark.parametrize(
    ("stages", "field", "found"),
    [
        (("2x128",), "stages", "'2x128'"),
        (("2x128:0.6:back",), "stages", "'2x128:0.6:back'"),
        (("2x128:0.6", "4x64:0.3"), "shares", "0.9"),
        (("1x128:1",), "stages", "'1x128:1'"),
        (("2x12:1",), "stages", "groups of 8"),
    ],
)
def test_wrong_stages_are_refused(stages, field, found):
    with refused(field) as info:
        TrainConfig(stages=stages)
    assert found in str(info.value)


def test_each_step_belongs_to_one_stage():
    stages = read_stages(("2x8:0.6", "4x8:0.3", "8x8:0.1"), 8)
    lengths = [stage_at(stages, step, 10).length for step in range(10)]
    assert lengths == [2] * 6 + [4] * 3 + [8]
    thirds = read_stages(("2x8:0.3333333", "3x8:0.3333333", "4x8:0.3333334"), 8)
    assert [stage_at(thirds, step, 4).length for step in range(4)] == [2, 3, 3, 4]


def test_a_stage_chooses_its_directions():
    forward = LossConfig(both_directions=False)
    chosen = [stage_loss(Stage(2, 8, 1.0, both), forward) for both in (None, True, False)]
    assert [loss.both_directions for loss in chosen] == [False, True, False]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store"))


def test_batches_are_those_of_their_stage(store):
    run = tiny_run(store, stages=STAGES)
    data = open_data(run)
    shapes = [make_batch(s, run, data, Ranks(0, 1, CPU)).visible.shape[:2] for s in (0, 2, 3, 5)]
    assert shapes == [(6, 2), (6, 2), (2, 4), (2, 4)]
    assert data.held(0).visible.shape[1] == run.train.length == 3


def test_a_run_goes_on_in_a_later_stage_as_if_never_stopped(store, tmp_path, monkeypatch):
    run = tiny_run(store, stages=STAGES)
    train(run, tmp_path / "straight")
    save = training.train.save_checkpoint

    def stop(path, learner, reached, settings):
        save(path, learner, reached, settings)
        if reached.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.train, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            train(run, tmp_path / "stopped")
    train(run, tmp_path / "stopped", resume=True)
    straight, resumed = (
        load_file(tmp_path / name / CHECKPOINT) for name in ("straight", "stopped")
    )
    assert straight.keys() == resumed.keys()
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


def test_stages_and_shares_are_read_from_files_and_flags(tmp_path, store):
    run = dataclasses.replace(
        tiny_run(store, stages=STAGES), data=DataConfig(stores=("a", "b"), shares=("2", "1"))
    )
    write_run(tmp_path / "run.yaml", run)
    assert make_run(tmp_path / "run.yaml") == run
    (tmp_path / "own.yaml").write_text("data: {stores: [a, b], shares: [0.5, 0.25]}\n")
    assert make_run(tmp_path / "own.yaml").data.store_shares == pytest.approx([2 / 3, 1 / 3])


def test_chances_follow_the_shares_whatever_the_numbers_of_windows():
    kinds = np.array([0] * 90 + [1] * 10 + [2] * 50)
    chances = sum_chances(kinds, [0.2, 0.5, 0.3])
    each = np.diff(chances, prepend=0)
    np.testing.assert_allclose([each[kinds == k].sum() for k in range(3)], [0.2, 0.5, 0.3])
    assert chances[-1] == 1 and each.min() > 0


def test_stores_are_drawn_from_in_their_shares(store, tmp_path):
    other = write_store(tmp_path / "other", clips=2)
    base = tiny_run(store)
    data = dataclasses.replace(
        base.data, stores=(str(store), str(other)), shares=("1", "3"), held_out=2, validation=8
    )
    opened = open_data(dataclasses.replace(base, data=data))
    source = opened.sources[3]
    few = sum(place.clip == 2 for place in source.places)  # the one clip of the other store
    rng = np.random.default_rng(0)
    drawn = np.searchsorted(source.chances, rng.random(4000), side="right")
    found = sum(source.places[i].clip == 2 for i in drawn) / 4000
    assert found == pytest.approx(0.75, abs=0.03) and few < 0.5 * len(source.places)
    assert opened.held_groups == 4  # of two: eight windows in all, as asked for


@pytest.mark.parametrize(
    ("shares", "found"),
    [(("1",), "2 stores"), (("1", "0"), "'0'"), (("1", "x"), "'x'")],
)
def test_wrong_shares_are_refused(shares, found):
    with refused("shares") as info:
        DataConfig(stores=("a", "b"), shares=shares)
    assert found in str(info.value)
