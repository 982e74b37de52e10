# ruff: noqa: E402  (nothing below imports where torch is absent)
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: N812

from savos_model.network.geometry_torch import box_grid
from training.learn.mask_noise import shift_outline
from training.learn.occluders import within
from training.learn.pixels import look, look_at_mask, pixel_maps, times, to_bytes, to_floats

SIZE, PATCH = (48, 96), (32, 80)


def boxes(mirrored=False):
    """Boxes of three pictures and of patches that reach beyond them, in part or far."""
    source = torch.tensor([[10.0, 20, 130, 80], [0, 0, 60, 90], [-5, 3, 33, 21]])
    target = torch.tensor([[2.0, 17.5, 140, 71], [10, 11, 50.5, 52], [40, 30, 90, 60]])
    return (source[:, [2, 1, 0, 3]] if mirrored else source), target


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("endless", [False, True])
def test_patches_are_those_of_torch_to_the_rounding_of_bytes(mirrored, endless):
    source, target = boxes(mirrored)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, *SIZE, 4), dtype=np.uint8)
    grid = box_grid(source, target, PATCH)
    exact = F.grid_sample(
        torch.from_numpy(pictures).permute(0, 3, 1, 2).float(),
        grid,
        padding_mode="border" if endless else "zeros",
        align_corners=False,
    ).permute(0, 2, 3, 1)
    places = pixel_maps(source, target, SIZE, PATCH)
    for picture, place, wanted in zip(pictures, places, exact.numpy(), strict=True):
        # Noise differs by up to 8 from pixel to pixel per 32nd, which older OpenCV rounds to.
        assert np.abs(look(picture, place, PATCH, endless=endless) - wanted).mean() < 1.5
        smooth = picture[..., 0].astype(np.float32)
        given = look(smooth, place, PATCH, endless=endless)
        assert np.abs(given - wanted[..., 0]).mean() < 1.5
    if not endless:
        assert not exact[2].any() and not look(pictures[2], places[2], PATCH).any()


def test_an_empty_mask_stays_empty_and_another_is_looked_at():
    source, target = boxes()
    place = pixel_maps(source, target, SIZE, PATCH)[0]
    mask = np.zeros(SIZE, np.uint8)
    assert not look_at_mask(mask, place, PATCH).any()
    mask[10:30, 20:70] = 255
    assert np.array_equal(look_at_mask(mask, place, PATCH), look(mask, place, PATCH))


def test_products_and_floats_of_bytes():
    a = np.array([[[0, 255, 128, 51]]], np.uint8)
    assert times(a, ~a).tolist() == [[[0, 0, 64, 41]]]
    assert times(a, np.full_like(a, 255)).tolist() == a.tolist()
    assert np.array_equal(to_bytes(to_floats(a)), a)


def test_limits_are_centred_shares_of_pixels():
    source = torch.tensor([[0.0, 0, 8, 8]])
    places = pixel_maps(source, source, SIZE, (8, 8))
    mask = within((0.5, torch.inf), places, SIZE, (8, 8))[0]
    assert mask[:, 2:6].min() == 255 and not mask[:, :2].any() and not mask[:, 6:].any()
    narrow = within((0.1, 0.75), places, SIZE, (8, 8))[0]
    assert narrow[1:7].sum() == pytest.approx(0.2 * 4 * 255 * 6, rel=0.02)
    assert not narrow[[0, 7]].any()


@pytest.mark.parametrize(("x", "y"), [(3, 0), (0, 5), (2, 1), (-2, -1), (3, -2), (0, 0)])
def test_outlines_move_by_pixels_along_both_axes(x, y):
    mask = np.zeros((32, 64), np.uint8)
    mask[8:24, 16:48] = 255
    wanted = np.zeros_like(mask)
    wanted[8 - y : 24 + y, 16 - x : 48 + x] = 255
    assert np.array_equal(shift_outline(mask, x, y), wanted)
    whole = np.full_like(mask, 255)  # continues beyond the patch
    assert np.array_equal(shift_outline(whole, x, y), whole)
