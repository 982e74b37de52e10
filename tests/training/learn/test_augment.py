# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses

import pytest

torch = pytest.importorskip("torch")

from savos_model.config import ModelConfig
from savos_model.network.layers import FLOW, RGB
from training.learn.augment import Window, make_input
from training.learn.augment_config import AugmentConfig, plain
from training.learn.draws import choose, smooth_noise

MODEL = ModelConfig(width=0.0625, patch_height=32, patch_width=64, preset="paper")
SIZE = (64, 128)  # of the context
OBJECT = (slice(19, 45), slice(38, 90))  # the middle 0.4 of it


def windows(count=32, frames=2, width=200.0):
    """Grey rectangles on black that rest in boxes of `width` x `width` / 2 px; byte masks."""
    visible = torch.zeros(count, frames, *SIZE, dtype=torch.uint8)
    visible[(..., *OBJECT)] = 255
    rgb = (visible // 2)[:, :, None].expand(-1, -1, 3, -1, -1).contiguous()
    boxes = torch.tensor([0.0, 0.0, width, width / 2]).expand(count, frames, 4)
    flow = torch.zeros(count, frames, 2, SIZE[0] // 2, SIZE[1] // 2)
    return Window(rgb, visible, torch.zeros_like(visible), flow, boxes, flow)


def made(config, seed=0, window=None):
    generator = torch.Generator().manual_seed(seed)
    return make_input(windows() if window is None else window, MODEL, config, generator)


def seen(targets):
    return targets.patches[:, :, 3]


def test_nothing_varied_gives_the_object_in_the_middle_of_its_patch():
    targets = made(plain())
    assert torch.equal(seen(targets), targets.visible)
    assert targets.weight.amin() == targets.weight.amax() == 1
    # Enlarged twice: the box of 200 x 0.8 px shows the object of 200 x 0.4 px in its middle half.
    inner = targets.visible[..., 9:23, 17:47]
    assert inner.amin() > 0.9 and targets.visible.mean() == pytest.approx(0.25, abs=0.03)
    floats = made(plain(), window=windows()._replace(visible=windows().visible / 255))
    torch.testing.assert_close(floats.visible, targets.visible)


def test_bytes_and_floats_are_the_same_window():
    window = windows()
    units = {name: getattr(window, name) / 255 for name in ("rgb", "visible", "others")}
    pair = made(AugmentConfig()), made(AugmentConfig(), 0, window._replace(**units))
    for a, b in zip(*pair, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_chosen_share_of_windows_is_that_share(share):
    generator = torch.Generator().manual_seed(0)
    counted = torch.zeros(7)
    for _ in range(2000):
        rows, used = choose(7, share, generator)
        assert len(set(rows.tolist())) == len(rows)
        counted[rows] += used
    torch.testing.assert_close(counted / 2000, torch.full((7,), share), atol=0.04, rtol=0)


def test_marked_occluders_are_in_the_mask_channel_and_untold_ones_are_not():
    marked, untold = (made(plain(paste=1.0, untold=share)) for share in (0.0, 1.0))
    hidden = [(targets.visible > 0.9) & (targets.weight > 3.9) for targets in (marked, untold)]
    assert min(part.float().mean() for part in hidden) > 0.01
    assert seen(marked)[hidden[0]].amax() < -0.9
    assert seen(untold)[hidden[1]].abs().amax() < 0.1
    assert seen(untold).amin() > -1e-3


def test_the_online_network_is_shown_nothing_under_marked_occluders():
    for blank, shown in ((True, False), (False, True)):
        online = dataclasses.replace(MODEL, preset="online", blank_others=blank)
        window = windows()
        window = window._replace(
            rgb=window.rgb + 9, flow=window.flow + 2, flow_back=window.flow + 3
        )
        generator = torch.Generator().manual_seed(0)
        targets = make_input(window, online, plain(paste=1.0, untold=0.5), generator)
        marked = seen(targets) < -0.999
        for values in (
            targets.patches[:, :, 0],
            targets.patches[:, :, 4],
            targets.flow_back[:, :, 0],
        ):
            assert marked.any() and bool((values[marked].abs() > 1e-3).any()) == shown
        free = seen(targets) > 0.999
        assert targets.patches[:, :, 0][free].amin() > 0.4
        scale = (targets.boxes[..., 2] - targets.boxes[..., 0]) / 64
        motion = targets.patches[:, :, 4] * scale[..., None, None]
        torch.testing.assert_close(motion[free], torch.full_like(motion[free], 3.0))


def test_occluders_behind_hide_nothing():
    targets = made(plain(paste=1.0, behind=1.0))
    assert (seen(targets) < -0.9).any()
    kept = targets.visible > 0.999
    assert seen(targets)[kept].amin() > 0.99
    assert targets.patches[:, :, RGB.start][kept].amin() > 0.49


def test_windows_without_an_occluder_stay_as_they_are():
    targets = made(plain(paste=0.25), window=windows(64))
    changed = ((seen(targets) - targets.visible).abs() > 0.1).flatten(1).any(1)
    assert 0 < changed.sum() <= 16


def test_supervised_windows_learn_their_amodal_masks_and_nothing_is_pasted_over_them():
    half = windows()
    whole = half.visible.clone()
    half.visible[..., 64:] = 0
    others = whole - half.visible
    amodal = torch.where(torch.arange(len(whole))[:, None, None, None] < 5, whole, 0)
    window = half._replace(others=others, amodal=amodal)
    targets = made(plain(paste=1.0, pasted_weight=4.0), window=window)
    plainly = made(plain(), window=window._replace(amodal=None))
    for shown, target in zip(targets.patches[:5], targets.visible[:5], strict=True):
        assert target.sum() > 1.3 * shown[:, 3].clamp(0).sum()
    assert torch.equal(targets.patches[:5], plainly.patches[:5])
    assert targets.weight[:5].amin() == 1 and targets.weight[:5].amax() == 4
    assert not torch.equal(targets.patches[5:], plainly.patches[5:])
    assert targets.weight[5:].amin() == 0, "what others hide is unknown without amodal masks"


def test_boxes_of_supervised_windows_can_span_the_amodal_mask():
    half = windows()
    whole = half.visible.clone()
    half.visible[..., 64:] = 0
    window = half._replace(others=whole - half.visible, amodal=whole)
    visible = plain(enlarge=1.0)
    assert torch.equal(made(visible, window=window).boxes, made(visible, window=half).boxes)
    amodal = made(plain(enlarge=1.0, memory=1.0), window=window).boxes
    full = made(visible, window=window._replace(visible=whole, amodal=None)).boxes
    assert (amodal[..., :2] <= full[..., :2] + 1e-3).all()
    assert (amodal[..., 2:] >= full[..., 2:] - 1e-3).all()


def test_poles_are_thin_and_reach_from_top_to_bottom():
    targets = made(plain(paste=1.0, poles=1.0), window=windows(64))
    pole = seen(targets) < -0.99
    rows = pole.any(-1).sum(-1)
    assert set(rows.flatten().tolist()) == {0, 32}
    # At most 0.15 x exp(0.5) of a context of 2.5 objects, in patches of two or, of what is left of
    # an object, a little less.
    columns = pole.any(-2).sum(-1)
    assert 0 < columns.amax() <= 0.15 * 1.65 * 2.5 / 1.6 * 64


def test_rectangles_are_rectangles():
    solid = seen(made(plain(paste=1.0, rectangles=1.0))) < -0.99
    area = solid.any(-1).sum(-1) * solid.any(-2).sum(-1)
    assert area.any() and torch.equal(area, solid.sum((-2, -1)))


def test_a_second_occluder_hides_more():
    one, two = (made(plain(paste=1.0, several=share), 3, windows(64)) for share in (0.0, 1.0))
    parts = [(seen(targets) < -0.5).float().mean() for targets in (one, two)]
    assert parts[1] > 1.4 * parts[0]


def test_occluders_from_a_side_leave_the_other_side():
    targets = made(plain(paste=1.0, rectangles=1.0, sides=1.0), window=windows(64))
    hidden = (seen(targets) < -0.5).any(-2)
    used = hidden.flatten(1).any(1)
    assert used.float().mean() > 0.5
    assert not (hidden[..., 20] & hidden[..., 43]).any()
    assert (hidden[..., 16] | hidden[..., 47])[used].float().mean() > 0.5


def hidden_shares(config):
    targets = made(config, window=windows(256))
    hidden = (targets.weight > 3.9) & (targets.visible > 0.9)
    area = (targets.visible > 0.9).sum((-2, -1))
    return (hidden.sum((-2, -1)) / area).amax(1)


def test_most_occluders_in_front_hide_enough():
    few, many = (hidden_shares(plain(paste=1.0, hide=share)) for share in (0.0, 0.5))
    few, many = ((shares > 0.45).float().mean() for shares in (few, many))
    assert many > few + 0.1


def test_other_frames_show_what_a_sweeping_occluder_hides():
    targets = made(plain(paste=1.0, sweeps=1.0), window=windows(64, frames=5))
    hidden = ((targets.weight > 3.9) & (targets.visible > 0.9)).flatten(2).any(2)
    used = hidden[hidden.any(1)]
    assert len(used) > 32
    clear = ~used[:, [0, -1]]
    assert clear.any(1).all()  # before it comes or after it has left
    assert clear[:, 0].any() and clear[:, 1].any()


@pytest.mark.parametrize("frames", [2, 5])
def test_flow_back_under_a_sweeping_occluder_is_the_flow_that_led_there(frames):
    config = plain(paste=1.0, sweeps=1.0, untold=1.0)
    targets = made(config, window=windows(64, frames=frames))
    covered = (targets.weight > 3.9)[:, :, None].expand_as(targets.flow_back)
    both = covered[:, 1:] & covered[:, :-1]  # of one thing that has one motion
    sides = targets.boxes[..., 2:] - targets.boxes[..., :2]  # boxes shrink with what is visible
    size = (sides / torch.tensor([64.0, 32.0]))[..., None, None]
    onward = (targets.patches[:, :, FLOW] * size)[:, :-1][both]
    back = (targets.flow_back * size)[:, 1:][both]
    assert both.any() and onward.abs().amax() > 0.1
    torch.testing.assert_close(onward, -back)


def test_an_object_is_never_hidden_wholly():
    targets = made(plain(paste=1.0, several=1.0), window=windows(128))
    left = seen(targets).clamp(min=0).sum((-2, -1)) / targets.visible.sum((-2, -1))
    assert left.amin() > 0.05


def test_pixels_under_an_occluder_move_with_it():
    window = windows(32, frames=3)
    still = window._replace(flow=window.flow + 2.0, flow_back=window.flow - 2.0)
    targets = made(plain(paste=1.0, untold=1.0), window=still)
    covered = targets.weight > 3.9
    scale = (targets.boxes[..., 2] - targets.boxes[..., 0]) / 64
    flow = targets.patches[:, :, FLOW]
    drift = flow[:, :, 0] * scale[..., None, None] - 2
    assert drift[(targets.visible > 0.9) & (targets.weight < 1.001)].abs().amax() < 1e-3
    assert 1 < drift[covered].abs().amax() < 0.06 * 100 + 1e-3
    back = targets.flow_back
    torch.testing.assert_close(
        flow[covered[:, :, None].expand_as(flow)], -back[covered[:, :, None].expand_as(back)]
    )


@pytest.mark.parametrize("width", [80.0, 400.0])
def test_masks_shrink_and_grow_by_pixels_of_the_image(width):
    config = plain(mask_noise=1.0, noise_px=3.0, ragged=0.0)
    window = windows(128, width=width)
    before, after = made(plain(), window=window), made(config, window=window)
    scale = (before.boxes[..., 2] - before.boxes[..., 0]) / 64
    columns = [(seen(t)[..., 16, :] > 0.5).sum(-1) * scale for t in (before, after)]
    grown = (columns[1] - columns[0]) / 2  # px on each side
    cell = float(scale.mean())  # rounded to cells at random, right in the mean
    assert max(grown.amax(), -grown.amin()) <= max(3, cell) + 0.5
    assert grown.mean().abs() < 0.3
    assert grown.abs().mean() == pytest.approx(1.17, abs=0.3)
    assert torch.equal(before.visible, after.visible)


def test_an_object_and_its_occluder_change_by_their_own_amounts():
    window = windows(64, width=100.0)
    others = torch.zeros_like(window.visible)
    others[..., 45:64, :] = 255  # touches the object from below
    window = window._replace(others=others)
    exact, noisy = (made(plain(mask_noise=m, ragged=0.0), window=window) for m in (0.0, 1.0))

    def between(targets):
        return ((seen(targets)[..., 30:34].abs() < 0.1)[..., 16:30, :].sum(-2)).float()

    gap = between(noisy) - between(exact)
    assert between(exact).amax() <= 1 and gap.amax() >= 2 and (gap == 0).any()


def test_ragged_outlines_change_in_part():
    config = plain(mask_noise=1.0, noise_px=6.0, ragged=1.0)
    window = windows(64, width=100.0)
    moved = seen(made(config, window=window)) - made(config, window=window).visible
    moved = moved.abs() > 0.5
    top, bottom = (moved[..., part, :].any(-2) for part in (slice(0, 16), slice(16, 32)))
    changed = (top | bottom).any(-1)
    assert changed.float().mean() > 0.5
    assert (~top[..., 20:44]).any(-1)[changed].float().mean() > 0.5


def test_holes_and_stripes_are_missing_in_the_input_alone():
    for name in ("holes", "split"):
        targets = made(plain(**{name: 1.0}))
        gone = (targets.visible > 0.9) & (seen(targets) == 0)
        share = gone.sum((-2, -1)) / targets.visible.sum((-2, -1))
        assert 0.02 < share.mean() < 0.35 and share.amax() < 0.7, name
        assert targets.weight[gone].amin() == 1
        assert targets.patches[:, :, RGB.start][gone].amin() > 0.4
    # A stripe is straight: along it the same object is cut in no more than two parts.
    middle = seen(made(plain(split=1.0)))[..., 16, 18:46] > 0.5
    assert (middle.int().diff(dim=-1).abs().sum(-1) <= 2).all()


def noise_window():
    window = windows(32)
    generator = torch.Generator().manual_seed(1)
    rgb = torch.randint(0, 256, window.rgb.shape, generator=generator, dtype=torch.uint8)
    return window._replace(rgb=rgb)


def colours(**shares):
    return made(plain(**shares), window=noise_window()).patches[:, :, RGB]


def test_low_resolution_removes_detail_and_keeps_the_mean():
    sharp, soft = colours(), colours(low_resolution=1.0)
    assert soft.var() < 0.5 * sharp.var()
    assert soft.mean() == pytest.approx(float(sharp.mean()), abs=0.01)


def test_motion_blurs_along_one_axis():
    soft = colours(motion_blur=1.0)
    along, across = (soft.diff(dim=dim).abs().mean((1, 2, 3, 4)) for dim in (-1, -2))
    sharp = colours()
    assert (torch.maximum(along, across) > 1.3 * torch.minimum(along, across)).all()
    assert soft.mean() == pytest.approx(float(sharp.mean()), abs=0.01)


def test_compression_keeps_the_means_of_blocks_and_quantises_what_is_in_them():
    sharp, coarse = colours(), colours(compression=1.0)

    def blocks(rgb):
        return rgb.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).mean((-1, -3))

    torch.testing.assert_close(blocks(coarse), blocks(sharp), atol=0.03, rtol=0)
    inside = coarse[0, 0, 0, :8, :8]
    assert len(torch.unique((inside * 1000).round())) < 0.75 * 64
    assert (coarse - sharp).abs().amax() <= 0.075 + 1e-4


def test_smooth_noise_is_smooth_and_fills_its_range():
    noise = smooth_noise((4, 3), (32, 64), (4, 8), torch.Generator().manual_seed(0))
    assert noise.shape == (4, 3, 32, 64)
    assert noise.amin() < 0.1 and noise.amax() > 0.9 and noise.diff(dim=-1).abs().amax() < 0.15


def test_single_frames_and_the_default_settings_give_finite_input():
    for frames in (1, 4):
        targets = made(AugmentConfig(), window=windows(8, frames))
        for name, value in targets._asdict().items():
            assert value.isfinite().all(), name
        assert targets.visible.amin() >= 0 and targets.visible.amax() <= 1


def test_every_share_is_a_probability():
    for field in dataclasses.fields(AugmentConfig):
        if field.metadata["text"].startswith("share"):
            assert (field.metadata["minimum"], field.metadata["maximum"]) == (0.0, 1.0), field.name
