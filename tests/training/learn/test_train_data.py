# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses
import threading
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny_store import tiny_run, write_store

from savos_model.network.layers import FLOW
from savos_model.settings import SettingError
from training.learn.augment import make_input
from training.learn.augment_config import plain
from training.learn.data import open_data
from training.learn.distributed import Ranks
from training.learn.windows import ahead, mirrored
from training.train import make_batch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(write_store(tmp_path_factory.mktemp("store")))


def test_the_parts_of_all_processes_are_the_batch_of_one(run):
    data = open_data(run)
    whole = make_batch(3, run, data, Ranks(0, 1, CPU))
    parts = [make_batch(3, run, data, Ranks(i, 2, CPU)) for i in range(2)]
    assert len(whole.patches) == run.train.batch
    for field, value in whole._asdict().items():
        assert torch.equal(value, torch.cat([getattr(part, field) for part in parts])), field
    assert not torch.equal(parts[0].patches, parts[1].patches)
    assert not torch.equal(whole.patches, make_batch(4, run, data, Ranks(0, 1, CPU)).patches)


def test_patches_with_more_detail_than_the_clips_are_reported(run):
    assert "--patch" not in open_data(run).text
    model = dataclasses.replace(run.model, patch_height=64, patch_width=128)
    text = open_data(dataclasses.replace(run, model=model)).text
    assert "64 rows" in text and "stored for 32" in text and "--patch 64" in text


@pytest.mark.parametrize("source", ["stored", "chewing_gum"])
def test_validation_windows_are_the_same_in_every_run(run, source):
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, source=source))
    other = dataclasses.replace(run, train=dataclasses.replace(run.train, seed=9))
    one, two = open_data(run), open_data(other)
    assert one.held_groups == two.held_groups == 2
    for number in range(2):
        for a, b in zip(one.held(number), two.held(number), strict=True):
            assert (a is None and b is None) or torch.equal(a, b)
    assert not torch.equal(one.held(0).rgb, one.held(1).rgb)
    drawn = one.sources[run.train.length].draw(2, np.random.default_rng(1))
    assert drawn.rgb.shape == one.held(0).rgb.shape


def test_a_mirrored_window_gives_mirrored_patches(run):
    window = open_data(run).sources[run.train.length].draw(3, np.random.default_rng(2))
    even = {  # boxes are found on every second pixel
        name: getattr(window, name)[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
        for name in ("visible", "others")
    }
    window = window._replace(**even)
    chosen = np.array([True, False, True])
    old, new = (
        make_input(part, run.model, plain(), torch.Generator().manual_seed(0))
        for part in (window, mirrored(window, chosen))
    )
    for row, turned in enumerate(chosen):
        signs = torch.tensor([-1.0 if turned else 1.0, 1.0])
        wanted = old.patches[row].flip(-1) if turned else old.patches[row].clone()
        wanted[:, FLOW] *= signs[:, None, None]
        assert (new.patches[row] - wanted).abs().mean() < 0.01  # sampling rounds places
        torch.testing.assert_close(new.base[row], old.base[row] * signs, atol=0.05, rtol=0)


def test_about_the_given_share_of_windows_is_mirrored(run):
    source = open_data(run).sources[run.train.length]
    assert source.mirror == run.augment.mirror == 0.5
    plainly = dataclasses.replace(source, mirror=0.0)
    ours, theirs = (s.draw(64, np.random.default_rng(3)) for s in (source, plainly))
    turned = (ours.boxes != theirs.boxes).flatten(1).any(1)
    assert 16 < turned.sum() < 48


def test_windows_are_supervised_where_their_store_says_so_and_its_masks_are_known(run, tmp_path):
    folder = write_store(tmp_path / "known", 2)
    for clip in sorted(folder.iterdir()):
        visible = np.load(clip / "visible.npy")
        np.save(clip / "truth.npy", np.maximum(visible, 1))
        np.save(clip / "known.npy", np.ones(len(visible), np.uint8))
    stores = (*run.data.stores, str(folder))
    shares = {"shares": ("1", "1"), "held_out": 2, "validation": 8}

    def drawn(*supervised):
        data = dataclasses.replace(run.data, stores=stores, supervised=supervised, **shares)
        source = open_data(dataclasses.replace(run, data=data)).sources[run.train.length]
        return source.draw(64, np.random.default_rng(3))

    assert drawn().amodal is None and drawn("0", "0").amodal is None
    assert not drawn("1", "0").amodal.any(), "the first store knows no amodal masks"
    taught = drawn("1", "1").amodal.flatten(1).any(1)
    assert 20 < taught.sum() < 44, "about half of the windows are of the second store"
    assert 5 < drawn("0", "0.5").amodal.flatten(1).any(1).sum() < taught.sum()


def test_validation_is_self_supervised_always(run):
    data = dataclasses.replace(run.data, supervised=("1",))
    held = open_data(dataclasses.replace(run, data=data)).held(0)
    assert held.amodal is None


@pytest.mark.parametrize("wrong", [("1", "1"), ("1.5",), ("-1",), ("much",)])
def test_shares_of_supervised_windows_are_checked(run, wrong):
    with pytest.raises(SettingError) as caught:
        dataclasses.replace(run.data, supervised=wrong)
    assert "supervised must be" in str(caught.value)


def test_what_is_made_ahead_comes_in_order_and_not_too_far_ahead():
    made = []

    def make(step):
        time.sleep(0.002 * (step % 3))
        made.append(step)
        return step

    results = ahead(make, range(5, 25), workers=3)
    assert next(results) == 5
    time.sleep(0.1)
    assert len(made) < 12
    assert list(results) == list(range(6, 25))
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_an_error_while_making_comes_out():
    def make(step):
        if step == 2:
            raise OSError("the disk is gone")
        return step

    results = ahead(make, range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="disk"):
        next(results)
