# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses
import sys

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny_store import MODEL, tiny_run, write_store

from savos_model.network.losses import Targets
from savos_model.network.presets import make_net
from training.learn.log import RunLog
from training.learn.pictures import GAP, contact_sheet
from training.train import train


def with_tensorboard(run):
    return dataclasses.replace(run, machine=dataclasses.replace(run.machine, tensorboard=True))


def test_tensorboard_gets_scalars_and_a_picture(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(with_tensorboard(tiny_run(write_store(tmp_path / "store"))), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    named = {"loss", "mask", "learning_rate", "grad_norm", "object_frames_per_s"}
    assert {f"train/{name}" for name in named} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("train/grad_norm")] == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events.Scalars("validation/loss")] == [3, 6]
    assert min(e.value for e in events.Scalars("train/object_frames_per_s")) > 0
    shown = events.Images("validation")[-1]
    picture = cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    rows, cols = MODEL.patch
    assert picture.shape == (2 * rows + GAP, 4 * cols + 3 * GAP, 3)
    assert picture.std() > 10

    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("step 4/6  loss ") for line in lines) == 1
    assert all(" object-frames/s  0:0" in line for line in lines if line.startswith("step "))


def test_without_tensorboard_one_line_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = with_tensorboard(tiny_run(tmp_path))
    with RunLog(tmp_path, run, 0, speaks=True) as log:
        log.stepped(1, 12)
        log.figures({"loss": 1.0})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and "pip install tensorboard" in said[0]
    assert not (tmp_path / "tensorboard").exists()


def test_all_processes_but_one_are_silent(tmp_path, capsys):
    with RunLog(tmp_path, with_tensorboard(tiny_run(tmp_path)), 0, speaks=False) as log:
        log.say("hello")
        log.stepped(1, 12)
        log.figures({"loss": 1.0})
        log.validated(1.0, {"loss": 1.0}, lambda: pytest.fail("no picture is needed"))
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())


def test_validation_is_no_training_time(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("training.learn.log.time.monotonic", lambda: clock[0])
    log = RunLog(tmp_path, tiny_run(tmp_path), 0, speaks=False)
    for done in (1, 2):
        clock[0] += 0.5
        log.stepped(done, 12)
    clock[0] += 100
    log.validated(1.0, {"loss": 1.0}, lambda: None)
    clock[0] += 1.0
    log.stepped(3, 40)  # a stage of other windows
    assert log.rate == pytest.approx((12 + 12 + 40) / 2.0)


SMALL = dataclasses.replace(MODEL, patch_height=32, patch_width=64)


def test_contact_sheet_shows_image_masks_and_predictions():
    visible = torch.zeros(1, 3, 32, 64)
    visible[..., 12:20, 16:32] = 1
    patches = torch.zeros(1, 3, 6, 32, 64)
    patches[:, :, 3] = visible
    patches[:, -1, 0] = 1.0  # a red image
    patches[:, -1, 3, 12:20, 24:32] = 0.0  # the right half of the square is covered
    patches[:, -1, 3, :4] = -1.0  # another object
    boxes = torch.tensor([0.0, 0.0, 64.0, 32.0]).expand(1, 3, 4)
    weight, base = torch.ones_like(visible), torch.zeros(1, 3, 2)
    sheet = contact_sheet(make_net(SMALL), Targets(patches, visible, weight, boxes, base))
    image, masks, completed, warped = (sheet[:, i * (64 + GAP) :][:, :64] for i in range(4))
    assert (image == (255, 0, 0)).all()
    assert (masks[14, 18] == 255).all() and (masks[14, 28] == (0, 255, 0)).all()
    assert (masks[1, 5] == (0, 0, 255)).all() and not masks[30, 60].any()
    for part in (completed, warped):
        assert (part[..., 0] == part[..., 1]).all()
    assert not np.array_equal(completed, warped)
