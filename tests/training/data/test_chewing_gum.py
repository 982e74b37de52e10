import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.failing import refused
from training.data import chewing_gum as gum
from training.data.chewing_gum import ChewingGumConfig


def test_the_circle_has_44_points_in_order():
    points = gum.circle_points()
    assert len(points) == 44
    assert gum.RADIUS - 1 < np.hypot(*points.T).min() < np.hypot(*points.T).max() == gum.RADIUS
    assert {(8, 0), (7, 3), (6, 5), (5, 6), (4, 6), (3, 7), (0, 8)} <= set(map(tuple, points))
    assert np.abs(np.diff(points, axis=0, append=points[:1])).max() == 1  # neighbours all around


@given(st.integers(2, 80), st.integers(0, 3), st.sampled_from([1, -1]))
def test_the_path_goes_round_the_square(frames, corner, turn):
    places = gum.path(frames, corner, turn)
    assert places.shape == (frames, 2)
    assert (np.abs(places).max(1) == gum.RADIUS).all()
    assert (np.abs(places[0]) == gum.RADIUS).all()
    assert (np.abs(np.diff(places, axis=0)).sum(1) == gum.STEP).all()
    assert len(np.unique(gum.path(32, corner, turn), axis=0)) == 32
    assert (gum.path(33, corner, turn)[32] == places[0]).all()


def test_a_start_at_every_corner_turns_both_ways():
    assert len({tuple(gum.path(2, c, 1)[0]) for c in range(4)}) == 4
    assert (gum.path(32, 1, 1)[1:] == gum.path(32, 1, -1)[:0:-1]).all()


@given(st.integers(0, 10_000))
def test_polygons_stay_inside_the_circle_and_vary(seed):
    stencil = gum.polygon(gum.circle_points(), np.random.default_rng(seed))
    rows, columns = np.nonzero(stencil)
    assert np.hypot(rows - gum.RADIUS, columns - gum.RADIUS).max() < gum.RADIUS + 0.5
    assert 20 < stencil.sum() < 217


def test_hidden_parts_by_hand():
    lower, upper = (np.zeros((gum.SIDE, gum.SIDE), bool) for _ in range(2))
    lower[5:9, 5:9] = True
    upper[5:9, 5:9] = True
    offsets = np.array([[0, 0], [2, 0], [0, -3], [8, 8]])
    hidden = gum.hidden_parts(lower, upper, offsets)
    assert hidden.sum((1, 2)).tolist() == [16, 8, 4, 0]
    assert hidden[1, 5:9, 7:9].all() and hidden[2, 5, 5:9].all()
    assert not gum.explained(lower, upper, offsets)  # all seen in the last frame
    assert not gum.explained(lower, upper, offsets[:1])  # all hidden always
    assert gum.explained(lower, upper, np.array([[2, 0], [-2, 0]]))


def test_videos_keep_the_rules_of_the_paper():
    made = list(gum.videos(ChewingGumConfig(seed=3), count=20))
    assert len({v.frames.tobytes() for v in made}) == 20
    for video in made:
        assert video.frames.shape == (40, 50, 56, 3) and video.frames.dtype == np.uint8
        assert video.full.shape == video.visible.shape == (40, 2, 50, 56)
        assert video.order.tolist() == [0, 1] and video.occluded == ["0"]
        lower, upper = video.full[:, 0], video.full[:, 1]
        seen = video.visible[:, 0]
        assert (lower == lower[0]).all()  # the lower one rests
        np.testing.assert_array_equal(video.visible[:, 1], upper)
        np.testing.assert_array_equal(seen, lower & ~upper)
        assert (seen.any(0) == lower[0]).all()  # each part is seen in some frame
        assert (seen != lower).any((1, 2)).all()  # never all together
        centre = np.array([np.argwhere(mask).mean(0) for mask in upper])
        assert np.abs(np.diff(centre, axis=0)).sum(1) == pytest.approx(gum.STEP)
        assert lower.sum() == 40 * lower[0].sum()
        assert (upper.sum((1, 2)) == upper[0].sum()).all()  # never cut by the canvas


def test_pictures_show_the_masks():
    video = next(gum.videos(ChewingGumConfig(seed=1)))
    free = ~video.full.any(1)
    for mask in (free, video.visible[:, 0], video.visible[:, 1]):
        assert len(np.unique(video.frames[mask], axis=0)) == 1
    assert video.frames[free].max() < gum.DARK


def test_a_video_depends_on_its_number_alone():
    config = ChewingGumConfig(seed=5, frames=40)
    many = list(itertools.islice(gum.videos(config), gum.BATCH + 3))  # endless
    late = next(gum.videos(config, gum.BATCH + 1, 1))
    assert late.name == many[gum.BATCH + 1].name == f"{gum.BATCH + 1:06d}"
    np.testing.assert_array_equal(late.frames, many[gum.BATCH + 1].frames)
    other = next(gum.videos(ChewingGumConfig(seed=6), gum.BATCH + 1, 1))
    assert (other.frames != late.frames).any()
    assert list(gum.videos(config, 7, 0)) == []


def test_without_redraw_some_videos_show_all_together():
    made = list(gum.videos(ChewingGumConfig(redraw=False), count=40))
    whole = [(v.visible[:, 0] == v.full[:, 0]).all((1, 2)).any() for v in made]
    assert 0 < sum(whole) < 40


def test_impossible_settings_are_refused():
    with refused("frames", "bounds"):
        ChewingGumConfig(frames=1)
    with refused("frames"):
        next(gum.videos(ChewingGumConfig(frames=2)))


def test_clip_frames_give_masks_and_truth():
    video = next(gum.videos(ChewingGumConfig(seed=2)))
    frames = list(video.clip_frames())
    assert len(frames) == 40
    for t, frame in enumerate(frames):
        assert (frame.image == video.frames[t][..., ::-1]).all()
        assert [item.id for item in frame.instances] == ["0", "1"]
        for k, item in enumerate(frame.instances):
            for (box, mask), truth in (
                ((item.box, item.mask), video.visible[t, k]),
                (frame.full[str(k)], video.full[t, k]),
            ):
                canvas = np.zeros((50, 56), np.uint8)
                canvas[box.y0 : box.y1, box.x0 : box.x1] = mask
                np.testing.assert_array_equal(canvas, truth)


def test_flow_moves_the_upper_polygon_and_nothing_else():
    video = next(gum.videos(ChewingGumConfig(seed=8)))
    frames = list(video.clip_frames())
    for t in range(1, 40):
        ahead, back, upper = frames[t - 1].flow, frames[t].flow_back, video.full[:, 1]
        (move,) = np.unique(ahead[upper[t - 1]], axis=0)
        assert np.abs(move).sum() == gum.STEP
        rolled = np.roll(upper[t - 1], (int(move[1]), int(move[0])), (0, 1))
        np.testing.assert_array_equal(rolled, upper[t])
        assert (ahead[~upper[t - 1]] == 0).all() and (back[~upper[t]] == 0).all()
        assert (back[upper[t]] == -move).all()
    assert not frames[-1].flow.any() and not frames[0].flow_back.any()
