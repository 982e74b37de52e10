import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savos_model.geometry import window
from savos_model.stream.flow import DisFlow, FlowRegion, middle, padded_box, shrunk
from savos_model.types import Box, Instance
from tests.model.scenes import texture


def moved_object(dx: float, dy: float, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, Box]:
    """Grey images of a textured rectangle that moves over another texture, and its box."""
    ground, skin = (cv2.cvtColor(texture(240, 400, s), cv2.COLOR_BGR2GRAY) for s in (0, 1))
    box = Box(150, 90, 150 + size[0], 90 + size[1])
    mask = np.zeros_like(ground)
    mask[90 : 90 + size[1], 150 : 150 + size[0]] = 1
    shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    later_skin = cv2.warpAffine(skin, shift, (400, 240), borderMode=cv2.BORDER_REFLECT)
    later_mask = cv2.warpAffine(mask, shift, (400, 240), flags=cv2.INTER_NEAREST)
    return np.where(mask, skin, ground), np.where(later_mask, later_skin, ground), box


@pytest.mark.parametrize("size", [(30, 60), (60, 40), (160, 100)])
@pytest.mark.parametrize("motion", [(0.0, 0.0), (5.0, -2.0), (9.5, 3.0)])
def test_median_motion_of_a_moving_object(size, motion):
    earlier, later, box = moved_object(*motion, size)
    region = DisFlow().regions(earlier, later, [box], [(0.0, 0.0)])[0]
    item = Instance("1", box, np.ones(size[::-1], np.uint8))
    np.testing.assert_allclose(region.median(item), motion, atol=0.5)
    patch = region.patch(box, (32, 64))
    np.testing.assert_allclose(np.median(patch, axis=(1, 2)), motion, atol=0.5)


def test_expected_motion_helps_where_the_object_leaps():
    earlier, later, box = moved_object(40.0, 0.0, (50, 50))
    errors = []
    for shift in ((0.0, 0.0), (36.0, 0.0)):
        region = DisFlow().regions(earlier, later, [box], [shift])[0]
        dx, _ = region.median(Instance("1", box, np.ones((50, 50), np.uint8)))
        errors.append(abs(dx - 40))
    assert errors[1] < 1 < errors[0]


@pytest.mark.parametrize("size", [(64, 64), (65, 127), (200, 333), (100, 900)])
def test_shrunk_is_nearly_the_area_mean(size):
    """On noise a seventh of the contrast off on average, and not shifted."""
    grey = cv2.cvtColor(texture(240, 960, 6), cv2.COLOR_BGR2GRAY)
    box = Box(13, 9, 13 + size[1], 9 + size[0])
    want = cv2.resize(window(grey, box), (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    got = shrunk(grey, box, (64, 64)).astype(float)
    assert np.abs(got - want).mean() < 0.15 * want.std()
    for axis in (0, 1):
        slope = np.gradient(want, axis=axis)
        assert abs((slope * (got - want)).sum() / (slope**2).sum()) < 0.06  # grid cells


def test_median_is_that_of_the_pixels_under_the_mask():
    rng = np.random.default_rng(2)
    region = FlowRegion(
        Box(10, 20, 74, 116), rng.normal(size=(48, 32, 2)).astype(np.float32), (3.0, -1.0)
    )
    mask = rng.integers(0, 2, (25, 30), np.uint8)
    item = Instance("1", Box(2, 15, 32, 40), mask)  # a part of it outside
    y, x = np.nonzero(mask)
    y, x = y + 15 - 20, x + 2 - 10
    inside = (y >= 0) & (x >= 0)
    want = np.median(region.flow[y[inside] // 2, x[inside] // 2], axis=0) * 2 + (3, -1)
    np.testing.assert_allclose(region.median(item), want, rtol=1e-6)


def test_many_boxes_fall_back_to_one_full_frame_call():
    earlier, later, box = moved_object(5.0, 0.0, (160, 100))
    regions = DisFlow().regions(earlier, later, [box] * 30, [(0.0, 0.0)] * 30)
    assert len(regions) == 30
    for region in regions:
        assert region is regions[0]
    dx, _ = regions[0].median(Instance("1", box, np.ones((100, 160), np.uint8)))
    assert abs(dx - 5) < 0.5


@pytest.mark.parametrize(
    "box",
    [Box(-50, -50, -10, -10), Box(395, 238, 460, 300), Box(0, 0, 1, 1), Box(-9, -9, 999, 999)],
)
def test_padded_boxes_lie_inside_the_image_and_are_large_enough(box):
    inside = padded_box(box, 240, 400)
    assert 0 <= inside.x0 < inside.x1 <= 400
    assert 0 <= inside.y0 < inside.y1 <= 240
    assert inside.width >= 48 and inside.height >= 48


def test_tiny_images_give_zero_flow_instead_of_an_error():
    image = np.zeros((20, 30), np.uint8)
    region = DisFlow().regions(image, image, [Box(2, 2, 8, 8)], [(0.0, 0.0)])[0]
    assert not region.flow.any()


def test_instance_outside_the_region_has_no_motion():
    region = FlowRegion(Box(0, 0, 50, 40), np.ones((40, 50, 2), np.float32))
    assert region.median(Instance("1", Box(60, 0, 70, 10), np.ones((10, 10), np.uint8))) is None
    assert region.median(Instance("1", Box(0, 0, 4, 4), np.zeros((4, 4), np.uint8))) is None


def test_large_regions_are_shrunk_and_keep_their_motion():
    ground = cv2.cvtColor(texture(600, 800, 4), cv2.COLOR_BGR2GRAY)
    shift = np.array([[1, 0, 8], [0, 1, -4]], np.float32)
    moved = cv2.warpAffine(ground, shift, (800, 600), borderMode=cv2.BORDER_REFLECT)
    region = DisFlow().region(ground, moved, Box(100, 50, 740, 550), (0.0, 0.0))
    assert region.flow.shape[0] * region.flow.shape[1] <= 10_000
    item = Instance("1", Box(150, 100, 650, 500), np.ones((400, 500), np.uint8))
    np.testing.assert_allclose(region.median(item), (8, -4), atol=0.5)


@given(
    st.integers(-30, 60),
    st.integers(-30, 60),
    st.integers(8, 90),
    st.integers(8, 90),
    st.integers(1, 3),
)
def test_patch_of_a_linear_flow_is_exact(x, y, width, height, coarse):
    """A ramp sampled is the ramp at the patch's pixel centres, away from the rim."""
    grid_y, grid_x = np.mgrid[0:30, 0:40] + 0.5
    region = FlowRegion(
        Box(0, 0, 40 * coarse, 30 * coarse), np.dstack((grid_x, grid_y)).astype(np.float32)
    )
    patch = region.patch(Box(x, y, x + width, y + height), (16, 32))
    want_x = x + (np.arange(32) + 0.5) * width / 32
    want_y = y + (np.arange(16) + 0.5) * height / 16
    inner_x = (want_x > coarse) & (want_x < 39 * coarse)
    inner_y = (want_y > coarse) & (want_y < 29 * coarse)
    want = np.broadcast_to(want_x[inner_x], (inner_y.sum(), inner_x.sum()))
    # OpenCV's warp rounds coordinates to 1/32 of a grid cell.
    np.testing.assert_allclose(patch[0][np.ix_(inner_y, inner_x)], want, atol=coarse / 16)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 101])
def test_the_middle_is_numpys_median(count):
    values = np.random.default_rng(count).normal(0, 5, (count, 2)).astype(np.float32)
    values[: count // 2] = values[0]  # equal values, too
    np.testing.assert_array_equal(middle(values), np.median(values, axis=0))
