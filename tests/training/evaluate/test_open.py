import numpy as np
import pytest

from savos_model.masks import from_image
from training.evaluate.open import OPEN, OpenScore, open_ids, open_report, score_open
from training.evaluate.video import births

SHAPE = (60, 80)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(SHAPE, bool)
    mask[y0:y1, x0:x1] = True
    return from_image(mask)


WHOLE = rectangle(10, 10, 50, 30)  # 800 px
SEEN = rectangle(10, 10, 30, 30)  # its left half
OTHER = rectangle(30, 10, 40, 30)  # hides 200 px with a mask; what hides the other 200 has none


def scored(published, **more):
    options = {"ids": {"1"}, "born": {"1": 3}, "clip": "c", "frame": 3} | more
    visible = {"1": SEEN, "2": OTHER}
    (score,) = score_open(
        {"1": published} if published else {}, {"1": WHOLE}, visible, SHAPE, **options
    )
    return score


def test_the_published_mask_counts_wherever_it_lies():
    score = scored(rectangle(15, 10, 45, 40))  # misses 5 columns, adds 15; 10 rows too low
    assert (score.clip, score.frame, score.id, score.age) == ("c", 3, "1", 0)
    assert (score.full_px, score.occlusion, score.scenery) == (800, 0.5, 0.5)
    assert score.full == pytest.approx(600 / (800 + 300))
    assert score.hidden == pytest.approx(300 / (400 + 300))  # outside V: 15 x 20 right, 300 wrong
    assert score.false_area == pytest.approx(300 / 800)
    assert scored(rectangle(15, 10, 45, 40), frame=7).age == 4


def test_a_copy_of_the_visible_mask_and_a_missing_object():
    copy, missing = scored(SEEN), scored(None)
    assert (copy.full, copy.hidden, copy.false_area) == (
        pytest.approx(0.5),
        pytest.approx(0, abs=1e-6),
        0,
    )
    assert (missing.full, missing.false_area) == (pytest.approx(0, abs=1e-6), 0)


def test_first_frames_count_and_the_rest_is_left_out():
    bare, barely = rectangle(10, 10, 50, 30), rectangle(12, 10, 50, 30)  # 0 and 5 % hidden
    small = rectangle(0, 0, 19, 21)  # 399 px
    sliver = rectangle(10, 10, 13, 30)  # 60 px of 800
    whole = {"1": WHOLE}
    frames = [SEEN, bare, barely, sliver]
    chosen = open_ids([{"1": mask} for mask in frames], [whole] * len(frames))
    assert chosen == [{"1"}, {"1"}, set(), set()]
    assert open_ids([{"1": small}, {}], [{"1": small}, whole]) == [set(), set()]
    assert births([{}, {"1": SEEN}, {"2": OTHER, "1": SEEN}]) == {"1": 1, "2": 2}


@pytest.mark.parametrize(
    ("occlusion", "counts", "hidden"),
    [(0, 1, 0), (0.019, 1, 0), (0.02, 0, 0), (0.1, 1, 1), (0.9, 1, 1), (0.901, 0, 0)],
)
def test_bounds_of_the_rule(occlusion, counts, hidden):
    assert (OPEN.counts(occlusion), OPEN.hidden(occlusion)) == (counts, hidden)


def made(clip, age, occlusion, full, full_px=2000, scenery=0.0):
    return OpenScore(clip, 9, "1", age, full_px, occlusion, scenery, full, full / 2, full / 10)


def test_report_by_age_occluder_and_size():
    scores = [
        made("a", 0, 0.5, 0.4),
        made("a", 4, 0.5, 0.6, scenery=0.9),
        made("b", 50, 0.2, 0.8, full_px=500),
        made("b", 50, 0.0, 1.0, full_px=20_000),
        made("b", 1, 0.01, 0.5),
    ]
    report = open_report(scores)
    assert report["open_full"]["n"] == 3 and report["false_area"]["n"] == 2
    assert report["open_full"]["mean"] == pytest.approx(0.6)
    assert report["open_hidden"]["mean"] == pytest.approx(0.3)
    assert report["false_area"]["mean"] == pytest.approx(0.075)
    low, high = report["open_full"]["ci95"]  # two clips of means 0.5 and 0.8
    assert (low, high) == (pytest.approx(0.5), pytest.approx(0.8))
    assert report["false_area"]["ci95"] is None  # one clip alone
    ages = report["open"]["by_age"]
    assert {name: row["n"] for name, row in ages.items()} == {
        "0": 1, "1": 0, "2": 0, "3-4": 1, "5+": 1
    }  # fmt: skip
    assert ages["1"] == {
        "n": 0, "full": None, "hidden": None, "n_unhidden": 1, "false_area": pytest.approx(0.05)
    }  # fmt: skip
    assert report["open"]["by_occluder"]["scenery"] == {
        "n": 1, "full": pytest.approx(0.6), "hidden": pytest.approx(0.3)
    }  # fmt: skip
    sizes = report["open"]["by_size"]
    assert [sizes[name]["n"] for name in ("small", "medium", "large")] == [1, 2, 0]
    assert sizes["large"]["false_area"] == pytest.approx(0.1)
