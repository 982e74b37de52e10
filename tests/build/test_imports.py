import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Runs in a fresh interpreter: blocks the modules, then imports every module of the packages.
BLOCKED_IMPORTS = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

def submodules(name):
    module = importlib.import_module(name)
    found = [name]
    for item in pkgutil.iter_modules(getattr(module, "__path__", [])):
        found += submodules(f"{name}.{item.name}")
    return found

BLOCKED, wanted = set(sys.argv[1].split(",")), sys.argv[2].split(",")
sys.meta_path.insert(0, Blocker())
imported = [name for package in wanted for name in submodules(package)]
assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
print(len(imported))
"""
ROS_MODULES = "rclpy,rosidl_parser,std_msgs,sensor_msgs,diagnostic_msgs,std_srvs,launch,launch_ros"


def imported_without(blocked: str, wanted: str) -> int:
    """Number of modules imported with others blocked."""
    command = [sys.executable, "-c", BLOCKED_IMPORTS, blocked, wanted]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


@pytest.mark.parametrize("package", ["savos_model", "training"])
@pytest.mark.slow
def test_the_method_and_training_import_without_ros(package):
    files = [path for path in (ROOT / package).rglob("*.py") if path.name != "__main__.py"]
    assert imported_without(ROS_MODULES, package) == len(files)


@pytest.mark.parametrize("module", ["savos_ros.node", "savos_model.stream", "savos_ros.bags"])
@pytest.mark.slow
def test_the_online_path_imports_without_torch(module):
    assert imported_without("torch", module) >= 1


def test_the_command_starts_without_numpy_torch_ros_and_opencv():
    assert imported_without(f"numpy,torch,cv2,onnxruntime,{ROS_MODULES}", "savos_ros.cli.main") == 1


def test_a_workspace_sees_no_package_called_training(tmp_path):
    """In an install by colcon it lies in lib/savos_ros, for the command and the node alone."""
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert "install(DIRECTORY training/ DESTINATION lib/${PROJECT_NAME}/training" in cmake
    site, private = tmp_path / "lib" / "python" / "site-packages", tmp_path / "lib" / "savos_ros"
    site.mkdir(parents=True)
    private.mkdir()
    for name, folder in (("savos_ros", site), ("savos_model", site), ("training", private)):
        (folder / name).symlink_to(ROOT / name)
    lines = (
        "import savos_ros.paths",
        "print(savos_ros.paths.private_path())",
        "import savos_ros.cli.main, training",
        "print(training.__file__)",
    )
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str([str(private)]), str(private / "training/__init__.py")]
