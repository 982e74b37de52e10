import gzip

import numpy as np
import pytest
from failing import fails
from tiny_fishbowl import FRAMES, HEIGHT, WIDTH, record, scene, write_clip, write_masks, write_video

from savos_model.masks import look_at
from savos_model.types import Box
from training.data.fishbowl import FishbowlClip, FishbowlError, clip_names


@pytest.fixture
def folder(tmp_path):
    write_clip(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["tiny", "tiny.mp4", "tiny.json.gz"])
def test_clip_opens_by_any_of_its_names(folder, name):
    clip = FishbowlClip(folder / name)
    assert (clip.name, clip.width, clip.height, clip.num_frames, clip.fps) == (
        "tiny",
        64,
        48,
        6,
        30.0,
    )


def test_masks_come_back_exactly(folder):
    clip = FishbowlClip(folder / "tiny")
    whole = Box(0, 0, WIDTH, HEIGHT)
    for frame in range(FRAMES):
        front, back, seen = scene(frame)
        full = {item.id: look_at((item.box, item.mask), whole) for item in clip.truth(frame)}
        visible = {item.id: look_at((item.box, item.mask), whole) for item in clip.instances(frame)}
        assert np.array_equal(full["0"], front)
        assert np.array_equal(full["7"], back)
        assert np.array_equal(visible["7"], seen)
        assert [item.class_id for item in clip.truth(frame)] == ["BigFishA", "SmallFishA"]


def test_hidden_object_keeps_its_truth(folder):
    data = record()
    data["objects"][1]["visible"][2] = None
    write_masks(folder, data)
    clip = FishbowlClip(folder / "tiny")
    assert [item.id for item in clip.instances(2)] == ["0"]
    assert [item.id for item in clip.truth(2)] == ["0", "7"]


def test_frames_are_decoded_in_order(folder):
    frames = list(FishbowlClip(folder / "tiny").frames())
    assert len(frames) == FRAMES
    assert all(frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8 for frame in frames)
    assert np.allclose([frame.mean() for frame in frames], 30 * np.arange(FRAMES), atol=4)


def test_stamps_follow_the_rate(folder):
    clip = FishbowlClip(folder / "tiny")
    assert [clip.stamp_ns(frame) for frame in range(4)] == [0, 33333333, 66666667, 100000000]


@pytest.mark.parametrize(
    ("gone", "there"), [("tiny.mp4", "tiny.json.gz"), ("tiny.json.gz", "tiny.mp4")]
)
def test_missing_half_is_named(folder, gone, there):
    (folder / gone).unlink()
    with fails(FishbowlError, "missing") as info:
        FishbowlClip(folder / "tiny")
    assert gone in str(info.value) and there in str(info.value)
    assert clip_names(folder) == [folder / "tiny"]


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda folder: write_video(folder / "tiny.mp4", frames=FRAMES - 2), "frames"),
        (lambda folder: write_video(folder / "tiny.mp4", size=(96, 48)), "size"),
        (lambda folder: cut(folder / "tiny.mp4", 0.5), "unreadable"),
        (lambda folder: cut(folder / "tiny.json.gz", 0.9), "unreadable"),
        (lambda folder: (folder / "tiny.json.gz").write_bytes(gzip.compress(b"{")), "unreadable"),
    ],
)
def test_damaged_files_are_refused(folder, damage, kind):
    damage(folder)
    with fails(FishbowlError, kind):
        FishbowlClip(folder / "tiny")


@pytest.mark.parametrize(
    ("damage", "kind", "found"),
    [
        (lambda data: data.pop("fps"), "layout", "fps"),
        (lambda data: data["objects"][1]["full"].pop(), "frames", "object 7"),
    ],
)
def test_what_lacks_in_a_mask_file_is_named(folder, damage, kind, found):
    data = record()
    damage(data)
    write_masks(folder, data)
    with fails(FishbowlError, kind, found):
        FishbowlClip(folder / "tiny")


def test_broken_mask_names_object_and_frame(folder):
    data = record()
    data["objects"][1]["full"][3]["counts"] = "zz"
    write_masks(folder, data)
    clip = FishbowlClip(folder / "tiny")
    with fails(FishbowlError, "mask") as info:
        clip.truth(3)
    assert "object 7" in str(info.value) and "frame 3" in str(info.value)
    assert len(clip.truth(2)) == 2


def test_mask_of_another_size(folder):
    data = record()
    data["objects"][0]["visible"][0]["size"] = [48, 65]
    write_masks(folder, data)
    with fails(FishbowlError, "mask", "[48, 65]", "[48, 64]"):
        FishbowlClip(folder / "tiny").instances(0)


def test_real_clip(shared_data):
    clip = FishbowlClip(clip_names(shared_data / "fishbowl" / "val")[0])
    assert (clip.width, clip.height, clip.num_frames) == (480, 320, 128)
    whole = Box(0, 0, 480, 320)
    for frame in (0, 60, 127):
        full = {item.id: look_at((item.box, item.mask), whole) for item in clip.truth(frame)}
        for item in clip.instances(frame):
            assert not (look_at((item.box, item.mask), whole) & ~full[item.id]).any()
    assert sum(1 for _ in clip.frames()) == 128
