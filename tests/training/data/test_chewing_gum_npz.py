import io
import itertools
import zipfile

import numpy as np
import pytest

from training.data.chewing_gum import ChewingGumConfig, Video, videos
from training.data.chewing_gum_npz import NpzVideos, VideoFileError, write_npz


def made(count=3):
    return list(videos(ChewingGumConfig(seed=4), count=count))


def arrays(some):
    """The file's arrays, made by NumPy alone."""
    full, visible = (np.stack([getattr(v, name) for v in some]) for name in ("full", "visible"))
    return {
        "frames": np.stack([v.frames for v in some]),
        "full": np.packbits(full, axis=-1),
        "visible": np.packbits(visible, axis=-1),
        "order": np.stack([v.order for v in some]),
        "shape": np.array(full.shape),
    }


def same(left, right):
    names = ("frames", "full", "visible", "order")
    return all(np.array_equal(getattr(left, n), getattr(right, n)) for n in names)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_written_by_numpy_are_read(tmp_path, save):
    some = made()
    save(tmp_path / "a.npz", **arrays(some))
    file = NpzVideos(tmp_path / "a.npz")
    assert (file.count, file.length) == (3, 40)
    read = list(file.read())
    assert [v.name for v in read] == ["000000", "000001", "000002"]
    assert all(map(same, read, some))
    assert all(map(same, file.read(1, 3), some[1:]))
    assert [v.name for v in file.read(2, 99)] == ["000002"]


def test_written_files_are_read_by_numpy(tmp_path):
    some = made()
    path = tmp_path / "new" / "b.npz"
    write_npz(path, iter(some), 3)
    with np.load(path, allow_pickle=False) as file:
        assert set(file) == set(arrays(some))
        for name, values in arrays(some).items():
            np.testing.assert_array_equal(file[name], values)
    assert all(map(same, NpzVideos(path).read(), some))
    assert [p.name for p in path.parent.iterdir()] == ["b.npz"]


def test_order_and_width_of_any_size(tmp_path):
    rng = np.random.default_rng(0)
    full = rng.random((2, 5, 3, 4, 11)) < 0.5
    visible = full & (rng.random(full.shape) < 0.5)
    order = np.array([[2, 0, 1], [1, 2, 0]])
    frames = rng.integers(0, 256, (2, 5, 4, 11, 3), np.uint8)
    some = [Video(str(i), frames[i], full[i], visible[i], order[i]) for i in range(2)]
    write_npz(tmp_path / "a.npz", some, 2)
    read = list(NpzVideos(tmp_path / "a.npz").read())
    assert all(map(same, read, some))
    assert read[0].occluded == ["2", "0"]


def test_an_endless_stream_is_cut(tmp_path):
    write_npz(tmp_path / "a.npz", videos(ChewingGumConfig(seed=1)), 2)
    assert NpzVideos(tmp_path / "a.npz").count == 2


def test_too_few_or_odd_videos_leave_no_file(tmp_path):
    some = made(1)
    odd = next(videos(ChewingGumConfig(frames=39, redraw=False)))
    for batch, message in ((some, "got the end"), ([some[0], odd], "must be of shape"), ([], "no")):
        with pytest.raises(VideoFileError, match=message):
            write_npz(tmp_path / "a.npz", batch, 2)
    assert list(tmp_path.iterdir()) == []


def changed(**changes):
    return lambda data: data | changes


def without(name):
    return lambda data: {key: value for key, value in data.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("order"), "holds no array order"),
        (changed(shape=np.array([1, 40, 2, 50])), "shape must be N, T, K, H, W"),
        (changed(shape=np.array([1, 40, 2, 50, 0])), "shape must be N, T, K, H, W"),
        (changed(shape=np.array([1, 40, 2, 50, 57])), "frames must be of shape"),
        (changed(shape=np.array([1, 40, 3, 50, 56])), "full must be of shape"),
        (changed(frames=np.zeros((1, 40, 50, 56, 3), np.float32)), "frames must be of unsigned"),
        (changed(frames=np.zeros((1, 40, 50, 56, 3), np.uint8, "F")), "frames must be"),
        (changed(order=np.array([[0, 0]])), "order must hold"),
        (changed(order=np.array([[0, 2]])), "order must hold"),
        (changed(order=np.array([["a", "b"]])), "order must be"),
        (changed(order=np.array([[None, 1]])), "order must be"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, change, message):
    np.savez(tmp_path / "a.npz", **change(arrays(made(1))))
    with pytest.raises(VideoFileError, match=message):
        NpzVideos(tmp_path / "a.npz")


def test_visible_outside_full_is_refused(tmp_path):
    data = arrays(made(2))
    data["visible"][1, 3] = 255
    np.savez(tmp_path / "a.npz", **data)
    read = NpzVideos(tmp_path / "a.npz").read()
    next(read)
    with pytest.raises(VideoFileError, match="video 1: a visible mask leaves"):
        next(read)


def header(shape):
    out = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, fields)
    return out.getvalue()


def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    """A small file whose headers claim terabytes."""
    path = tmp_path / "a.npz"
    huge = (1000, 40, 50_000, 56_000, 3)
    with zipfile.ZipFile(path, "w") as file:
        for name, values in arrays(made(1)).items():
            content = io.BytesIO()
            np.save(content, values)
            file.writestr(f"{name}.npy", header(huge) if name == "frames" else content.getvalue())
    with pytest.raises(VideoFileError, match="does not fit its"):
        NpzVideos(path)


def test_large_videos_are_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", **arrays(made(1)))
    monkeypatch.setattr("training.data.chewing_gum_npz.MAX_VIDEO_BYTES", 1000)
    with pytest.raises(VideoFileError, match="has videos of 112000 pixels"):
        NpzVideos(tmp_path / "a.npz")


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"", b"PK\3\4 nothing"):
        path.write_bytes(content)
        with pytest.raises(VideoFileError, match="a.npz cannot be read"):
            NpzVideos(path)
    with pytest.raises(VideoFileError, match="cannot be read"):
        NpzVideos(tmp_path / "none.npz")
    np.savez_compressed(path, **arrays(made(1)))
    good = path.read_bytes()
    for place in itertools.chain(range(0, len(good), len(good) // 40)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            list(NpzVideos(path).read())
        except VideoFileError as error:
            assert "a.npz" in str(error)
