import cv2
import numpy as np
import pytest
import tiny_kitti as tiny
from failing import fails

from savos_model.masks import look_at
from savos_model.types import Box
from training.data.kitti_mots import (
    START_NS,
    KittiError,
    is_raw,
    open_raw,
    open_tracking,
    parse_time,
)

WHOLE = Box(0, 0, tiny.SHAPE[1], tiny.SHAPE[0])


@pytest.fixture
def root(tmp_path):
    return tiny.write_tracking(tmp_path)


def by_id(instances):
    return {item.id: look_at((item.box, item.mask), WHOLE) for item in instances}


@pytest.mark.parametrize("source", ["txt", "png"])
def test_truth_masks_keep_their_ids(root, source):
    clip = open_tracking(root, tiny.SEQUENCE, source)
    assert clip.frames == list(tiny.FRAMES)
    for frame in clip.frames:
        want = tiny.masks(frame)
        got = by_id(clip.instances(frame, tiny.SHAPE))
        assert sorted(got) == ["1003", "1017"]
        assert all(np.array_equal(got[name], want[name]) for name in got)
        assert {item.class_id for item in clip.instances(frame, tiny.SHAPE)} == {"1"}


@pytest.mark.parametrize("source", ["txt", "png"])
def test_ignore_region_is_kept_apart(root, source):
    clip = open_tracking(root, tiny.SEQUENCE, source)
    ignored = by_id(clip.ignored(6, tiny.SHAPE))
    assert list(ignored) == ["10000"]
    assert np.array_equal(ignored["10000"], tiny.masks(6)["10000"])


def test_predicted_masks_may_overlap(root):
    clip = open_tracking(root, tiny.SEQUENCE, "tracker")
    masks = by_id(clip.instances(5, tiny.SHAPE))
    assert sorted(masks) == ["1001", "1002"]
    assert (masks["1001"] & masks["1002"]).sum() == 25 * 22


def test_none_means_no_masks(root):
    clip = open_tracking(root, tiny.SEQUENCE, "none")
    assert clip.instances(5, tiny.SHAPE) == []


def test_labels_are_amodal_boxes(root):
    labels = open_tracking(root, tiny.SEQUENCE).labels
    assert [label.type for label in labels[5]] == ["DontCare", "Car"]
    car = labels[9][1]
    assert (car.track_id, car.occluded, car.truncated) == (17, 2, 0.0)
    assert car.box == Box(30.0, 15.0, 60.0, 35.0)


def test_image_and_ten_hertz_stamps(root):
    clip = open_tracking(root, tiny.SEQUENCE)
    assert clip.image(5).shape == (*tiny.SHAPE, 3)
    assert np.abs(clip.image(5).astype(int) - tiny.image(5)).mean() < 3
    assert [clip.stamp_ns(frame) - START_NS for frame in clip.frames] == [
        500_000_000,
        600_000_000,
        700_000_000,
        900_000_000,
    ]


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_raw_layout_with_times(tmp_path, ending):
    drive = tiny.write_raw(tmp_path, ending=ending)
    assert is_raw(drive)
    clip = open_raw(drive)
    assert clip.frames == [0, 1, 2, 3]
    assert [clip.stamp_ns(frame) - clip.stamp_ns(0) for frame in clip.frames] == [0, 25, 50, 75]
    assert clip.stamp_ns(0) == parse_time("2011-09-26 13:02:25.900000003")
    assert clip.instances(0, tiny.SHAPE) == []


def test_raw_layout_without_times_is_ten_hertz(tmp_path):
    clip = open_raw(tiny.write_raw(tmp_path, times=False))
    assert clip.stamp_ns(3) - clip.stamp_ns(0) == 300_000_000


def test_raw_layout_with_masks_from_elsewhere(tmp_path):
    drive = tiny.write_raw(tmp_path / "raw")
    masks = tmp_path / "masks.txt"
    masks.write_text(tiny.mots_line(2, "1003", tiny.masks(2)["1003"]))
    clip = open_raw(drive, "tracker", masks)
    assert [len(clip.instances(frame, tiny.SHAPE)) for frame in clip.frames] == [0, 0, 1, 0]
    with fails(KittiError, "no_masks"):
        open_raw(drive, "txt")


def test_time_is_exact_and_checked():
    assert parse_time("1970-01-02 00:00:01.5") == 86_401_500_000_000
    assert parse_time("2011-09-26 13:02:25.964389445") % 1_000_000_000 == 964_389_445
    for text in ("", "26.09.2011", "2011-09-26T13:02:25", "2011-09-26 13:02:25.1234567890"):
        with fails(KittiError, "time", repr(text)):
            parse_time(text)


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("2011-09-26 13:02:25.1\n", "frames", "frame 1"),
        ("2011-09-26 13:02:25.1\n" * 4, "order", "line 2"),
        ("2011-09-26 13:02:25.1\nnonsense\n" + "x\n" * 2, "time", "line 2: 'nonsense'"),
    ],
)
def test_bad_times(tmp_path, text, kind, found):
    drive = tiny.write_raw(tmp_path)
    (drive / "image_02" / "timestamps.txt").write_text(text)
    with fails(KittiError, kind, "timestamps.txt", found):
        open_raw(drive)


def test_missing_things_are_named(root):
    with fails(KittiError, "missing") as info:
        open_tracking(root, "0099")
    assert "image_02/0099" in str(info.value)
    (root / "instances_txt" / f"{tiny.SEQUENCE}.txt").unlink()
    with fails(KittiError, "no_masks") as info:
        open_tracking(root, tiny.SEQUENCE)
    assert "0042" in str(info.value) and "instances_txt" in str(info.value)
    with fails(KittiError, "choices"):
        open_tracking(root, tiny.SEQUENCE, "gold", root)


def test_mask_of_another_size_is_refused(root):
    with fails(KittiError, "size") as info:
        open_tracking(root, tiny.SEQUENCE).instances(5, (60, 101))
    assert all(word in str(info.value) for word in ("line 1", "1003", "100x60", "101x60"))
    with fails(KittiError, "size") as info:
        open_tracking(root, tiny.SEQUENCE, "png").instances(5, (60, 101))
    assert "000005.png" in str(info.value)


def test_broken_lines_are_named(root):
    masks = root / "instances_txt" / f"{tiny.SEQUENCE}.txt"
    good = masks.read_text().splitlines()
    masks.write_text("\n".join([good[0], "5 1003 1 60"]))
    with fails(KittiError, "line") as info:
        open_tracking(root, tiny.SEQUENCE)
    assert "line 2" in str(info.value)
    masks.write_text(good[0][:-4])
    with fails(KittiError, "mask") as info:
        open_tracking(root, tiny.SEQUENCE).instances(5, tiny.SHAPE)
    assert "line 1 (frame 5, id 1003)" in str(info.value)
    labels = root / "training" / "label_02" / f"{tiny.SEQUENCE}.txt"
    labels.write_text("5 17 Car 0 1\n")
    with fails(KittiError, "line"):
        open_tracking(root, tiny.SEQUENCE, "none")


def test_missing_or_wrong_mask_image(root):
    path = root / "instances" / tiny.SEQUENCE / "000006.png"
    cv2.imwrite(str(path), np.zeros((*tiny.SHAPE, 3), np.uint8))
    with fails(KittiError, "encoding"):
        open_tracking(root, tiny.SEQUENCE, "png").instances(6, tiny.SHAPE)
    path.unlink()
    with fails(KittiError, "missing"):
        open_tracking(root, tiny.SEQUENCE, "png").instances(6, tiny.SHAPE)


def test_broken_image_is_named(root):
    path = root / "training" / "image_02" / tiny.SEQUENCE / "000005.jpg"
    path.write_bytes(b"\xff\xd8nothing")
    with fails(KittiError, "unreadable"):
        open_tracking(root, tiny.SEQUENCE).image(5)


@pytest.mark.parametrize(("sequence", "masks"), [("0000", 258), ("0001", 253)])
def test_real_sequences_hold_the_stated_masks(shared_data, sequence, masks):
    root = shared_data / "kitti_mots"
    shape = (375, 1242)
    text, picture = (open_tracking(root, sequence, source) for source in ("txt", "png"))
    assert sum(len(text.instances(frame, shape)) for frame in text.frames) == masks
    whole = Box(0, 0, 1242, 375)
    for frame in text.frames[::7]:
        first, second = (
            {
                item.id: look_at((item.box, item.mask), whole)
                for item in clip.instances(frame, shape)
            }
            for clip in (text, picture)
        )
        assert sorted(first) == sorted(second)
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_real_raw_drive(shared_data):
    drive = next((shared_data / "kitti_raw" / "2011_09_26").glob("*_sync"))
    clip = open_raw(drive)
    assert len(clip.frames) == 50
    assert clip.image(clip.frames[0]).shape == (375, 1242, 3)
