import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savos_model import geometry
from savos_model.config import ModelConfig
from savos_model.geometry import (
    crop,
    enlarge,
    intersect,
    mask_box,
    paste,
    pull_patch,
    union,
    warp_patch,
    window,
)
from savos_model.stream.inputs import mask_channel
from savos_model.types import Box, Instance
from tests.presets import PAPER_SMALL

PATCH = (32, 64)
corner = st.integers(-40, 140)
side = st.integers(1, 90)
boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), corner, corner, side, side)


@given(boxes, boxes)
def test_union_and_intersection_agree_with_pixel_sets(a, b):
    def pixels(box):
        return {
            (x, y) for x in range(int(box.x0), int(box.x1)) for y in range(int(box.y0), int(box.y1))
        }

    both = intersect(a, b)
    assert (pixels(both) if both else set()) == pixels(a) & pixels(b)
    assert pixels(a) | pixels(b) <= pixels(union(a, b))


@given(boxes, st.floats(1, 4))
def test_enlarged_box_holds_the_box_and_keeps_its_centre(box, factor):
    big = enlarge(box, factor)
    assert big.x0 <= box.x0 and big.y0 <= box.y0 and big.x1 >= box.x1 and big.y1 >= box.y1
    assert big.width >= min(box.width * factor, 16)
    assert abs((big.x0 + big.x1) - (box.x0 + box.x1)) <= 2


@given(boxes)
def test_window_is_the_zero_padded_image(box):
    image = np.arange(1, 100 * 120 + 1, dtype=np.int64).reshape(100, 120)
    padded = np.pad(image, 300)
    x0, y0, x1, y1 = (int(v) + 300 for v in box)
    np.testing.assert_array_equal(window(image, box), padded[y0:y1, x0:x1])


@settings(max_examples=40)
@given(boxes, st.integers(0, 1000))
def test_crop_keeps_the_mean(box, seed):
    """Area means keep mass; bilinear growth keeps it nearly."""
    image = cv2.GaussianBlur(np.random.default_rng(seed).random((100, 120), np.float32), (0, 0), 3)
    patch = crop(image, box, PATCH)
    assert patch.shape == PATCH
    if box.width >= 8 and box.height >= 8:
        assert patch.mean() == pytest.approx(window(image, box).mean(), abs=0.03)


@settings(max_examples=40)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(20, 100), st.integers(20, 80))
def test_paste_inverts_crop_on_smooth_images(x, y, w, h):
    """Round trip of a linear ramp: exact but for the half patch pixel at the rim."""
    rows, cols = np.mgrid[0:160, 0:180].astype(np.float32)
    image = 0.3 * cols + 0.7 * rows
    box = Box(x, y, x + w, y + h)
    back = paste(crop(image, box, PATCH), box, box)
    rim_x, rim_y = int(np.ceil(w / 64)) + 1, int(np.ceil(h / 32)) + 1
    inner = (slice(rim_y, -rim_y), slice(rim_x, -rim_x))
    np.testing.assert_allclose(back[inner], window(image, box)[inner], atol=0.35)


def ellipse(box: Box, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """Soft ellipse sampled at the pixel centres of a patch that fills the box."""
    rows, cols = PATCH
    x = box.x0 + (np.arange(cols) + 0.5) * box.width / cols
    y = box.y0 + (np.arange(rows) + 0.5) * box.height / rows
    inside = 1 - np.hypot((x - cx) / rx, ((y - cy) / ry)[:, None])
    return (1 / (1 + np.exp(-inside * 12))).astype(np.float32)


def affine_motion(box: Box, matrix: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """Exact forward motion A(p - c) + c + t - p at patch pixel centres."""
    rows, cols = PATCH
    x = box.x0 + (np.arange(cols) + 0.5) * box.width / cols
    y = box.y0 + (np.arange(rows) + 0.5) * box.height / rows
    gx, gy = np.meshgrid(x - centre[0], y - centre[1])
    moved = matrix[:, :2] @ np.stack((gx.ravel(), gy.ravel())) + matrix[:, 2:]
    return (moved - np.stack((gx.ravel(), gy.ravel()))).reshape(2, rows, cols).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("still", [[1, 0, 0], [0, 1, 0]]),
        ("shift", [[1, 0, 14.0], [0, 1, -6.5]]),
        ("zoom", [[1.08, 0, 3], [0, 1.08, 2]]),
        ("turn", [[np.cos(0.12), -np.sin(0.12), 0], [np.sin(0.12), np.cos(0.12), 0]]),
    ],
)
def test_warp_follows_known_motion_into_another_box(name, matrix):
    matrix = np.array(matrix, float)
    source, target = Box(10, 20, 138, 84), Box(25, 10, 165, 88)
    centre = (74.0, 52.0)
    mask = ellipse(source, *centre, 30, 16)
    moved = warp_patch(mask, affine_motion(source, matrix, centre), source, target)
    # Truth: the ellipse's value at the inverse-mapped pixel centres of the target box.
    rows, cols = PATCH
    x = target.x0 + (np.arange(cols) + 0.5) * target.width / cols - centre[0]
    y = target.y0 + (np.arange(rows) + 0.5) * target.height / rows - centre[1]
    gx, gy = np.meshgrid(x, y)
    back = np.linalg.inv(matrix[:, :2]) @ (np.stack((gx.ravel(), gy.ravel())) - matrix[:, 2:])
    inside = 1 - np.hypot(back[0] / 30, back[1] / 16).reshape(rows, cols)
    truth = 1 / (1 + np.exp(-inside * 12))
    both, either = (moved > 0.5) & (truth > 0.5), (moved > 0.5) | (truth > 0.5)
    assert both.sum() / either.sum() > 0.97, name
    assert np.abs(moved - truth).mean() < 0.01


def test_pull_follows_known_motion_and_the_residual_where_it_was_predicted():
    source, target, centre = Box(10, 20, 138, 84), Box(25, 10, 165, 88), (74.0, 52.0)
    mask = ellipse(source, *centre, 30, 16)
    back = np.empty((2, *PATCH), np.float32)
    back[0], back[1] = -14.0, 6.5  # the object moved by (14, -6.5)
    still = np.zeros_like(back)
    moved = pull_patch(mask, back, still, source, target)
    truth = ellipse(target, centre[0] + 14, centre[1] - 6.5, 30, 16)
    np.testing.assert_allclose(moved, truth, atol=0.05)
    # A residual of two patch pixels to the right: the mask comes from there, so it moves left.
    residual = still.copy()
    residual[0] = 2.0
    shifted = pull_patch(mask, back, residual, source, target)
    shift = 2 * source.width / PATCH[1]
    truth = ellipse(target, centre[0] + 14 - shift, centre[1] - 6.5, 30, 16)
    np.testing.assert_allclose(shifted, truth, atol=0.05)


def test_torch_pull_equals_the_numpy_form():
    torch = pytest.importorskip("torch")
    from savos_model.network import geometry_torch

    rng = np.random.default_rng(4)
    values = cv2.GaussianBlur(rng.random((*PATCH, 2), np.float32), (0, 0), 2)
    motion, residual = (
        cv2.GaussianBlur(rng.normal(0, s, (*PATCH, 2)).astype("f4"), (0, 0), 3).transpose(2, 0, 1)
        for s in (30, 10)
    )
    source, target = Box(-5, 7, 91, 60), Box(2, 3, 101, 66)
    ours = pull_patch(values, motion, residual, source, target)
    given = [torch.from_numpy(np.ascontiguousarray(v))[None] for v in (motion, residual)]
    theirs = geometry_torch.pull_patch(
        torch.from_numpy(values.transpose(2, 0, 1).copy())[None],
        *given,
        torch.tensor([source]).float(),
        torch.tensor([target]).float(),
    )[0].permute(1, 2, 0)
    # OpenCV's remap rounds coordinates to 1/32 pixel.
    np.testing.assert_allclose(ours, theirs.numpy(), atol=0.03)
    assert np.abs(ours - theirs.numpy()).mean() < 0.003


def test_torch_forms_equal_the_numpy_forms():
    torch = pytest.importorskip("torch")
    from savos_model.network import geometry_torch

    rng = np.random.default_rng(0)
    mask = cv2.GaussianBlur(rng.random(PATCH, np.float32), (0, 0), 2)
    motion = cv2.GaussianBlur(
        rng.normal(0, 30, (*PATCH, 2)).astype(np.float32), (0, 0), 3
    ).transpose(2, 0, 1)
    source, target = Box(-5, 7, 91, 60), Box(2, 3, 101, 66)
    ours = warp_patch(mask, motion, source, target)
    theirs = geometry_torch.warp_patch(
        torch.from_numpy(mask)[None, None],
        torch.from_numpy(motion.copy())[None],
        torch.tensor([source]).float(),
        torch.tensor([target]).float(),
    )[0, 0].numpy()
    # OpenCV's remap rounds coordinates to 1/32 pixel.
    np.testing.assert_allclose(ours, theirs, atol=0.03)
    assert np.abs(ours - theirs).mean() < 0.003


def test_torch_motion_equals_numpy_motion():
    torch = pytest.importorskip("torch")
    from savos_model.config import ModelConfig
    from savos_model.motion import amodal_motion, flow_scale
    from savos_model.network.motion_torch import amodal_motion as torch_motion

    rng, box = np.random.default_rng(1), Box(3, 4, 90, 77)
    patch = rng.normal(0, 1, (6, *PATCH)).astype(np.float32)
    residual = rng.normal(0, 1, (2, *PATCH)).astype(np.float32)
    ours = amodal_motion(
        residual, patch[4:6], patch[3], (2.0, -1.0), flow_scale(ModelConfig(**PAPER_SMALL), box)
    )
    theirs = torch_motion(
        torch.from_numpy(residual),
        torch.from_numpy(patch),
        torch.tensor(box).float(),
        torch.tensor([2.0, -1.0]),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@settings(max_examples=60)
@given(boxes, st.sampled_from([(np.uint8, 3), (np.float32, 1)]), st.integers(0, 1000))
def test_large_boxes_are_cropped_as_others_are(box, kind, seed):
    dtype, channels = kind
    values = np.random.default_rng(seed).integers(0, 256, (100, 120, channels)).squeeze()
    image, patch = values.astype(dtype), (8, 16)
    box = Box(box.x0, box.y0, box.x1 + patch[1], box.y1 + patch[0])  # it shrinks
    inside = intersect(box, Box(0, 0, 120, 100))
    got = geometry.crop_inside(image, box, inside, patch)
    want = cv2.resize(window(image, box), patch[::-1], interpolation=cv2.INTER_AREA)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    # OpenCV leaves shares of a pixel below a thousandth out.
    np.testing.assert_allclose(got, want, atol=1 if dtype == np.uint8 else 0.3)


@settings(max_examples=60)
@given(boxes, boxes, st.integers(0, 1000))
def test_large_boxes_are_pasted_as_others_are(box, region, seed):
    patch = np.random.default_rng(seed).random(PATCH, np.float32)
    want = paste(patch, box, region)
    got = geometry.paste_inside(patch, box, region)
    np.testing.assert_allclose(got, want, atol=1e-4 if cv2.__version__ >= "5" else 1 / 16)


def test_large_boxes_take_memory_for_the_image_alone():
    image, box = np.ones((900, 1000, 3), np.uint8), Box(-60_000, -60_000, 61_000, 60_900)
    tracemalloc.start()
    patch = crop(image, box, PATCH)
    values = paste(np.ones(PATCH, np.float32), box, Box(0, 0, 1000, 900))
    item = Instance("1", Box(10, 10, 20, 20), np.ones((10, 10), np.uint8))
    mask = mask_channel(image[..., 0], item, box, ModelConfig(**PAPER_SMALL))
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20  # the box has 14 GiB
    tracemalloc.stop()
    assert values.min() == values.max() == 1
    cell = 121_000 / 64 * 120_900 / 32
    assert mask.sum() * cell == pytest.approx(100 - (900 * 1000 - 100), rel=1e-3)
    assert patch.max() == 0 and mask.min() < 0  # a hundredth of a grey level


def test_mask_box_of_an_empty_mask_is_none():
    assert mask_box(np.zeros((4, 5), np.uint8)) is None
    assert mask_box(np.eye(3, dtype=np.uint8), (10, 20)) == Box(10, 20, 13, 23)


@pytest.mark.parametrize(
    "size", [(64, 128), (65, 131), (120, 148), (128, 256), (200, 301), (300, 500)]
)
def test_colours_are_opencvs_area_means(size):
    image = np.random.default_rng(1).integers(0, 256, (310, 520, 3), np.uint8)
    box = Box(5, 3, 5 + size[1], 3 + size[0])
    want = cv2.resize(window(image, box), (128, 64), interpolation=cv2.INTER_AREA)
    got = crop(image, box, (64, 128))
    assert got.dtype == np.uint8
    off = np.abs(got.astype(int) - want)  # none here; vector units may round a half differently
    assert off.max() <= 1 and off.mean() < 1e-3
