import importlib
import json
import subprocess
import sys

import pytest

from savos_ros import doctor

IMPORT_MODULE = importlib.import_module


@pytest.fixture
def without(monkeypatch):
    """Makes imports of given modules fail."""

    def block(*names: str) -> None:
        def blocked(name: str, *args):
            if name.split(".")[0] in names or name in names:
                raise ModuleNotFoundError(f"No module named '{name}'")
            return IMPORT_MODULE(name, *args)

        monkeypatch.setattr(doctor.importlib, "import_module", blocked)

    return block


def by_name(findings: list[doctor.Finding]) -> dict[str, doctor.Finding]:
    return {item.name: item for item in findings}


def test_each_thing_is_found_or_has_a_cost():
    findings = doctor.examine()
    assert len(by_name(findings)) == len(doctor.CHECKS)
    for item in findings:
        assert item.detail, item
        assert bool(item.cost) == (item.state != "ok"), item


def test_missing_rclpy_stops_the_node_and_says_what_to_do(without):
    without("rclpy")
    found = by_name(doctor.examine())
    assert found["ROS 2 (rclpy)"].state == "missing"
    assert "source ROS 2" in found["ROS 2 (rclpy)"].cost
    assert doctor.run_doctor() == 1


def test_missing_torch_does_not_stop_the_node(without):
    without("torch")
    found = by_name(doctor.examine())
    assert found["PyTorch"].state == "absent"
    assert "savos_ros[torch]" in found["PyTorch"].cost


def test_a_module_that_breaks_at_import_is_a_finding(monkeypatch):
    def broken(name: str, *args):
        raise OSError("libfoo.so.1: cannot open shared object file\nmore")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    item = doctor.module("cv2", "nothing runs", label="OpenCV", needed=True)
    assert item == doctor.Finding(
        "OpenCV", "missing", "libfoo.so.1: cannot open shared object file", "nothing runs"
    )


def test_profile_that_is_set_but_absent_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(tmp_path / "gone.xml"))
    item = doctor.fastdds_profile()
    assert item.state == "absent"
    assert "gone.xml does not exist" in item.detail


def test_json_of_the_command_agrees_with_its_exit_status():
    command = [sys.executable, "-m", "savos_ros.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ready"] else 1)
    states = [item["state"] for item in report["findings"]]
    assert report["ready"] == ("missing" not in states)
    assert set(states) <= {"ok", "absent", "missing"}
