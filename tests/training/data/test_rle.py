import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from savos_model.masks import look_at
from savos_model.types import Box
from training.data.rle import RleError, decode


@settings(max_examples=200)
@given(
    hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)
    )
)
def test_any_mask_comes_back(mask):
    height, width = mask.shape
    counts = coco.encode(np.asfortranarray(mask))["counts"]

    box, crop = decode(counts, height, width)

    assert np.array_equal(look_at((box, crop), Box(0, 0, width, height)), mask.astype(bool))
    if crop.size:
        assert crop.any(axis=0)[[0, -1]].all()
        assert crop.any(axis=1)[[0, -1]].all()
        assert crop.flags.c_contiguous


def test_large_blob_equals_the_library():
    mask = np.zeros((375, 1242), np.uint8)
    cv2.ellipse(mask, (700, 180), (200, 90), 20, 0, 360, 1, -1)
    counts = coco.encode(np.asfortranarray(mask))["counts"].decode()

    box, crop = decode(counts, 375, 1242)

    assert crop.sum() == mask.sum()
    rows, columns = np.nonzero(mask)
    assert box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize(
    "counts", ["", "zzzz", "\u00e9", "o" * 50, "PZ9" * 40, " \t", b"\xff\xfe", "1" * 9]
)
def test_malformed_text_is_refused(counts):
    with pytest.raises(RleError):
        decode(counts, 40, 60)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_random_bytes_never_pass_as_another_size(data):
    try:
        box, crop = decode(data, 7, 9)
    except RleError:
        return
    assert crop.shape == (box.height, box.width)
    assert box.x1 <= 9
    assert box.y1 <= 7


def test_other_image_size_is_named():
    counts = coco.encode(np.asfortranarray(np.ones((4, 5), np.uint8)))["counts"]
    with pytest.raises(RleError):
        decode(counts, 6, 5)
