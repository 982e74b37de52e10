"""The imitated tracker: rims move by what was asked, objects get lost and come back."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savos_model.types import Box
from training.street.config import StreetConfig
from training.street.noise import MaskNoise, tight

SIZE = (200, 300)


def disc(radius=30, at=(150, 100)):
    canvas = cv2.circle(np.zeros(SIZE, np.uint8), at, radius, 1, -1)
    return tight(Box(0, 0, SIZE[1], SIZE[0]), canvas)


def paste(mask):
    canvas = np.zeros(SIZE, np.uint8)
    box, crop = mask
    canvas[box.y0 : box.y1, box.x0 : box.x1] = crop
    return canvas


def noise(jitter=0.0, lost=0.0, split=0.0, smallest=1, seed=0):
    shares = {"lost_share": lost, "split_share": split}
    return MaskNoise(StreetConfig(seed=seed, jitter_px=jitter, min_tracked_px=smallest, **shares))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([1.0, 2.0, 3.0]))
def test_rim_moves_at_most_by_the_jitter(seed, jitter):
    tracker, truth = noise(jitter, seed=seed), disc()
    exact = paste(truth)
    # distanceTransform with a 3x3 mask is off by up to 10 %, and a rim pixel is half a pixel wide.
    reach = int(np.ceil(jitter * 1.1 + 0.5))
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * reach + 1,) * 2)
    outer, inner = cv2.dilate(exact, kernel), cv2.erode(exact, kernel)
    changed = 0
    for _ in range(6):
        noisy = paste(tracker.apply(1, *truth, SIZE))
        assert not (noisy & (1 - outer)).any()
        assert not (inner & (1 - noisy)).any()
        changed += (noisy != exact).sum()
    assert changed > 0


def test_no_noise_changes_nothing():
    box, crop = noise().apply(4, *disc(), SIZE)
    assert box == disc()[0] and np.array_equal(crop, disc()[1])


def test_same_seed_same_noise_and_tracks_are_independent():
    runs = []
    for others in (False, True):
        tracker, run = noise(2.0, 0.2, 0.2, seed=3), []
        for _ in range(12):
            if others:
                tracker.apply(8, *disc(20), SIZE)
            run.append(tracker.apply(7, *disc(), SIZE))
        runs.append(run)
    for a, b in zip(*runs, strict=True):
        assert (a is None) == (b is None)
        assert a is None or (a[0] == b[0] and np.array_equal(a[1], b[1]))


@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.slow
def test_lost_objects_come_back(share):
    tracker = noise(lost=share)
    seen = np.array(
        [[tracker.apply(uid, *disc(), SIZE) is not None for _ in range(200)] for uid in range(30)]
    )
    assert 1 - seen.mean() == pytest.approx(share, rel=0.3)
    runs = [
        len(run)
        for row in seen
        for run in "".join("x" if s else "." for s in row).split("x")
        if run
    ]
    assert 1 < np.mean(runs) < 8  # gaps of a few frames
    assert seen[:, -60:].any(axis=1).all()


def test_split_masks_lack_a_part_for_some_frames():
    tracker, truth = noise(split=0.3), disc()
    full = truth[1].sum()
    shares = [
        tracker.apply(uid, *truth, SIZE)[1].sum() / full for uid in range(10) for _ in range(30)
    ]
    assert min(shares) < 0.85 and min(shares) > 0.3
    assert 0.1 < np.mean(np.array(shares) < 1) < 0.6


def test_small_masks_are_missed():
    tracker = noise(smallest=50)
    assert tracker.apply(1, *disc(3), SIZE) is None
    assert tracker.apply(2, *disc(6), SIZE) is not None


def test_jitter_spares_tiny_masks_and_keeps_to_the_image():
    tracker = noise(3.0, seed=5)
    for uid in range(20):
        tiny = paste(tracker.apply(uid, *disc(3), SIZE))
        assert tiny.sum() > 8
    wide = np.ones((40, 300), np.uint8)
    for uid in range(20, 30):
        box, crop = tracker.apply(uid, Box(0, 160, 300, 200), wide, SIZE)
        assert box.x0 == 0 and box.x1 == 300 and box.y1 == 200
        assert crop[-1].all()  # a mask that continues beyond the image does not shrink there


def test_forgotten_tracks_free_their_state():
    tracker = noise(1.0)
    for uid in range(50):
        tracker.apply(uid, *disc(), SIZE)
    tracker.forget({3, 4})
    assert set(tracker._tracks) == {3, 4}


def test_tight_of_an_empty_mask_is_none():
    assert tight(Box(0, 0, 4, 4), np.zeros((4, 4), np.uint8)) is None
