import pickle

import numpy as np
import pytest
import tiny_kins
from failing import fails, lacks
from tiny_flo import write_flo

from tests.trap import trap
from training.data.kins_video_car import (
    KinsError,
    ReleasedCars,
    TruthSource,
    built_frames,
    tracked_drives,
)
from training.data.safe_pickle import UnsafePickleError


def image(boxed):
    box, mask = boxed
    canvas = np.zeros(tiny_kins.SHAPE, np.uint8)
    canvas[box.y0 : box.y1, box.x0 : box.x1] = mask
    return canvas


@pytest.fixture
def truth(tmp_path):
    return TruthSource(
        tiny_kins.write_kins(tmp_path / "kins" / "k.json"),
        tiny_kins.write_mapping(tmp_path / "mapping"),
    )


def test_builder_joins_raw_frames_masks_and_truth(tmp_path, truth):
    raw = tiny_kins.write_raw(tmp_path / "raw")
    masks = tiny_kins.write_masks(tmp_path / "masks")
    assert tracked_drives(raw, tmp_path / "masks") == {tiny_kins.DRIVE: masks}
    frames = list(built_frames(raw, tiny_kins.DRIVE, masks, truth))
    assert len(frames) == tiny_kins.FRAMES
    for t, frame in enumerate(frames):
        (car,), (walker,) = frame.instances, frame.untracked
        np.testing.assert_array_equal(image((car.box, car.mask)), tiny_kins.seen(t)["1"])
        np.testing.assert_array_equal(image((walker.box, walker.mask)), tiny_kins.walker(t))
        assert car.id == "0/1"
        if t in tiny_kins.IMAGE:
            assert list(frame.full) == ["0/1"]
            np.testing.assert_array_equal(image(frame.full["0/1"]), tiny_kins.car(t))
        else:
            assert frame.full is None


def test_builder_takes_other_classes_and_parts_of_a_drive(tmp_path, truth):
    raw = tiny_kins.write_raw(tmp_path / "raw")
    masks = tiny_kins.write_masks(tmp_path / "masks")
    frames = list(built_frames(raw, tiny_kins.DRIVE, masks, truth, 1, 3, classes=("1", "2")))
    assert len(frames) == 2
    assert [item.id for item in frames[0].instances] == ["1/1", "1/7"]
    assert set(frames[0].full) == {"1/1", "1/7"} and not frames[0].untracked
    assert list(built_frames(raw, tiny_kins.DRIVE, masks, start=9)) == []
    assert next(built_frames(raw, tiny_kins.DRIVE, masks)).full is None


def test_tracks_restart_after_a_missing_frame(tmp_path):
    raw = tiny_kins.write_raw(tmp_path / "raw")
    masks = tiny_kins.write_masks(tmp_path / "masks")
    (raw / tiny_kins.DATE / tiny_kins.DRIVE / "image_02" / "data" / "0000000002.png").unlink()
    frames = list(built_frames(raw, tiny_kins.DRIVE, masks))
    assert [f.instances[0].id for f in frames] == ["0/1", "0/1", "3/1", "3/1", "3/1"]


def test_annotations_without_a_track_are_no_truth(tmp_path, truth):
    """The tracker lost the car where KINS has it: below half IoU nothing is paired."""
    raw = tiny_kins.write_raw(tmp_path / "raw")
    masks = tiny_kins.write_masks(tmp_path / "masks")
    moved = np.roll(tiny_kins.seen(1)["1"], 25, 1)
    lines = masks.read_text().splitlines()
    lines[2] = " ".join(
        [*lines[2].split()[:3], *map(str, tiny_kins.SHAPE), tiny_kins.runs(moved)["counts"]]
    )
    masks.write_text("\n".join(lines) + "\n")
    frames = list(built_frames(raw, tiny_kins.DRIVE, masks, truth))
    assert frames[1].full == {} and list(frames[4].full) == ["0/1"]


def test_truth_of_another_image_size_is_refused(tmp_path, truth):
    record = tiny_kins.kins_record()
    record["images"][0]["width"] += 1
    tiny_kins.write_kins(tmp_path / "kins2" / "k.json", record)
    other = TruthSource(tmp_path / "kins2" / "k.json", truth.mapping)
    raw = tiny_kins.write_raw(tmp_path / "raw")
    frames = built_frames(raw, tiny_kins.DRIVE, tiny_kins.write_masks(tmp_path / "masks"), other)
    with fails(KinsError, "size", "image 000002"):
        list(frames)


def test_missing_parts_of_the_builder_are_named(tmp_path):
    with lacks("tracked_masks"):
        tracked_drives(tmp_path, tmp_path)
    tiny_kins.write_masks(tmp_path / "masks")
    with lacks("kitti_raw"):
        tracked_drives(tmp_path, tmp_path / "masks")


def test_released_layout_is_read(tmp_path, truth):
    cars = ReleasedCars(tiny_kins.write_released(tmp_path / "r"), "test")
    assert cars.videos == [tiny_kins.DRIVE]
    frames = list(cars.frames(tiny_kins.DRIVE, truth=truth))
    assert len(frames) == tiny_kins.FRAMES
    for t, frame in enumerate(frames):
        (car,), (other,) = frame.instances, frame.untracked
        assert car.id == "3" and frame.flow is None
        np.testing.assert_array_equal(image((car.box, car.mask)), tiny_kins.seen(t)["1"])
        np.testing.assert_array_equal(image((other.box, other.mask)), tiny_kins.walker(t))
        assert (frame.full is None) == (t not in tiny_kins.IMAGE)
    np.testing.assert_array_equal(image(frames[4].full["3"]), tiny_kins.car(4))
    assert len(list(cars.frames(tiny_kins.DRIVE, 2, 5))) == 3


def test_released_flow_is_joined(tmp_path):
    root = tiny_kins.write_released(tmp_path / "r")
    for name, sign in (("Kitti_flow", 1), ("Kitti_reverse_flow", -1)):
        folder = root / "Kitti" / name / tiny_kins.DATE / tiny_kins.DRIVE
        for t in range(tiny_kins.FRAMES - 1):
            flow = np.full((*tiny_kins.SHAPE, 2), sign * (t + 1), np.float32)
            write_flo(folder / f"{t:06d}.flo", flow)
    frames = list(ReleasedCars(root, "test").frames(tiny_kins.DRIVE, 1, 3))
    assert [f.flow[0, 0, 0] for f in frames] == [2, 3]
    assert [f.flow_back[0, 0, 0] for f in frames] == [-1, -2]


def test_code_in_the_released_pickle_is_not_run(tmp_path):
    root = tiny_kins.write_released(tmp_path / "r", VM_bbox=trap(tmp_path / "run"))
    with fails(UnsafePickleError, "content", "mkdir"):
        ReleasedCars(root, "test")
    assert not (tmp_path / "run").exists()


def test_missing_or_damaged_released_files_are_named(tmp_path):
    root = tiny_kins.write_released(tmp_path / "r", VM={"size": [1, 1], "counts": b"1"})
    with fails(KinsError, "mask", "VM of", "object 3, frame 0", "[1, 1]"):
        list(ReleasedCars(root, "test").frames(tiny_kins.DRIVE))
    with fails(KinsError, "choices", "split"):
        ReleasedCars(root, "all")
    with lacks("kins_video_car"):
        ReleasedCars(root, "train")
    picture = ReleasedCars(root, "test").pictures(tiny_kins.DRIVE)[0]
    picture.write_bytes(picture.read_bytes()[:40])
    with fails(KinsError, "unreadable") as info:
        list(ReleasedCars(root, "test").frames(tiny_kins.DRIVE))
    assert str(info.value).startswith(str(picture))
    (root / "car_data" / "test_data.pkl").write_bytes(pickle.dumps([1]))
    with fails(KinsError, "layout", "test_data.pkl"):
        ReleasedCars(root, "test")
