import cv2
import numpy as np
import pytest

from savos_model.optical_flow import DisFlow, padded_box, visible_motion
from savos_model.types import Box
from tests.model.scenes import texture


def moved_object(
    dx: float, dy: float, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Box]:
    """Grey images of a textured rectangle that moves over another texture, its mask and its box."""
    ground, skin = (cv2.cvtColor(texture(240, 400, s), cv2.COLOR_BGR2GRAY) for s in (0, 1))
    box = Box(150, 90, 150 + size[0], 90 + size[1])
    mask = np.zeros_like(ground)
    mask[90 : 90 + size[1], 150 : 150 + size[0]] = 1
    shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    later_skin = cv2.warpAffine(skin, shift, (400, 240), borderMode=cv2.BORDER_REFLECT)
    later_mask = cv2.warpAffine(mask, shift, (400, 240), flags=cv2.INTER_NEAREST)
    return np.where(mask, skin, ground), np.where(later_mask, later_skin, ground), mask, box


@pytest.mark.parametrize("size", [(30, 60), (60, 40), (160, 100)])
@pytest.mark.parametrize("motion", [(0.0, 0.0), (5.0, -2.0), (9.5, 3.0)])
def test_median_motion_of_a_moving_object(size, motion):
    earlier, later, mask, box = moved_object(*motion, size)
    region = DisFlow().regions(earlier, later, [box], [(0.0, 0.0)])[0]
    x0, y0 = int(box.x0 - region.box.x0), int(box.y0 - region.box.y0)
    flow = region.flow[y0 : y0 + size[1], x0 : x0 + size[0]]
    np.testing.assert_allclose(
        visible_motion(flow, mask[mask > 0].reshape(size[::-1])), motion, atol=0.5
    )


def test_expected_motion_helps_where_the_object_leaps():
    earlier, later, mask, box = moved_object(40.0, 0.0, (50, 50))
    errors = []
    for shift in ((0.0, 0.0), (36.0, 0.0)):
        region = DisFlow().regions(earlier, later, [box], [shift])[0]
        x0, y0 = int(box.x0 - region.box.x0), int(box.y0 - region.box.y0)
        dx, _ = visible_motion(region.flow[y0 : y0 + 50, x0 : x0 + 50], np.ones((50, 50), np.uint8))
        errors.append(abs(dx - 40))
    assert errors[1] < 1 < errors[0]


def test_many_boxes_fall_back_to_one_full_frame_call():
    earlier, later, _, box = moved_object(5.0, 0.0, (160, 100))
    regions = DisFlow().regions(earlier, later, [box] * 12, [(0.0, 0.0)] * 12)
    assert len(regions) == 12
    for region in regions:
        np.testing.assert_array_equal(region.flow, regions[0].flow)
        assert abs(np.median(region.flow[60:90, 60:120, 0]) - 5) < 0.5


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


def test_empty_mask_has_no_motion():
    assert visible_motion(np.zeros((4, 4, 2), np.float32), np.zeros((4, 4), np.uint8)) is None
