import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
import tiny_scene as scene

from savos_ros.bags.recording import RecordOptions, record
from savos_ros.bench_start import start, summary


def test_summary_is_median_and_worst():
    rows = [{"answer": value} for value in (3.0, 1.0, 2.0)]
    assert summary(rows) == {"answer": {"median": 2.0, "worst": 3.0}}


def test_a_node_is_active_before_it_answers(tmp_path):
    record(scene.frames(10), 10, tmp_path / "bag", RecordOptions("label_image"))
    took = start(tmp_path / "bag", tmp_path / "node.log", {})
    assert 0.2 < took["active"] < took["answer"] < 60
