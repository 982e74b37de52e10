import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from savos_model.masks import EMPTY, BoxedMask, box_around, from_image, look_at, tighten
from savos_model.types import AmodalObject, Box, Source
from training.evaluate import metrics
from training.evaluate.metrics import ObjectScore, Selection, score_frame, score_object, summarise

SHAPE = (40, 60)
MASKS = hnp.arrays(bool, (9, 11))


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(SHAPE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def boxed(mask):
    return from_image(mask)


def make_score(**changes):
    values = {
        "clip": "a", "frame": 0, "id": "1", "full_px": 1000, "visible_px": 500, "hidden_px": 400,
        "occlusion": 0.5, "border_px": 20.0, "full": 0.8, "occluded": 0.4, "claimed_px": 100,
        "wrong_px": 25, "visible_recall": 1.0, "boundary_f": 0.9,
    }  # fmt: skip
    return ObjectScore(**{**values, **changes})


def test_scores_by_hand():
    full, own = rectangle(10, 10, 30, 20), rectangle(10, 10, 20, 20)  # 200 px, half of it hidden
    occluder = rectangle(20, 5, 26, 25)  # hides 60 px of the object; 40 px are hidden by scenery
    predicted = rectangle(
        10, 10, 23, 22
    )  # 30 px right and 6 wrong behind the occluder; 20 px wrong elsewhere
    (score,) = score_frame(
        {"1": boxed(predicted)},
        {"1": boxed(full)},
        {"1": boxed(own), "9": boxed(occluder)},
        SHAPE,
        clip="c",
        frame=7,
    )
    assert (score.clip, score.frame, score.id) == ("c", 7, "1")
    assert (score.full_px, score.visible_px, score.hidden_px) == (200, 100, 60)
    assert score.occlusion == pytest.approx(0.5)
    assert score.border_px == 10
    assert (score.claimed_px, score.wrong_px) == (36, 6)
    assert score.occluded == pytest.approx(30 / 66)
    assert score.full == pytest.approx(130 / 206)
    assert score.visible_recall == 1.0
    (as_published,) = score_frame(
        {"1": boxed(predicted)},
        {"1": boxed(full)},
        {"1": boxed(own), "9": boxed(occluder)},
        SHAPE,
        substitute=False,
    )
    assert as_published.full == pytest.approx(130 / 226)
    assert as_published.occluded == score.occluded


def test_missing_and_unscored_objects():
    own, other = rectangle(10, 10, 20, 20), rectangle(20, 10, 30, 20)
    visible = {"1": boxed(own), "2": boxed(other), "3": EMPTY}
    truth = {"1": boxed(rectangle(10, 10, 25, 20)), "3": boxed(own)}
    (score,) = score_frame({}, truth, visible, SHAPE)
    assert score.id == "1"
    assert score.full == pytest.approx(100 / 150)
    assert score.occluded == pytest.approx(0.0, abs=1e-6)
    assert score.visible_recall == 0.0
    assert score_frame({}, truth, visible, SHAPE, ids=[]) == []


def test_overlapping_visible_masks_do_not_hide_own_pixels():
    own = rectangle(10, 10, 20, 20)
    (score,) = score_frame(
        {"1": EMPTY},
        {"1": boxed(own)},
        {"1": boxed(own), "2": boxed(rectangle(15, 10, 25, 20))},
        SHAPE,
    )
    assert score.full == pytest.approx(1.0)
    assert score.occluded == 1.0


def test_published_objects_are_cut_at_one_half():
    box = Box(10, 10, 20, 20)
    values = np.full((10, 10), 100, np.uint8)
    values[:, :4] = 200
    item = AmodalObject(
        "1", "", 1.0, Source.FORWARD, box, values, np.zeros_like(values), 0.0, 1.0, (0.0, 0.0)
    )
    own, occluder = rectangle(14, 10, 20, 20), rectangle(0, 0, 14, 40)
    truth = {"1": boxed(rectangle(10, 10, 20, 20))}
    (score,) = score_frame([item], truth, {"1": boxed(own), "2": boxed(occluder)}, SHAPE)
    assert score.occluded == pytest.approx(1.0)
    assert score.claimed_px == 40


@given(MASKS, MASKS, MASKS, MASKS)
def test_score_rules_hold_for_any_masks(predicted, full, visible, others):
    hidden = others & ~visible
    score = score_object(predicted, full, visible, hidden)
    anything = score_object(predicted | ~hidden, full, visible, hidden)
    perfect = score_object(full, full, visible, hidden)
    for name in ("full", "occluded", "boundary_f", "visible_recall"):
        assert 0.0 <= score[name] <= 1.0 + 1e-9
    assert (
        anything["full"] == score["full"]
    )  # what is predicted outside the hidden region does not count
    assert anything["occluded"] == score["occluded"]
    assert perfect["occluded"] == pytest.approx(1.0)
    assert perfect["wrong_px"] == 0
    assert perfect["full"] >= score["full"] - 1e-9


@given(MASKS)
def test_boundary_f_of_equal_masks_is_one(mask):
    assert metrics.boundary_f(mask, mask) == 1.0


def test_boundary_f_falls_with_distance():
    base = rectangle(10, 10, 30, 30)
    values = [metrics.boundary_f(base, np.roll(base, shift, axis=1)) for shift in (0, 2, 4, 8)]
    assert values[0] == values[1] == 1.0
    assert values[1] > values[2] > values[3] > 0
    assert metrics.boundary_f(base, np.zeros_like(base)) == 0.0


def test_frame_mean_differs_from_object_mean():
    scores = [
        make_score(frame=0, id="1", full=1.0, occluded=1.0),
        make_score(frame=1, id="1", full=0.5, occluded=0.2),
        make_score(frame=1, id="2", full=0.5, occluded=0.0, claimed_px=0, wrong_px=0),
        make_score(clip="b", frame=1, id="1", full=0.6, occluded=0.3, claimed_px=300, wrong_px=50),
    ]
    result = summarise(scores)
    assert (result["n"], result["frames"]) == (4, 3)
    assert result["full"] == pytest.approx((1.0 + 0.5 + 0.6) / 3)
    assert result["occluded"] == pytest.approx((1.0 + 0.1 + 0.3) / 3)
    assert result["full_object"] == pytest.approx((1.0 + 0.5 + 0.5 + 0.6) / 4)
    assert result["false_completion"] == pytest.approx(100 / 500)


def test_empty_summary_has_no_numbers():
    result = summarise([])
    assert result["n"] == 0
    assert result["full"] is None
    assert result["false_completion"] is None


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"occlusion": 0.1}, False),
        ({"occlusion": 0.7}, False),
        ({"full_px": 400}, False),
        ({"visible_px": 64}, False),
        ({"visible_px": 65, "full_px": 401, "border_px": 16.0}, True),
        ({"border_px": 15.0}, False),
    ],
)
def test_selection(changes, kept):
    assert Selection(min_border_px=16).keeps(make_score(**changes)) is kept
    assert summarise([make_score(**changes)], None)["n"] == 1


def test_scores_are_plain_values():
    (score,) = score_frame(
        {}, {"1": boxed(rectangle(1, 1, 9, 9))}, {"1": boxed(rectangle(1, 1, 5, 9))}, SHAPE
    )
    for value in dataclasses.asdict(score).values():
        assert type(value) in (str, int, float)


@given(MASKS, st.integers(-3, 12), st.integers(-3, 12), st.integers(0, 9), st.integers(0, 9))
def test_look_at_equals_a_full_size_cut(mask, x0, y0, width, height):
    canvas = np.zeros((40, 40), bool)
    canvas[10:19, 10:21] = mask
    view = Box(x0 + 10, y0 + 10, x0 + 10 + width, y0 + 10 + height)
    expected = canvas[view.y0 : view.y1, view.x0 : view.x1]
    boxed_mask = BoxedMask(Box(10, 10, 21, 19), mask)
    assert np.array_equal(look_at(boxed_mask, view), expected)
    assert np.array_equal(look_at(tighten(boxed_mask), view), expected)


def test_boxes():
    assert box_around([EMPTY.box, Box(2.5, 3, 4, 5.1)]) == Box(2, 3, 4, 6)
    with pytest.raises(ValueError, match=r"^mask .*\(3, 3\).*\(2, 3\)"):
        look_at((Box(0, 0, 3, 3), np.zeros((2, 3))), Box(0, 0, 4, 4))
