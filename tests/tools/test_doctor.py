import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from savos_ros.tools import doctor

IMPORT_MODULE = importlib.import_module


@pytest.fixture
def without(monkeypatch):
    """Makes imports of given modules fail."""

    def block(*names: str) -> None:
        def blocked(name: str, *args):
            if name.split(".")[0] in names or name in names:
                raise ModuleNotFoundError(f"No module named '{name}'")
            return IMPORT_MODULE(name, *args)

        monkeypatch.setattr(importlib, "import_module", blocked)

    return block


@pytest.mark.slow
def test_each_thing_is_found_or_has_a_cost():
    for item in map(doctor.finding_of, doctor.CHECKS):
        assert item.detail, item
        assert bool(item.cost) == (item.state != "ok"), item


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("ModuleNotFoundError: No module named 'rclpy'", "source ROS 2"),
        ("ModuleNotFoundError: No module named 'rclpy._rclpy_pybind11'", "another Python"),
        ("ImportError: librcl.so: cannot open shared object file", "source its setup.bash"),
        ("[rcl]: Expected RMW implementation identifier of 'x'", "unset RMW_IMPLEMENTATION"),
    ],
)
def test_rclpy_that_does_not_load_stops_the_node_and_says_what_to_do(monkeypatch, problem, words):
    monkeypatch.setattr(doctor, "load_rclpy", lambda: ("", problem))
    item = doctor.finding_of("ROS 2 (rclpy)")
    assert item.state == "missing" and item.detail == problem and words in item.cost
    assert doctor.finding_of("RMW").state == "missing"
    assert doctor.finding_of("launch_ros").state == "absent"


def test_openvino_shows_what_the_processor_computes(without, monkeypatch):
    engine = pytest.importorskip("savos_model.backends.openvino")
    monkeypatch.setattr(engine, "has_bf16", lambda core: True)
    assert doctor.openvino().endswith(" (fp32, bf16)")
    monkeypatch.setattr(engine, "has_bf16", lambda core: False)
    assert doctor.openvino().endswith(" (fp32)")
    without("savos_model.backends.openvino")
    item = doctor.finding_of("OpenVINO")
    assert item.state == "absent" and item.cost.endswith("pip install openvino")


def test_missing_messages_are_built_next(without):
    without("savos_ros.msg")
    item = doctor.finding_of("savos_ros messages")
    assert item.state == "missing" and "colcon build" in item.cost


def test_a_distribution_that_is_too_old(monkeypatch):
    monkeypatch.setattr(doctor, "load_rclpy", lambda: ("rmw_fastrtps_cpp", ""))
    monkeypatch.setenv("ROS_DISTRO", "humble")
    assert "too old" in doctor.finding_of("ROS 2 (rclpy)").cost
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    assert doctor.ros() == "kilted (sourced)"


@pytest.mark.parametrize(
    ("number", "state"), [("", "ok"), ("77", "ok"), ("233", "missing"), ("a", "missing")]
)
def test_domain(monkeypatch, number, state):
    monkeypatch.setenv("ROS_DOMAIN_ID", number)
    item = doctor.finding_of("ROS_DOMAIN_ID")
    assert item.state == state and (number or "0") in item.detail


def test_missing_torch_does_not_stop_the_node(without):
    without("torch")
    item = doctor.finding_of("PyTorch")
    assert item.state == "absent" and "pip install torch" in item.cost


def test_a_module_that_breaks_at_import_is_a_finding(monkeypatch):
    def broken(name: str, *args):
        raise OSError("libfoo.so.1: cannot open shared object file\nmore")

    monkeypatch.setattr(importlib, "import_module", broken)
    item = doctor.finding_of("OpenCV")
    assert (item.state, item.detail) == ("missing", "libfoo.so.1: cannot open shared object file")
    assert item.cost.startswith("nothing runs")


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    real = importlib.import_module
    hollow = SimpleNamespace(__version__="")  # what is left of a half-removed package

    def partly(name: str, *args):
        return hollow if name == "onnxruntime" else real(name, *args)

    monkeypatch.setattr(importlib, "import_module", partly)
    item = doctor.finding_of("ONNX Runtime")
    assert item.state == "missing" and "get_available_providers" in item.detail
    assert "install it again" in item.cost


def test_profile_that_is_set_but_absent_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(tmp_path / "gone.xml"))
    item = doctor.finding_of("Fast DDS profile")
    assert item.state == "absent"
    assert "gone.xml does not exist" in item.detail


@pytest.mark.parametrize("rmw", ["", "rmw_of_nobody"])
@pytest.mark.slow
def test_json_of_the_command_agrees_with_its_exit_status(rmw):
    environment = os.environ | ({"RMW_IMPLEMENTATION": rmw} if rmw else {})
    command = [sys.executable, "-m", "savos_ros.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ready"] else 1)
    states = [item["state"] for item in report["findings"]]
    assert report["ready"] == ("missing" not in states)
    assert not rmw or not report["ready"], "rcl ends the process that loads it"
    assert set(states) <= {"ok", "absent", "missing"}
