import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from scipy.spatial import Delaunay

from savos_model.masks import EMPTY, convex_hull, from_image, look_at
from savos_model.types import Box
from training.baselines.rules import ANY, DisPairFlow, aggregate, forward_warp

SHAPE = (48, 80)
WHOLE = Box(0, 0, 80, 48)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(SHAPE, bool)
    mask[max(y0, 0) : y1, max(x0, 0) : x1] = True
    return mask


@given(hnp.arrays(bool, (12, 14)))
def test_hull_holds_the_mask_and_little_else(mask):
    boxed = from_image(mask)
    hull = convex_hull(boxed)
    assert hull.box == boxed.box
    shown = look_at(hull, Box(0, 0, 14, 12))
    assert not (mask & ~shown).any()
    points = np.argwhere(mask)
    if len(points) > 3 and np.linalg.matrix_rank(points - points[0]) == 2:
        inside = Delaunay(points).find_simplex(np.argwhere(np.ones_like(mask))) >= 0
        expected = inside.reshape(mask.shape)
        assert not (expected & ~shown).any()  # holds every pixel centre inside the hull
        outline = cv2.convexHull(points[:, ::-1].astype(np.float32))
        beyond = [-cv2.pointPolygonTest(outline, (x, y), True) for y, x in np.argwhere(shown) * 1.0]
        assert max(beyond) < 1  # and nothing beyond the pixels its edges run through


def test_hull_of_nothing():
    assert convex_hull(EMPTY).mask.size == 0


def test_forward_warp_of_a_shift_is_exact():
    mask = rectangle(10, 10, 30, 20)
    motion = np.zeros((*SHAPE, 2), np.float32)
    motion[..., 0], motion[..., 1] = 7, -3
    moved = forward_warp(mask.astype(np.float32), motion, np.array([7, -3]))
    assert np.array_equal(moved, rectangle(17, 7, 37, 17))


def test_motion_below_half_a_pixel_adds_up():
    track = {0: from_image(rectangle(10, 10, 30, 20))}
    step = np.full((*SHAPE, 2), (0.4, 0.0), np.float32)
    half = aggregate(track, lambda *_: step, 5, 5, SHAPE, "forward")
    assert np.array_equal(look_at(half, WHOLE), rectangle(12, 10, 32, 20))
    touched = aggregate(track, lambda *_: step, 5, 5, SHAPE, "forward", ANY)
    assert np.array_equal(look_at(touched, WHOLE), rectangle(10, 10, 35, 20))


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.25])
def test_forward_warp_of_a_zoom_about_a_far_point(factor):
    mask = rectangle(20, 15, 40, 30)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    motion = np.stack([(factor - 1) * (x - 10), (factor - 1) * (y - 10)], axis=-1)
    expected = (np.abs((x - 10) / factor + 10 - 29.5) <= 10) & (
        np.abs((y - 10) / factor + 10 - 22) <= 7.5
    )
    moved = forward_warp(mask.astype(np.float32), motion, motion[mask].mean(axis=0)) >= 0.5
    assert (moved & expected).sum() / (moved | expected).sum() > 0.95


def sliding_scene(frames=7, speed=3):
    """A square slides right, from frame 3 on without its right half; flow is right where seen."""
    full = [rectangle(10 + speed * t, 10, 30 + speed * t, 30) for t in range(frames)]
    seen = [mask.copy() for mask in full]
    for t in range(3, frames):
        seen[t][:, 20 + speed * t :] = False

    def flow(start, end):
        field = np.full((*SHAPE, 2), 9.0, np.float32)  # nonsense outside the visible mask
        field[seen[start]] = (speed * (end - start), 0.0)
        return field

    return full, {t: from_image(mask) for t, mask in enumerate(seen)}, flow


@pytest.mark.parametrize("window", [3, 5])
def test_forward_aggregation_recovers_what_was_seen_within_the_window(window):
    full, track, flow = sliding_scene()
    for frame in range(3, 7):
        result = look_at(aggregate(track, flow, frame, window, SHAPE, "forward"), WHOLE)
        recoverable = frame - window <= 2
        expected = full[frame] if recoverable else look_at(track[frame], WHOLE)
        assert np.array_equal(result, expected), frame


def test_backward_aggregation_sees_later_frames_only():
    full, track, flow = sliding_scene()
    reverse = {6 - t: mask for t, mask in track.items()}

    def reverse_flow(start, end):
        return flow(6 - start, 6 - end)

    assert np.array_equal(
        look_at(aggregate(reverse, reverse_flow, 2, 3, SHAPE, "backward"), WHOLE), full[4]
    )
    alone = aggregate(reverse, reverse_flow, 2, 3, SHAPE, "forward")
    assert np.array_equal(look_at(alone, WHOLE), look_at(track[4], WHOLE))
    both = aggregate(reverse, reverse_flow, 2, 3, SHAPE)
    assert np.array_equal(look_at(both, WHOLE), full[4])


def test_wholly_hidden_frames_keep_the_last_motion():
    full, track, flow = sliding_scene()
    for t in (3, 4):
        track[t] = EMPTY
    result = aggregate(track, flow, 5, 5, SHAPE, "forward")
    assert np.array_equal(look_at(result, WHOLE), full[5])


def test_track_without_neighbours_keeps_its_visible_mask():
    mask = from_image(rectangle(60, 30, 80, 48))
    result = aggregate({4: mask}, lambda *_: np.zeros((*SHAPE, 2), np.float32), 4, 3, SHAPE)
    assert result.box == mask.box
    assert result.mask.all()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="sideways"):
        aggregate({}, lambda *_: None, 0, 3, SHAPE, "sideways")


def test_dis_flow_measures_a_known_shift_and_forgets_old_pairs():
    generator = np.random.default_rng(0)
    texture = cv2.GaussianBlur(generator.integers(0, 255, (96, 128), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = [np.roll(texture, 2 * t, axis=1) for t in range(4)]
    flow = DisPairFlow(frames, kept=2)
    forward, backward = flow(0, 1), flow(1, 0)
    assert np.median(forward[16:-16, 16:-16, 0]) == pytest.approx(2, abs=0.1)
    assert np.median(backward[16:-16, 16:-16, 0]) == pytest.approx(-2, abs=0.1)
    assert flow(0, 1) is forward
    flow(1, 2)
    assert len(flow._flow) == 2
