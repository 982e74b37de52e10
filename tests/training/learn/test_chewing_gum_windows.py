# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses

import numpy as np
import pytest

from tests.failing import refused

torch = pytest.importorskip("torch")

from savos_model.config import ModelConfig
from training.data.chewing_gum import ChewingGumConfig, draw_recipes, videos
from training.data.store import collect_rows
from training.learn.augment import make_input
from training.learn.augment_config import AugmentConfig
from training.learn.gum_windows import GumConfig, GumWindows, render_windows

PATCH = (32, 64)


def exact_flow(recipes, video, number):
    """Clip frames of a video with the true motion: the ground rests, the upper polygon moves."""
    steps = np.diff(recipes.offsets[number], axis=0)
    for t, frame in enumerate(video.clip_frames()):
        upper = video.full[t, 1][..., None]
        ahead = np.where(upper, steps[t] if t < len(steps) else 0, 0).astype(np.float32)
        back = np.where(upper, -steps[t - 1] if t else 0, 0).astype(np.float32)
        yield dataclasses.replace(frame, flow=ahead, flow_back=back)


def test_windows_agree_with_stored_rows():
    config = ChewingGumConfig(seed=4)
    recipes = draw_recipes(config, 0, 3)
    for number, video in enumerate(videos(config, count=3)):
        rows = collect_rows(exact_flow(recipes, video, number), PATCH)
        one = dataclasses.replace(recipes, **{
            f.name: getattr(recipes, f.name)[number : number + 1]
            for f in dataclasses.fields(recipes)
        })  # fmt: skip
        for item in (0, 1):
            window = render_windows(one, np.array([0]), 40, np.array([item]), PATCH)
            track = rows[40 * item : 40 * (item + 1)]
            stored = {k: np.stack([row[k] for row in track]).astype(float) for k in track[0]}
            np.testing.assert_array_equal(window.boxes[0], stored["boxes"])
            for name in ("rgb", "visible", "others"):
                gap = getattr(window, name)[0].numpy() * 255 - stored[name]
                assert np.abs(gap).max() < 2.5, name
            for name in ("flow", "flow_back"):
                gap = getattr(window, name)[0].numpy() - stored[name]
                assert np.abs(gap).max() < 0.01, name


def test_windows_are_random_by_the_generator_alone():
    source = GumWindows(GumConfig(length=6), PATCH)
    first, again, other = (source.draw(8, np.random.default_rng(s)) for s in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    assert not torch.equal(first.visible, other.visible)
    assert first.rgb.shape == (8, 6, 3, 64, 128) and first.flow_back.shape == (8, 6, 2, 32, 64)
    colours = first.rgb.amax((-2, -1))[:, 0]
    assert len(torch.unique(colours, dim=0)) == 8  # each window is of another video


def test_flow_is_the_motion_of_the_window_to_come():
    window = GumWindows(GumConfig(length=8, lower=0.0), PATCH).draw(6, np.random.default_rng(3))
    moved = (window.boxes[:, 1:] - window.boxes[:, :-1])[..., :2]  # the upper one is never hidden
    assert set(moved.abs().sum(-1).unique().tolist()) == {2.0}
    middle = (..., window.flow.shape[-2] // 2, window.flow.shape[-1] // 2)
    torch.testing.assert_close(window.flow[middle][:, :-1], moved)
    torch.testing.assert_close(window.flow_back[middle][:, 1:], -moved)


def test_share_of_lower_polygons():
    for share in (0.0, 1.0):
        source = GumWindows(GumConfig(length=40, lower=share), PATCH)
        hidden = source.draw(6, np.random.default_rng(0)).visible.sum((-2, -1))
        size = source.draw(6, np.random.default_rng(0)).boxes
        area = hidden * (size[..., 2] - size[..., 0]) * (size[..., 3] - size[..., 1])
        assert (area.std(1) > 0.02 * area.mean(1)).all() == (share == 1.0)


def test_windows_become_network_input():
    model = ModelConfig(width=0.0625)
    window = GumWindows(GumConfig(length=5), model.patch).draw(3, np.random.default_rng(0))
    targets = make_input(window, model, AugmentConfig(), torch.Generator().manual_seed(0))
    assert targets.patches.shape == (3, 5, 6, *model.patch)
    assert targets.flow_back.shape == (3, 5, 2, *model.patch)
    assert all(torch.isfinite(part).all() for part in targets)


def test_small_patches_are_refused():
    with refused("patch"):
        GumWindows(GumConfig(), (16, 32))
    with refused("length", "bounds"):
        GumConfig(length=41)
