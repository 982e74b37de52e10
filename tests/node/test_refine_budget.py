import pytest

from savos_ros.node.refine_budget import SHARE, PassBudget


def test_all_tracks_until_a_cost_is_known():
    assert PassBudget().tracks(12, 0.4) > 1000


def test_a_pass_fits_into_the_time_left():
    budget = PassBudget()
    budget.took(0.6, tracks=10, frames=12)  # 5 ms per track and frame
    assert budget.tracks(12, 0.4) == int(0.4 * SHARE / (0.005 * 12))
    assert budget.tracks(6, 0.4) == pytest.approx(2 * budget.tracks(12, 0.4), abs=1)
    assert budget.tracks(12, 0.8) == pytest.approx(2 * budget.tracks(12, 0.4), abs=1)
    assert budget.tracks(12, 0.0) == 1, "the cost must still be measured"


def test_cost_rises_immediately_and_falls_by_half():
    budget = PassBudget()
    budget.took(0.1, 1, 10)
    budget.took(0.4, 1, 10)
    assert budget.cost_s == pytest.approx(0.04)
    budget.took(0.2, 1, 10)
    assert budget.cost_s == pytest.approx(0.03)
