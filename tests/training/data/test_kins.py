import numpy as np
import pytest
import tiny_kins
from failing import fails, lacks

from training.data.kins_video_car import (
    KinsAnnotations,
    KinsError,
    read_mapping,
)
from training.data.provenance import PARTS, MissingPartError


def image(boxed):
    canvas = np.zeros(tiny_kins.SHAPE, np.uint8)
    box = boxed.box
    canvas[box.y0 : box.y1, box.x0 : box.x1] = boxed.mask
    return canvas


def test_annotations_are_read_by_image_number(tmp_path):
    kins = KinsAnnotations(tiny_kins.write_kins(tmp_path / "instances_train.json"))
    assert kins.images == {0, 2} and kins.shape(2) == tiny_kins.SHAPE
    (car, whole), (walker, other) = kins.objects(2)
    assert (car.class_id, walker.class_id) == ("4", "2")
    np.testing.assert_array_equal(image(car), tiny_kins.seen(1)["1"])
    np.testing.assert_array_equal(image(whole), tiny_kins.car(1))
    np.testing.assert_array_equal(image(other), tiny_kins.walker(1))


def test_the_layout_of_2020_is_read_too(tmp_path):
    record = tiny_kins.kins_record()
    for note in record["annotations"]:
        note["a_segm"], note["i_segm"] = note.pop("segmentation"), note.pop("inmodal_seg")
    note["a_segm"] = tiny_kins.runs(tiny_kins.walker(4))
    kins = KinsAnnotations(tiny_kins.write_kins(tmp_path / "k.json", record))
    np.testing.assert_array_equal(image(kins.objects(0)[0][1]), tiny_kins.car(4))
    np.testing.assert_array_equal(image(kins.objects(0)[1][1]), tiny_kins.walker(4))


def test_several_polygons_are_one_mask(tmp_path):
    record = tiny_kins.kins_record()
    record["annotations"][0]["segmentation"] = [
        [0, 0, 10, 0, 10, 10, 0, 10], [20, 0, 30, 0, 30, 10, 20, 10]
    ]  # fmt: skip
    kins = KinsAnnotations(tiny_kins.write_kins(tmp_path / "k.json", record))
    assert image(kins.objects(2)[0][1]).sum() == 200


def test_objects_without_a_visible_pixel_are_left_out(tmp_path):
    record = tiny_kins.kins_record()
    record["annotations"][0]["inmodal_seg"] = tiny_kins.runs(np.zeros(tiny_kins.SHAPE, np.uint8))
    kins = KinsAnnotations(tiny_kins.write_kins(tmp_path / "k.json", record))
    assert [item.class_id for item, _ in kins.objects(2)] == ["2"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("segmentation", [[1, 2, 3, 4]]),
        ("segmentation", [[1, 2, 3, 4, 5]]),
        ("segmentation", [[0, 0, 1e12, 0, 1, 1]]),
        ("segmentation", [[0, 0, "x", 0, 1, 1]]),
        ("segmentation", [3]),
        ("inmodal_seg", {"size": [1, 1], "counts": "1"}),
        ("inmodal_seg", {"size": [60, 100], "counts": "~~"}),
        ("inmodal_seg", {"size": [60, 100]}),
        ("category_id", "car"),
    ],
)
def test_damaged_annotations_are_named(tmp_path, field, value):
    record = tiny_kins.kins_record()
    record["annotations"][0][field] = value
    kins = KinsAnnotations(tiny_kins.write_kins(tmp_path / "k.json", record))
    with fails(KinsError, "annotation") as info:
        kins.objects(2)
    assert "annotation 0 of image 000002: " in str(info.value)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "k.json"
    huge = {"id": 1, "file_name": "000001.png", "height": 10**6, "width": 5}
    for content, kind, found in (
        ("[", "unreadable", ""),
        ("[]", "layout", ""),
        ('{"images": []}', "layout", "'annotations'"),
        ('{"images": [{"id": 1}], "annotations": []}', "layout", "'file_name'"),
    ):
        path.write_text(content)
        with fails(KinsError, kind) as info:
            KinsAnnotations(path)
        assert found in str(info.value)
    tiny_kins.write_kins(path, {"images": [huge], "annotations": []})
    with fails(KinsError, "size"):
        KinsAnnotations(path)


def test_missing_parts_are_named_in_one_line_with_source_and_licence(tmp_path):
    with pytest.raises(MissingPartError) as caught:
        KinsAnnotations(tmp_path / "instances_train.json")
    text = str(caught.value)
    assert "instances_train.json is missing: KINS annotations" in text and "\n" not in text
    assert "KINS-Dataset" in text and "licence: " in text
    for name in PARTS:
        text = str(MissingPartError(name, tmp_path))
        assert "http" in text and "licence: " in text and "\n" not in text


def test_mapping_by_hand(tmp_path):
    folder = tiny_kins.write_mapping(tmp_path)
    (folder / "train_rand.txt").write_text("3,1,2\n")
    frames = read_mapping(folder)
    assert frames == {tiny_kins.DRIVE: {1: 0, 4: 1}, "2011_09_26_drive_0001_sync": {1: 2}}


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("train_rand.txt", "1,2", "order"),
        ("train_rand.txt", "1,2,4", "order"),
        ("train_rand.txt", "1,2,2", "order"),
        ("train_rand.txt", "1,x,3", "numbers"),
        ("train_mapping.txt", "2011_09_26 2011_09_26_drive_0009_sync", "line"),
        ("train_mapping.txt", "2011_09_26 other 1", "line"),
    ],
)
def test_damaged_tables_are_named(tmp_path, name, text, kind):
    folder = tiny_kins.write_mapping(tmp_path)
    (folder / name).write_text(text)
    with fails(KinsError, kind, name):
        read_mapping(folder)


def test_missing_tables_are_named(tmp_path):
    with lacks("kitti_object_mapping"):
        read_mapping(tmp_path)


def test_the_devkit_s_tables_map_known_frames(shared_data):
    """Matched by eye and by file: frames of tracking clip 0001, which is drive 0009."""
    folder = shared_data / "kitti_object_mapping"
    if not folder.is_dir():
        pytest.skip(f"no devkit mapping at {folder}")
    images = read_mapping(folder)["2011_09_26_drive_0009_sync"]
    assert {frame: images[frame] for frame in (1, 2, 14, 30)} == {
        1: 5572, 2: 2712, 14: 6625, 30: 684
    }  # fmt: skip
    assert sum(frame in images for frame in range(31)) == 30
    assert sum(map(len, read_mapping(folder).values())) == 7481
