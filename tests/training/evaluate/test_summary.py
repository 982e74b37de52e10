import pytest

from training.evaluate.metrics import (
    ObjectScore,
    bootstrap,
    by_occlusion,
    cluster_interval,
    first_run,
    method_report,
)


def score(clip, frame, value, occlusion=0.3):
    return ObjectScore(
        clip, frame, "1", 900, 500, 100, occlusion, 30.0, value, value, 10, 1, 1.0, value
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([], []), ([0, 0], []), ([1], []), ([1, 1], []), ([0, 1, 1, 1, 1, 0, 1, 1, 1], [2, 3])],
)
def test_first_run(flags, expected):
    assert list(first_run(map(bool, flags))) == expected


def test_bootstrap_resamples_clips():
    same = [score(clip, frame, 0.5) for clip in "abc" for frame in range(4)]
    assert bootstrap(same, "full") == pytest.approx([0.5, 0.5])
    values = dict(zip("abcdef", (0, 0.2, 0.4, 0.6, 0.8, 1), strict=True))
    varied = [score(clip, frame, values[clip]) for clip in values for frame in range(50)]
    low, high = bootstrap(varied, "full")
    assert 0.15 < low < 0.3 < 0.7 < high < 0.85  # as wide as 6 clips make it, not as 300 frames
    assert bootstrap(varied, "full", seed=1) != [low, high]
    assert bootstrap(varied, "full") == [low, high]
    assert cluster_interval({"a": [1.0]}) is None


def test_bins_and_report():
    scores = [
        score("a", index, 0.5, rate) for index, rate in enumerate((0.1, 0.24, 0.25, 0.69, 0.7))
    ]
    groups = by_occlusion(scores)
    assert {name: group["n"] for name, group in groups.items()} == {
        "10-25": 2,
        "25-50": 1,
        "50-70": 1,
    }
    report = method_report(scores)
    assert report["n"] == 3  # 0.1 and 0.7 lie outside the open interval
    assert report["full"] == {"mean": pytest.approx(0.5), "ci95": None}
    assert report["away_from_border"]["n"] == 3
