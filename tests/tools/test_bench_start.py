import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from savos_ros.tools.bench_scene import scene
from savos_ros.tools.bench_start import start, summary


def test_summary_is_median_and_worst():
    rows = [{"answer": value} for value in (3.0, 1.0, 2.0)]
    assert summary(rows) == {"answer": {"median": 2.0, "worst": 3.0}}


def test_a_node_is_active_before_it_answers(tmp_path):
    took = start(scene((120, 320), 2, 0)[0], tmp_path / "node.log", {})
    assert 0 < took["active"] < took["answer"]
