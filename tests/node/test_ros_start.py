import os
import subprocess
import sys
from pathlib import Path

import pytest

from savos_ros.node.ros_start import log_problem, start_remedy

ROOT = Path(__file__).resolve().parents[2]
HOMES = {"unset": None, "a file": "file", "below a file": "file/home"}


@pytest.fixture(params=HOMES)
def no_home(request, tmp_path, monkeypatch):
    """An environment without a home that could be written."""
    for name in ("HOME", "ROS_HOME", "ROS_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").touch()
    if HOMES[request.param]:
        monkeypatch.setenv("HOME", str(tmp_path / HOMES[request.param]))


def test_a_home_that_cannot_be_written_is_found(no_home):
    assert log_problem()
    assert "export ROS_LOG_DIR=" in start_remedy()


def run(code, *words):
    """Run Python code in a separate process: rcl configures logging once per process."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["ROS_LOG_DIR", "ROS_HOME"])
def test_the_remedy_helps(no_home, tmp_path, monkeypatch, name):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    monkeypatch.setenv(name, str(tmp_path / "é" / "logs"))
    assert log_problem() == ""
    code = (
        "from savos_ros.node.ros_start import ros_node\n"
        "with ros_node('me') as n: print(n.get_name())"
    )
    done = run(code)
    assert done.stdout == "me\n", done.stderr
    assert (tmp_path / "é" / "logs").is_dir()


@pytest.mark.parametrize("command", ["savos_ros.node.main", "savos_ros.cli.main"])
def test_commands_end_with_one_line_that_names_the_remedy(no_home, tmp_path, command):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    words = ["play", str(tmp_path / "bag")] if command == "savos_ros.cli.main" else []
    if words:
        import tiny_scene as scene

        from savos_ros.bags.recording import record
        from savos_ros.bags.settings import RecordOptions

        record(scene.frames(2), 2, tmp_path / "bag", RecordOptions())
    start = f"import sys; from {command} import main; sys.exit(main())"
    done = run(start, *words)
    assert done.returncode in (1, 2)
    assert "export ROS_LOG_DIR=" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_finds_it_before(no_home, monkeypatch, tmp_path):
    from savos_ros.tools.doctor import finding_of

    found = finding_of("log folder")
    assert found.state == "missing" and "export ROS_LOG_DIR=" in found.cost
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "logs"))
    found = finding_of("log folder")
    assert (found.state, found.detail) == ("ok", str(tmp_path / "logs"))
