# ruff: noqa: E402  (nothing below imports where torch is absent)
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from savos_model import geometry
from savos_model.network import geometry_torch
from savos_model.types import Box
from tests.model.released import reference_arrays, reference_clip, reference_net
from tests.model.released_geometry import (
    Clip,
    Estimate,
    aligned,
    base_motion,
    bidirectional_masks,
    both_passes,
    merge,
    paste,
    reverse,
    warp,
)


@pytest.fixture
def reference(shared_data):
    return reference_arrays(shared_data)


def test_meets_the_released_images(reference):
    net, clip = reference_net(reference), reference_clip(reference)
    with torch.inference_mode():
        forward, _ = both_passes(net, clip)
        masks = bidirectional_masks(net, clip)
    flow = forward.flow.permute(0, 1, 3, 4, 2)
    np.testing.assert_allclose(flow, reference["final_flow_image"], atol=1e-4)
    for ours, key in ((forward.mask, "warped_mask_image"), (forward.alpha, "warped_alpha_image")):
        # A flow that is 1e-4 px off shows as much as the image changes over that.
        slope = np.abs(np.diff(reference[key], axis=-1)).max()
        atol = 1e-4 * (1 + slope)
        np.testing.assert_allclose(ours[:, :, None], reference[key], atol=atol, err_msg=key)
    np.testing.assert_allclose(masks[0], reference["bidirectional_mask_image"], atol=1e-4)


def test_released_warp_spreads_a_pixel_that_ours_keeps():
    delta = torch.zeros(1, 1, 8, 16)
    delta[..., 3, 4] = 1
    still = torch.zeros(1, 2, 8, 16)
    spread = torch.zeros_like(delta)
    spread[..., 3:5, 4:6] = 0.25
    torch.testing.assert_close(warp(delta, still), spread)
    box = torch.tensor([[0.0, 0, 16, 8]])
    torch.testing.assert_close(geometry_torch.warp_patch(delta, still, box, box), delta)
    ours = geometry.warp_patch(
        delta[0, 0].numpy(), still[0].numpy(), Box(0, 0, 16, 8), Box(0, 0, 16, 8)
    )
    np.testing.assert_allclose(ours, delta[0, 0])


def test_released_warp_reads_flow_at_the_target_and_smears_the_border():
    image = torch.zeros(1, 1, 4, 8)
    image[..., 0] = 1
    flow = torch.zeros(1, 2, 4, 8)
    flow[:, 0, :, 4:] = 6  # pixels 4 and later are said to come from 6 px further left
    moved = warp(image, flow)[0, 0, 1]
    np.testing.assert_allclose(moved, [1, 0.5, 0, 0, 1, 1, 1, 0.5])


def test_released_paste_leaves_the_last_row_and_column_of_the_box_empty():
    out = paste(torch.ones(1, 1, 4, 8), torch.tensor([[2.0, 1, 11, 6]]), (12, 16))[0, 0]
    # 8 columns and 4 rows are filled one to one; the box has 9 and 5.
    want = torch.zeros(12, 16)
    want[1:5, 2:10] = 1
    torch.testing.assert_close(out, want)


@pytest.mark.parametrize(("width", "first"), [(16, 1.0), (15, 0.5)])
def test_released_paste_is_half_a_pixel_off_in_images_of_odd_width(width, first):
    out = paste(torch.ones(1, 1, 4, 8), torch.tensor([[2.0, 1, 11, 6]]), (12, width))[0, 0]
    row = out[2]
    np.testing.assert_allclose(row[[1, 2, 3]], [1 - first, 1, 1], atol=1e-6)
    np.testing.assert_allclose(row[[8, 9, 10]], [1, first, 0], atol=1e-6)


def test_released_paste_cuts_the_rim_when_the_image_is_smaller_than_the_patch():
    out = paste(torch.ones(1, 1, 4, 8), torch.tensor([[0.0, 0, 5, 5]]), (6, 6))[0, 0]
    assert out[:4, 1:3].min() == 1
    assert out[0, 0] < 1
    assert out[0, 3] < 1


def test_paste_refuses_a_box_of_one_pixel():
    with pytest.raises(ValueError, match="^boxes "):
        paste(torch.ones(1, 1, 4, 8), torch.tensor([[2.0, 1, 3, 6]]), (12, 16))


def test_base_motion_is_flow_on_the_visible_mask_and_its_mean_elsewhere():
    flow = torch.arange(2 * 3 * 4.0).reshape(1, 1, 2, 3, 4)
    visible = torch.zeros(1, 1, 3, 4)
    visible[..., 0, :2] = 1
    base = base_motion(flow, visible)[0, 0]
    np.testing.assert_allclose(base[0, 0], [0, 1, 0.5, 0.5])
    np.testing.assert_allclose(base[1, 2], [12.5] * 4)


def test_empty_visible_mask_is_refused_by_place():
    visible = torch.ones(2, 3, 4, 4)
    visible[1, 2] = 0
    with pytest.raises(ValueError, match=r"\[\[1, 2\]\]"):
        base_motion(torch.zeros(2, 3, 2, 4, 4), visible)


def test_reverse_swaps_the_flows_and_twice_is_nothing():
    torch.manual_seed(0)
    clip = Clip(
        torch.rand(2, 5, 8, 4, 8),
        torch.rand(2, 5, 6, 9),
        torch.rand(2, 5, 4),
        torch.rand(2, 5, 2, 6, 9),
        torch.rand(2, 5, 2, 6, 9),
    )
    back = reverse(clip)
    assert torch.equal(back.patches[:, 0, 4:6], clip.patches[:, -1, 6:8])
    assert torch.equal(back.patches[:, 1, :4], clip.patches[:, -2, :4])
    assert torch.equal(back.flow[:, 0], clip.backward_flow[:, -1])
    assert all(torch.equal(a, b) for a, b in zip(reverse(back), clip, strict=True))


def test_both_passes_speak_of_the_same_frame_except_the_junk_tail():
    frames = torch.arange(6.0)
    of_next, of_previous = frames + 1, frames.flip(0) - 1  # the frame each entry speaks of
    match = aligned(of_previous[None])[0]
    assert match[:4].tolist() == of_next[:4].tolist()
    assert match[4:].tolist() == [3, 4]


def test_merge_follows_alpha_per_pixel():
    shape = (1, 4, 2, 2)
    flow = torch.zeros(1, 4, 2, 2, 2)
    strong = torch.zeros(shape)
    strong[..., 0] = 50
    merged = merge(
        Estimate(torch.ones(shape), strong, flow),
        Estimate(torch.zeros(shape), torch.zeros(shape), flow),
    )
    np.testing.assert_allclose(merged[..., 0], 1)
    np.testing.assert_allclose(merged[..., 1], 0.5)
