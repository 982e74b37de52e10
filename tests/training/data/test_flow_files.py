import struct
import sys

import numpy as np
import pytest
from failing import fails, refused
from hypothesis import given
from hypothesis import strategies as st
from tiny_flo import write_flo

from training.data import flow_files
from training.data.flow_files import (
    FlowFileError,
    RaftError,
    RaftFlow,
    fit_flow,
    flow_paths,
    read_flo,
    with_flo,
    with_raft,
)
from training.data.store import ClipFrame


def ramp(height, width):
    rows, columns = np.mgrid[:height, :width]
    return np.stack((columns, 100 + rows), -1).astype(np.float32)


def test_files_come_back(tmp_path):
    flow = ramp(5, 7)
    np.testing.assert_array_equal(read_flo(write_flo(tmp_path / "a.flo", flow)), flow)


def test_unknown_motion_is_nan(tmp_path):
    flow = ramp(3, 3)
    flow[0, 0, 1], flow[1, 1, 0], flow[2, 2, 0] = 1e10, np.nan, -np.inf
    read = read_flo(write_flo(tmp_path / "a.flo", flow))
    assert np.isnan(read[[0, 1, 2], [0, 1, 2]]).all()
    assert np.isnan(read).sum() == 6


def test_damaged_files_are_refused(tmp_path):
    path = write_flo(tmp_path / "a.flo", ramp(5, 7))
    good = path.read_bytes()
    for content, kind, found in (
        (b"", "form", ""),
        (b"PIEX" + good[4:], "form", ""),
        (good[:-1], "bytes", "291"),
        (good + b"x", "bytes", "293"),
        (b"PIEH" + struct.pack("<ii", -7, 5), "size", "-7x5"),
        (b"PIEH" + struct.pack("<ii", 1 << 30, 1 << 30), "size", ""),
    ):
        path.write_bytes(content)
        with fails(FlowFileError, kind, "a.flo", found):
            read_flo(path)
    with fails(FlowFileError, "unreadable", "none.flo"):
        read_flo(tmp_path / "none.flo")


def test_a_cut_of_448_columns_is_padded_by_16_a_side():
    flow = ramp(320, 448)
    fitted = fit_flow(flow, 320, 480)
    assert fitted.shape == (320, 480, 2)
    np.testing.assert_array_equal(fitted[:, 16:464], flow)  # in place, not stretched
    assert (fitted[:, :16] == flow[:, :1]).all() and (fitted[:, 464:] == flow[:, -1:]).all()
    assert fit_flow(flow, 320, 448) is flow


@given(st.integers(64, 400), st.integers(64, 400))
def test_cuts_to_multiples_of_64_lie_in_the_middle(height, width):
    whole = ramp(height, width)
    rows, columns = height // 64 * 64, width // 64 * 64
    top, left = (height - rows) // 2, (width - columns) // 2
    cut = whole[top : top + rows, left : left + columns]
    fitted = fit_flow(cut, height, width)
    inside = np.s_[top : top + rows, left : left + columns]
    np.testing.assert_array_equal(fitted[inside], whole[inside])


@pytest.mark.parametrize("shape", [(320, 384), (320, 512), (300, 480), (160, 240)])
def test_other_sizes_are_refused(shape):
    with fails(FlowFileError, "size", "480x320"):
        fit_flow(np.zeros((*shape, 2), np.float32), 320, 480)


def frames(count, shape=(64, 70)):
    return [ClipFrame(np.full((*shape, 3), i, np.uint8), []) for i in range(count)]


def test_folders_of_flow_are_joined_to_frames(tmp_path):
    for i in (0, 2, 10, 1):  # names are ordered as numbers
        write_flo(tmp_path / "on" / f"frame_{i}.flo", np.full((64, 64, 2), i, np.float32))
        write_flo(tmp_path / "back" / f"{i:06d}.flo", np.full((64, 64, 2), -i, np.float32))
    (tmp_path / "on" / "mean.flo").write_bytes(b"")
    assert [p.stem for p in flow_paths(tmp_path / "on")][-1] == "frame_10"
    made = list(with_flo(iter(frames(5)), tmp_path / "on", tmp_path / "back"))
    assert [None if f.flow is None else f.flow[0, 0, 0] for f in made] == [0, 1, 2, 10, None]
    assert [None if f.flow_back is None else f.flow_back[0, 0, 0] for f in made] == [
        None, 0, -1, -2, -10
    ]  # fmt: skip
    assert made[1].flow.shape == (64, 70, 2)
    with fails(FlowFileError, "frames", "frame 5"):
        list(with_flo(iter(frames(6)), tmp_path / "on", tmp_path / "back"))
    with fails(FlowFileError, "missing", str(tmp_path)):
        next(with_flo(iter(frames(2)), tmp_path, tmp_path / "back"))
    assert flow_files.BLOCK == 64


@pytest.mark.torch  # RAFT loads it before it finds that torchvision is absent
def test_raft_without_torchvision_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(RaftError):
        RaftFlow()
    with refused("size", "choices"):
        RaftFlow("huge")


class Shift:
    """Replaces RAFT: motion is the difference of the grey values."""

    def both_ways(self, earlier, later):
        step = float(later[0, 0, 0]) - float(earlier[0, 0, 0])
        return np.full((64, 70, 2), step), np.full((64, 70, 2), -step)


def test_raft_is_added_to_every_pair():
    made = list(with_raft(iter(frames(3)), Shift()))
    assert [None if f.flow is None else f.flow[0, 0, 0] for f in made] == [1, 1, None]
    assert [None if f.flow_back is None else f.flow_back[0, 0, 0] for f in made] == [None, -1, -1]
    assert list(with_raft(iter([]), Shift())) == []


@pytest.mark.torch
def test_raft_of_torchvision_runs():
    try:
        raft = RaftFlow("small", weights=None)
    except RaftError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 60, 130, 3), np.uint8)
    onward, back = raft.both_ways(*images)
    assert onward.shape == back.shape == (60, 130, 2)
    assert np.isfinite(onward).all() and not np.array_equal(onward, back)
