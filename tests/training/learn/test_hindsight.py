# ruff: noqa: E402  (nothing below imports where torch is absent)
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from savos_model.config import ModelConfig
from savos_model.network.geometry_torch import resample
from training.data.chewing_gum import ChewingGumConfig, draw_recipes
from training.learn.augment import make_input
from training.learn.augment_config import plain
from training.learn.gum_windows import CANVAS, GumConfig, GumWindows, render_windows
from training.learn.hindsight import extent_so_far, with_hindsight


def passing(step=3, frames=5):
    """A bar of 20 columns in boxes that follow it, `step` px a frame; a moving part is hidden."""
    visible, weight = torch.zeros(1, frames, 16, 32), torch.ones(1, frames, 16, 32)
    visible[..., 4:12, 6:26] = 1
    for t in range(frames):
        hidden = slice(4 * t, 4 * t + 8)
        visible[:, t, :, hidden], weight[:, t, :, hidden] = 0, 0
    boxes = torch.tensor([[[step * t, 0, 32 + step * t, 16] for t in range(frames)]]).float()
    return visible, weight, boxes, torch.tensor([step, 0.0]).expand(1, frames, 2)


def test_hidden_parts_are_known_from_other_frames():
    visible, weight, boxes, base = passing()
    value, known = with_hindsight(visible, weight, boxes, base)
    whole = torch.zeros(16, 32)
    whole[4:12, 6:26] = 1
    assert (known[..., 1:-1, 1:-1] > 0.999).all()  # each part is seen in some frame
    assert (value - whole).abs().mean() < 0.01  # resampled where it is filled
    assert torch.equal(value > 0.5, (whole > 0.5).expand_as(value))
    still, _ = with_hindsight(visible, weight, boxes, base * 0)
    assert (still - whole).abs().mean() > 0.02  # a wrong motion puts the parts elsewhere


def test_what_is_never_seen_stays_unknown_and_what_is_seen_stays_as_it_is():
    visible, weight, boxes, base = passing()
    visible[..., 14:20], weight[..., 14:20] = 0, 0
    weight[..., 0, :] = 4
    value, known = with_hindsight(visible, weight, boxes, base)
    assert known[..., 2:, 15:19].max() < 1e-3
    sure = weight >= 1
    assert torch.equal(known[sure], weight[sure])
    torch.testing.assert_close(value[sure], visible[sure])


def test_frames_that_disagree_are_averaged():
    visible = torch.zeros(1, 3, 8, 16)
    weight = torch.ones_like(visible)
    visible[:, 0] = 1
    weight[:, 2] = 0
    boxes = torch.tensor([0.0, 0.0, 16.0, 8.0]).expand(1, 3, 4)
    value, _ = with_hindsight(visible, weight, boxes, torch.zeros(1, 3, 2))
    torch.testing.assert_close(value[:, 2], torch.full((1, 8, 16), 0.5))


def test_boxes_remember_what_was_seen():
    tight = torch.tensor([[[0, 0, 10, 8], [6, 0, 12, 8], [4, 1, 10, 9]]]).float()
    base = torch.tensor([[[2, 0], [2, 1], [9, 9]]]).float()
    expected = torch.tensor([[[0, 0, 10, 8], [2, 0, 12, 8], [4, 1, 14, 9]]]).float()
    assert torch.equal(extent_so_far(tight, base), expected)


def test_a_whole_video_of_chewing_gum_tells_the_true_shape():
    """Each part of the lower polygon is seen in some frame; the targets never saw the truth."""
    model, recipes = ModelConfig(width=0.0625), draw_recipes(ChewingGumConfig(seed=2), 0, 2)
    window = render_windows(recipes, np.zeros(2, int), 40, np.zeros(2, int), model.patch)
    targets = make_input(window, model, plain(hindsight=True), torch.Generator().manual_seed(0))
    whole = torch.zeros(2, 1, 33, 33)
    whole[:, 0, 8:25, 8:25] = torch.from_numpy(recipes.stencils[:, 0]).float()
    whole = whole[:, None].expand(-1, 40, -1, -1, -1).flatten(0, 1)
    canvas = torch.tensor(CANVAS).float().expand(80, 4)
    truth = resample(whole, canvas, targets.boxes.flatten(0, 1), model.patch)
    gap = (targets.visible.flatten(0, 1) - truth[:, 0]).abs()
    assert (targets.weight > 0.9).float().mean() > 0.99
    assert gap.mean() < 0.01 and (gap > 0.5).float().mean() < 1e-4


def test_hindsight_is_an_option():
    window = GumWindows(GumConfig(length=12), (32, 64)).draw(2, np.random.default_rng(0))
    model = ModelConfig(width=0.0625)
    without, known = (
        make_input(window, model, plain(hindsight=on), torch.Generator().manual_seed(0))
        for on in (False, True)
    )
    assert torch.equal(without.patches, known.patches)
    assert known.weight.mean() > without.weight.mean()
