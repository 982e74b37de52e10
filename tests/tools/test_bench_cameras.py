import pytest
from failing import refused

pytest.importorskip("rclpy", reason="rclpy is not installed")
import tiny_scene as scene

from savos_ros.bags.recording import record
from savos_ros.bags.settings import RecordOptions
from savos_ros.tools.bench import added, camera_run
from savos_ros.tools.settings import CamerasOptions


def of(cpu, rss, pss):
    return {"cpu_s_per_frame": cpu, "rss_mb": rss, "pss_mb": pss}


def test_growth_is_that_of_the_sums_over_all_cameras():
    one, two = {"nodes": [of(0.04, 250.0, 200.0)]}, {"nodes": []}
    three = {"nodes": [of(0.05, 260.0, 180.0)] * 3}
    grown = added([one, two, three])
    assert grown == pytest.approx(of(0.055, 265.0, 170.0))
    assert added([one]) is None


def test_options_out_of_range_are_refused():
    with refused("cameras", "bounds"):
        CamerasOptions(cameras=0)


def test_each_node_answers_the_frames_of_all(tmp_path):
    record(scene.frames(20), 20, tmp_path / "bag", RecordOptions("label_image"))
    found = camera_run(tmp_path / "bag", 2, 1.0)
    assert found["cameras"] == len(found["nodes"]) == 2
    for node in found["nodes"]:
        assert node["frames_in"] >= node["frames_out"] > 0
        assert node["cpu_s_per_frame"] > 0 and 0 < node["pss_mb"] <= node["rss_mb"]
        assert 0 < node["latency_ms"]["total"]["p50"] <= node["latency_ms"]["total"]["p99"]
