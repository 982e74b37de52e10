import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from savos_model.instances import (
    InstanceError,
    TooManyInstancesError,
    check_instances,
    from_label_image,
    occupancy,
)
from savos_model.types import Box, Instance

labels = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.integers(0, 5),
)


@given(labels)
def test_instances_paint_the_label_image_again(image):
    canvas = np.zeros_like(image)
    found = from_label_image(image)
    for item in found:
        x0, y0, x1, y1 = (int(v) for v in item.box)
        canvas[y0:y1, x0:x1][item.mask > 0] = int(item.id)
        assert item.mask.any(0)[[0, -1]].all() and item.mask.any(1)[[0, -1]].all(), "tight box"
    np.testing.assert_array_equal(canvas, image)
    assert [int(i.id) for i in found] == sorted(int(i.id) for i in found)


def test_class_and_ignored_label():
    image = np.array([[1005, 1005, 65535], [7, 0, 2012]], np.uint16)
    assert [(i.id, i.class_id) for i in from_label_image(image)] == [
        ("7", ""),
        ("1005", "1"),
        ("2012", "2"),
    ]
    assert from_label_image(np.full((3, 3), 65535, np.uint16)) == []
    assert from_label_image(np.zeros((0, 5), np.uint16)) == []


def test_limit_counts_the_labels_present():
    image = np.array([[1005, 3, 65535]], np.uint16)
    assert [i.id for i in from_label_image(image, limit=2)] == ["3", "1005"], "one is ignored"
    with pytest.raises(TooManyInstancesError, match="2 labels.* 1:"):
        from_label_image(image, limit=1)


def test_labels_are_found_where_the_parts_that_are_read_meet(monkeypatch):
    image = np.zeros((9, 40), np.uint16)
    image[1:7, 3:20], image[2:9, 30:40] = 2, 7
    whole = from_label_image(image)
    monkeypatch.setattr("savos_model.instances.CHUNK_PX", 80)  # two rows
    found = from_label_image(image)
    assert [(i.id, i.box) for i in found] == [("2", Box(3, 1, 20, 7)), ("7", Box(30, 2, 40, 9))]
    assert all((a.mask == b.mask).all() for a, b in zip(found, whole, strict=True))
    padded = np.zeros((9, 50), np.uint16)
    padded[:, :40] = image
    assert [i.box for i in from_label_image(padded[:, :40])] == [i.box for i in found]


def test_a_picture_taken_for_labels_is_refused_by_its_first_part(monkeypatch):
    monkeypatch.setattr("savos_model.instances.CHUNK_PX", 1000)
    image = np.arange(1, 100_001, dtype=np.int32).reshape(1000, 100)
    with pytest.raises(TooManyInstancesError, match="1000 labels.* 99:"):
        from_label_image(image, limit=99)


def test_large_labels_need_no_table():
    image = np.array([[2_000_000_000, 0, 5]], np.int32)
    assert [i.id for i in from_label_image(image, divisor=0)] == ["5", "2000000000"]


@pytest.mark.parametrize(
    "image",
    [np.zeros((2, 2), np.float32), np.zeros((2, 2, 3), np.uint8), -np.ones((2, 2), np.int32)],
)
def test_what_is_no_label_image_is_refused(image):
    with pytest.raises(InstanceError, match="^labels "):
        from_label_image(image)


def test_occupancy_counts_overlaps():
    ones = np.ones((2, 2), np.uint8)
    count = occupancy(
        [Instance("a", Box(0, 0, 2, 2), ones), Instance("b", Box(1, 1, 3, 3), ones)], 3, 4
    )
    assert count.tolist() == [[1, 1, 0, 0], [1, 2, 1, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("box", "shape", "found"),
    [
        (Box(3, 0, 5, 2), (2, 2), "4x4"),
        (Box(0, 0, 2, 2), (3, 2), r"\(3, 2\).*\(2, 2\)"),
        (Box(1, 1, 1, 2), (1, 0), "4x4"),
    ],
)
def test_misfits_name_the_instance(box, shape, found):
    with pytest.raises(InstanceError, match=f"^instance 9: .*{found}"):
        check_instances([Instance("9", box, np.ones(shape, np.uint8))], 4, 4)


def test_same_id_twice_is_refused():
    item = Instance("9", Box(0, 0, 1, 1), np.ones((1, 1), np.uint8))
    with pytest.raises(InstanceError, match="^instance 9 "):
        check_instances([item, item], 4, 4)


def test_occupancy_saturates():
    items = [Instance(str(i), Box(1, 0, 2, 1), np.ones((1, 1), np.uint8)) for i in range(300)]
    assert occupancy(items, 1, 3).tolist() == [[0, 255, 0]]
