import pickle

import cv2
import numpy as np
import pytest
from failing import fails

from tests.trap import trap
from training.data.chewing_gum import ChewingGumConfig, ReleasedVideos, VideoFileError, videos
from training.data.safe_pickle import UnsafePickleError

SQUARE = (slice(20, 26), slice(22, 30))  # glued over the lower object, part of no object


def write_released(root, name="00000", frames=5, **changes):
    """A video as the released generator writes it; returns its visible masks [T, 2, H, W]."""
    video = next(videos(ChewingGumConfig(seed=9)))
    folder = root / name
    folder.mkdir(parents=True)
    seen = []
    for t in range(frames):
        upper, lower = video.full[t, 1], video.full[t, 0]  # object 0 lies above object 1
        covered = np.zeros_like(lower)
        covered[SQUARE] = True
        colours = [np.array([10, 200, 30]), np.array([90, 80, 70])]
        image = np.full((50, 56, 3), 40, np.uint8)
        image[lower] = colours[1]
        image[covered] = (1, 2, 3)
        image[upper] = colours[0]
        cv2.imwrite(str(folder / f"{t:05d}.png"), image[..., ::-1])
        full = np.stack((upper, lower)).astype(np.int64)
        record = {"order": np.array([1, 0]), "shape": [np.zeros((7, 2), int)] * 2, "color": colours}
        record |= {"st": np.zeros((2, 2), int), "end": np.zeros((2, 2), int) + 16}
        record |= {"img_obj": [image[9:25, 9:25]] * 2, "full_mask": full}
        (folder / f"{t:05d}.pkl").write_bytes(pickle.dumps(record | changes, 3))
        seen.append(np.stack((upper, lower & ~upper & ~covered)))
    return np.stack(seen)


def test_released_layout_is_read(tmp_path):
    seen = write_released(tmp_path, "00001")
    write_released(tmp_path, "00000", frames=3)
    (tmp_path / "notes.txt").write_text("not a video")
    folder = ReleasedVideos(tmp_path)
    assert folder.count == 2
    video = list(folder.read())[1]
    assert video.name == "00001"
    assert video.frames.shape == (5, 50, 56, 3)
    np.testing.assert_array_equal(video.visible, seen)
    assert (video.full[:, 1] & ~video.full[:, 0])[:, SQUARE[0], SQUARE[1]].any()
    assert video.order.tolist() == [1, 0] and video.occluded == ["1"]
    assert video.frames[0][video.visible[0, 0]][0].tolist() == [10, 200, 30]  # RGB
    assert [v.name for v in folder.read(1, 2)] == ["00001"]


def test_code_in_a_pickle_is_not_run(tmp_path):
    target = tmp_path / "run"
    write_released(tmp_path, st=trap(target))
    with fails(UnsafePickleError, "content", "00000.pkl", "mkdir"):
        next(ReleasedVideos(tmp_path).read())
    assert not target.exists()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"order": np.array([0, 0])}, "size"),
        ({"order": 3}, "size"),
        ({"full_mask": np.zeros((2, 9, 9))}, "size"),
        ({"color": [1, 2]}, "size"),
        ({"color": [[0, 0, 0], [90, 80, 70]]}, "order"),
        ({"full_mask": [[1], [2, 3]]}, "layout"),
    ],
)
def test_records_that_do_not_fit_are_refused(tmp_path, changes, kind):
    write_released(tmp_path, **changes)
    with fails(VideoFileError, kind, "00000"):
        next(ReleasedVideos(tmp_path).read())


def test_missing_parts_and_bad_pictures_are_named(tmp_path):
    with fails(VideoFileError, "missing", str(tmp_path)):
        ReleasedVideos(tmp_path)
    write_released(tmp_path, frames=1)
    picture, notes = tmp_path / "00000" / "00000.png", tmp_path / "00000" / "00000.pkl"
    good = picture.read_bytes()
    huge = good[:16] + (60_000).to_bytes(4, "big") * 2 + good[24:]
    unreadable = dict.fromkeys((b"", b"GIF89a", good[:60]), "unreadable")
    for content, kind in {huge: "size", **unreadable}.items():
        picture.write_bytes(content)
        with fails(VideoFileError, kind, "00000.png"):
            next(ReleasedVideos(tmp_path).read())
    picture.write_bytes(good)
    notes.write_bytes(pickle.dumps([1]))
    with fails(VideoFileError, "layout", "00000.pkl", "full_mask"):
        next(ReleasedVideos(tmp_path).read())
    notes.unlink()
    with fails(UnsafePickleError, "unreadable", "00000.pkl"):
        next(ReleasedVideos(tmp_path).read())
    picture.unlink()
    with fails(VideoFileError, "frames", "00000"):
        next(ReleasedVideos(tmp_path).read())
