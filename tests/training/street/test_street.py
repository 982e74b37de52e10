"""The generated clips: exact truth, stable ids, same bits from the same seed."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
from failing import refused

from training.street.config import StreetConfig
from training.street.generate import generate, label_image

pytestmark = pytest.mark.slow  # each draws a street

SMALL = StreetConfig(seed=5, frames=12, width=414, height=125, min_full_px=30, min_tracked_px=8)


@pytest.fixture(scope="module")
def clip():
    return list(generate(SMALL))


def paste(mask, shape):
    canvas = np.zeros(shape, np.uint8)
    if mask is not None:
        box, crop = mask
        canvas[box.y0 : box.y1, box.x0 : box.x1] = crop
    return canvas


def objects(clip):
    return [(frame, item) for frame in clip for item in frame.objects]


def test_frames_have_the_announced_form(clip):
    assert [frame.index for frame in clip] == list(range(12))
    assert [frame.stamp_ns for frame in clip] == [i * 100_000_000 for i in range(12)]
    assert all(f.image.shape == (125, 414, 3) and f.image.dtype == np.uint8 for f in clip)
    assert sum(len(frame.objects) for frame in clip) > 30


def test_same_seed_same_bits(clip):
    for first, second in itertools.zip_longest(clip, generate(SMALL)):
        assert np.array_equal(first.image, second.image)
        assert [o.id for o in first.objects] == [o.id for o in second.objects]
        assert np.array_equal(label_image(first), label_image(second))
        for a, b in zip(first.objects, second.objects, strict=True):
            assert a.full[0] == b.full[0] and np.array_equal(a.full[1], b.full[1])
            assert (a.depth_m, a.occlusion) == (b.depth_m, b.occlusion)


def test_other_seed_other_picture(clip):
    other = next(generate(dataclasses.replace(SMALL, seed=6)))
    assert np.abs(other.image.astype(int) - clip[0].image).mean() > 10


def test_masks_are_tight_binary_crops_inside_the_image(clip):
    for _, item in objects(clip):
        for mask in (item.full, item.visible, item.tracked):
            if mask is None:
                continue
            box, crop = mask
            assert 0 <= box.x0 < box.x1 <= 414 and 0 <= box.y0 < box.y1 <= 125
            assert crop.shape == (box.height, box.width) and crop.dtype == np.uint8
            assert set(np.unique(crop)) <= {0, 1}
            assert crop[0].any() and crop[-1].any() and crop[:, 0].any() and crop[:, -1].any()


def test_visible_lies_in_full_and_gives_the_occlusion(clip):
    for frame, item in objects(clip):
        full = paste(item.full, frame.image.shape[:2])
        visible = paste(item.visible, frame.image.shape[:2])
        assert not (visible & ~full & 1).any()
        assert item.occlusion == pytest.approx(1 - visible.sum() / full.sum())


def test_visible_masks_never_overlap_and_nearer_ones_win(clip):
    nearer_wins = total = 0
    for frame in clip:
        shape = frame.image.shape[:2]
        count = sum(paste(item.visible, shape).astype(int) for item in frame.objects)
        assert count.max() <= 1
        for near, far in itertools.combinations(frame.objects, 2):
            assert near.depth_m <= far.depth_m
            both = paste(near.full, shape) & paste(far.full, shape)
            shown = (
                paste(near.visible, shape)[both > 0].sum(),
                paste(far.visible, shape)[both > 0].sum(),
            )
            nearer_wins, total = nearer_wins + shown[0], total + sum(shown)
    assert total > 200 and nearer_wins / total > 0.95


def test_ids_follow_kitti_mots_and_stay_with_their_object(clip):
    for frame in clip:
        ids = [item.id for item in frame.objects]
        assert len(ids) == len(set(ids))
        assert all(item.id // 1000 == item.class_id in (1, 2) for item in frame.objects)
    kept = 0
    for before, after in itertools.pairwise(clip):
        was = {item.id: item for item in before.objects}
        for item in after.objects:
            if item.id not in was or item.depth_m < 6:
                continue
            kept += 1
            assert abs(item.depth_m - was[item.id].depth_m) < 3.2  # two cars at 14 m/s and 0.1 s
            a, b = was[item.id].full[0], item.full[0]
            reach = 2 * max(a.width, b.width, 12)
            assert abs(a.x0 + a.x1 - b.x0 - b.x1) / 2 < reach
    assert kept > 20


def test_labels_are_the_tracked_masks(clip):
    for frame in clip:
        labels = label_image(frame)
        assert labels.dtype == np.uint16 and labels.shape == frame.image.shape[:2]
        tracked = [item for item in frame.objects if item.tracked is not None]
        assert set(np.unique(labels)) - {0} <= {item.id for item in tracked}
        nearest = tracked[0]
        assert np.array_equal(labels == nearest.id, paste(nearest.tracked, labels.shape) > 0)
        union = sum(paste(item.tracked, labels.shape).astype(int) for item in tracked) > 0
        assert np.array_equal(labels > 0, union)


def test_without_tracker_noise_the_tracked_masks_are_the_visible_ones():
    exact = dataclasses.replace(
        SMALL, frames=3, jitter_px=0.0, lost_share=0.0, split_share=0.0, min_tracked_px=1
    )
    seen = 0
    for _, item in objects(generate(exact)):
        assert np.array_equal(paste(item.tracked, (125, 414)), paste(item.visible, (125, 414)))
        seen += item.visible is not None
    assert seen > 5


def test_limits_of_what_counts_as_an_object():
    far = dataclasses.replace(SMALL, frames=2, max_range_m=15.0)
    large = dataclasses.replace(SMALL, frames=2, min_full_px=900)
    near_items, large_items = objects(generate(far)), objects(generate(large))
    assert near_items and all(item.depth_m <= 15.0 for _, item in near_items)
    assert large_items and all(item.full[1].sum() >= 900 for _, item in large_items)


@pytest.mark.parametrize("size", [(640, 480), (200, 400), (1000, 64)])
def test_other_image_sizes(size):
    width, height = size
    frame = next(generate(dataclasses.replace(SMALL, frames=1, width=width, height=height)))
    assert frame.image.shape == (height, width, 3)
    assert frame.image.std() > 10
    assert frame.objects


def test_an_empty_street_has_no_moving_traffic():
    frames = list(generate(dataclasses.replace(SMALL, frames=2, density=0.0)))
    crowd = list(generate(dataclasses.replace(SMALL, frames=2, density=2.0)))
    count = [sum(len(frame.objects) for frame in clip) for clip in (frames, crowd)]
    assert count[0] < count[1]
    assert all(item.class_id == 1 for _, item in objects(frames))


def test_flow_follows_the_ground_truth_of_a_driving_camera():
    """The picture moves as the objects do: DIS flow inside a mask agrees with the masks' shift."""
    config = StreetConfig(seed=2, frames=3, jitter_px=0.0, lost_share=0.0)
    first, second = list(generate(config))[1:]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(
        *(cv2.cvtColor(f.image, cv2.COLOR_BGR2GRAY) for f in (first, second)), None
    )
    after = {item.id: item for item in second.objects}
    errors = []
    for item in first.objects:
        if item.id not in after or item.occlusion > 0.5 or item.full[1].sum() < 600:
            continue
        a, b = item.full[0], after[item.id].full[0]
        if min(a.x0, b.x0) < 2 or max(a.x1, b.x1) > 1240 or max(a.y1, b.y1) > 373:
            continue
        shift = ((b.x0 + b.x1 - a.x0 - a.x1) / 2, (b.y0 + b.y1 - a.y0 - a.y1) / 2)
        seen, crop = item.visible
        inside = flow[seen.y0 : seen.y1, seen.x0 : seen.x1][crop > 0]
        errors.append(np.abs(np.median(inside, axis=0) - shift).max())
    assert len(errors) >= 2
    assert np.median(errors) < 1.5


def test_default_clip_shows_partly_hidden_objects():
    frames = list(itertools.islice(generate(StreetConfig()), 3))
    visible = [sum(item.visible is not None for item in frame.objects) for frame in frames]
    hidden = [item for _, item in objects(frames) if 0.1 <= item.occlusion <= 0.9]
    assert 6 <= np.mean(visible) <= 18
    assert len(hidden) >= 6


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("seed", -1, "bounds"),
        ("density", 3.0, "bounds"),
        ("width", 10, "bounds"),
        ("style", "village", "choices"),
        ("frames", 0, "bounds"),
    ],
)
def test_wrong_settings_are_refused_by_name(field, value, kind):
    with refused(field, kind):
        StreetConfig(**{field: value})
