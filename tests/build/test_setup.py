import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import tomllib

from savos_model.hints import PIP
from savos_ros.paths import message_files, share_dir
from savos_ros.tools import doctor
from tests.scripts import load

ROOT = Path(__file__).resolve().parents[2]
ROSDEP_KEYS = {
    "python3-filelock": "filelock",
    "python3-numpy": "numpy",
    "python3-opencv": "opencv-python-headless",
    "python3-psutil": "psutil",
    "python3-scipy": "scipy",
    "python3-yaml": "pyyaml",
}
IMPORTED_AS = {
    "cuda": "cuda_bindings",
    "cv2": "opencv_python_headless",
    "foxglove": "foxglove_sdk",
    "PIL": "pillow",
    "sklearn": "scikit_learn",
    "yaml": "pyyaml",
}
ROS_AND_OURS = {
    *("savos_model", "savos_ros", "training", "rclpy", "rcl_interfaces", "builtin_interfaces"),
    *("diagnostic_msgs", "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs"),
    *("lifecycle_msgs", "vision_msgs", "yolo_msgs", "foxglove_msgs"),
    "torchvision",  # RAFT's flow alone; the text of its absence names it
}
WITHOUT_TYPER = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise ModuleNotFoundError("No module named 'typer'", name="typer")
sys.meta_path.insert(0, Blocker())
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """The set-up script, working on an empty folder."""
    module = load("bootstrap")
    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    monkeypatch.setattr(module, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(module, "VENV_PYTHON", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    return module


def run_bootstrap(**environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / "bootstrap.py"), "demo"]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


@pytest.fixture
def tools(tmp_path):
    """A PATH folder with the named tools alone."""

    def make(*names: str) -> str:
        for name in names:
            tool = tmp_path / name
            tool.write_text("#!/bin/sh\necho cmake version 3.25.1\n")
            tool.chmod(0o755)
        return str(tmp_path)

    return make


@pytest.mark.parametrize(
    ("have", "words"),
    [
        ((), "build-essential"),
        (("cc", "c++"), "apt install cmake"),
        (("cc", "c++", "cmake"), "apt install ninja-build"),
    ],
)
def test_a_missing_tool_is_one_line_that_says_what_to_install(tools, have, words):
    done = run_bootstrap(PATH=tools(*have))
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_old_cmake_is_refused_with_its_version(bootstrap, tools, monkeypatch):
    folder = tools("cc", "c++", "cmake", "ninja")
    Path(folder, "cmake").write_text("#!/bin/sh\necho cmake version 3.16.3\n")
    monkeypatch.setenv("PATH", folder)
    with pytest.raises(bootstrap.SetupError, match=r"3\.20.*3\.16\.3"):
        bootstrap.check_tools()


@pytest.mark.parametrize("distros", [[], ["humble"], ["humble", "jazzy"], ["kilted", "rolling"]])
def test_another_machine_is_sent_to_colcon(bootstrap, monkeypatch, tmp_path, capsys, distros):
    for name in distros:
        (tmp_path / "ros" / name).mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "INSTALLED", str(tmp_path / "ros"))
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(bootstrap, "call", lambda *_: pytest.fail("something was installed"))
    assert bootstrap.main(["demo"]) == 1
    text = capsys.readouterr().err
    assert "this is Linux on aarch64: colcon" in text
    usable = [name for name in distros if name != "humble"]
    assert f"source /opt/ros/{usable[0] if usable else 'jazzy'}/setup.bash" in text
    assert ("docker/jazzy.Dockerfile" in text) == (not usable)


def test_the_lines_for_colcon_are_those_of_first_steps(bootstrap):
    page = (ROOT / "docs" / "first_steps.md").read_text()
    lines = [line.strip() for line in bootstrap.WORKSPACE.splitlines() if "%(" not in line]
    assert len(lines) == 5 and not [line for line in lines if line not in page]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "3.13"),
        ({"version": (3, 9), "bits": 64, "venv": True, "headers": True}, "3.13"),
        ({"version": (3, 11), "bits": 64, "venv": False, "headers": True}, "python3.11-venv"),
        ({"version": (3, 12), "bits": 64, "venv": True, "headers": False}, "python3.12-dev"),
    ],
)
def test_an_unusable_python_is_reported_with_the_package_to_install(
    bootstrap, monkeypatch, found, words
):
    monkeypatch.setattr(bootstrap, "probe", lambda path: found and {**found, "python": path})
    with pytest.raises(bootstrap.SetupError, match=re.escape(words)):
        bootstrap.find_python()


def test_the_probe_knows_this_python(bootstrap):
    found = bootstrap.probe(sys.executable)
    assert tuple(found["version"]) == sys.version_info[:2]
    assert bootstrap.probe("/no/such/python") is None


def test_a_step_runs_once_until_its_inputs_change(bootstrap, tmp_path):
    source, runs = tmp_path / "pins.txt", []
    source.write_text("a==1\n")

    def step() -> None:
        bootstrap.stamped("pins", ["pins.txt"], "pins", lambda: runs.append(1))

    step()
    step()
    assert len(runs) == 1
    source.write_text("a==2\n")
    step()
    assert len(runs) == 2


def test_an_interrupted_step_runs_again(bootstrap, tmp_path):
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bootstrap.stamped("pins", [], "pins", interrupted)
    runs = []
    bootstrap.stamped("pins", [], "pins", lambda: runs.append(1))
    assert runs == [1]


def test_a_sourced_ros_does_not_leak_into_the_environment(bootstrap, monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("PYTHONPATH", "/opt/ros/jazzy/lib/python3.12/site-packages")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/ros/jazzy/lib")
    env = bootstrap.clean_environment()
    assert not {"ROS_DISTRO", "PYTHONPATH", "LD_LIBRARY_PATH"} & env.keys()
    assert env["PATH"] == os.environ["PATH"]


def test_torch_index_of_the_user_is_used_and_an_unreachable_one_is_left_out(bootstrap, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX_URL", "https://mirror.example/cpu")
    assert bootstrap.torch_index() == ["--extra-index-url", "https://mirror.example/cpu"]
    monkeypatch.delenv("TORCH_INDEX_URL")

    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(bootstrap.urllib.request, "urlopen", unreachable)
    assert bootstrap.torch_index() == []


def name_of(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement).group()


def imports(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {item.name.partition(".")[0] for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


INSTALLED = ("setuptools", "lock-runtime", "lock-test", "torch")


def test_every_package_is_locked_once_as_it_was_asked_for():
    locked: dict[str, str] = {}
    for name in INSTALLED:
        assert not locked.keys() & pins(name).keys()
        locked |= pins(name)
    for name in ("runtime", "build", "test"):
        assert pins(name).items() <= locked.items()
    assert pins("docs").items() <= pins("lock-docs").items()  # in a separate environment


def test_every_locked_package_has_hashes():
    for name in (*INSTALLED, "uv"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", "")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert all(re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line) for line in lines), name


def answering(calls, fails=lambda command: False, out=b""):
    """Stand-in for subprocess.run that keeps the commands."""

    def run(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, int(fails(command)), out, b"no such file")

    return run


@pytest.mark.parametrize("program", ["pip", "uv"])
def test_set_up_installs_nothing_without_hashes(bootstrap, monkeypatch, capsys, program):
    calls = []
    monkeypatch.setattr(bootstrap, "torch_index", lambda: [])
    monkeypatch.setattr(bootstrap, "read", lambda path: (ROOT / path).read_bytes())
    fails = lambda command: program == "pip" and "requirements/uv.txt" in command  # noqa: E731
    monkeypatch.setattr(bootstrap.subprocess, "run", answering(calls, fails))
    bootstrap.install_packages()
    bootstrap.install_test_packages()
    files = {Path(part).stem: call for call in calls for part in call if part.endswith(".txt")}
    assert list(files) == ["setuptools", "uv", "lock-runtime", "lock-test", "torch"]
    assert all("--require-hashes" in call for call in files.values())
    assert all("--no-build-isolation" in call for name, call in files.items() if name != "uv")
    assert (files["lock-test"][0] == bootstrap.UV) == (program == "uv")
    assert ("no such file" in capsys.readouterr().out) == (program == "pip")


def test_uv_is_given_the_configuration_of_pip(bootstrap, monkeypatch):
    listed = b"""\
:env:.find-links='/a /b'
download.index-url='https://other.example'
global.extra-index-url='https://x.example/simple\\nhttps://y.example/simple'
global.index-url='https://all.example'
global.timeout='9'
install.index-url='https://mirror.example'
"""
    monkeypatch.setattr(bootstrap.subprocess, "run", answering([], out=listed))
    monkeypatch.setattr(bootstrap, "clean_environment", lambda: {"SSL_CERT_FILE": "/mine"})
    assert bootstrap.uv_environment() == {
        "SSL_CERT_FILE": "/mine",
        "UV_DEFAULT_INDEX": "https://mirror.example",
        "UV_FIND_LINKS": "/a,/b",
        "UV_INDEX": "https://x.example/simple https://y.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_the_demo_installs_no_torch():
    assert "torch" not in pins("lock-runtime")
    assert pins("torch")["torch"] == "2.13.0+cpu"


def test_version_and_ros_pins_agree_between_the_build_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert project["version"] == package.findtext("version")
    assert project["name"] == package.findtext("name")
    ros = dict(line.split("==") for line in project["optional-dependencies"]["ros"])
    assert ros.items() <= pins("runtime").items()


def test_the_workspace_gets_from_pip_what_rosdep_does_not_install():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    keys = {item.text for item in package.iter("exec_depend")}
    assert ROSDEP_KEYS.keys() == {key for key in keys if key.startswith("python3-")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["bags"], *extras["view"]]
    covered = set(ROSDEP_KEYS.values())
    assert covered <= set(map(name_of, wanted))
    wanted = {line for line in wanted if name_of(line) not in covered}
    text = (ROOT / "requirements" / "workspace.txt").read_text()
    lines = {line for line in text.splitlines() if line and not line.startswith("#")}
    assert lines == wanted | {'numpy>=1.26,<2; python_version < "3.13"'}


def test_every_package_that_the_node_and_its_commands_import_is_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    known = {name_of(line).replace("-", "_") for line in asked}
    for package in ("savos_model", "savos_ros", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for name in imports(path) - sys.stdlib_module_names - ROS_AND_OURS:
                assert IMPORTED_AS.get(name, name) in known, f"{path}: {name}"


def test_hints_name_the_packages_of_the_extras_and_never_ours_from_an_index():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for name, hint in PIP.items():
        assert set(hint.removeprefix("pip install ").split()) == set(map(name_of, extras[name]))
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("savos_*/**/*.py")]
    ours = "pip install 'savos_ros"
    assert not [path for path in files if ours in path.read_text(encoding="utf-8")]


def test_the_command_says_the_version_of_the_package():
    from typer.testing import CliRunner

    from savos_ros.cli.main import app

    result = CliRunner().invoke(app, ["--version"])
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (result.exit_code, result.output) == (0, f"savos_ros {wanted}\n")


def test_ros2_run_finds_the_node_and_the_command():
    text = (ROOT / "CMakeLists.txt").read_text()
    (built,) = re.findall(
        r"^install\(PROGRAMS (.*) DESTINATION lib/\$\{PROJECT_NAME\}\)", text, re.M
    )
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(built.split()) == set(tool["data-files"]["lib/savos_ros"])
    for name in ("scripts/savos", "scripts/savos_node"):
        assert name in built.split()
        assert os.access(ROOT / name, os.X_OK)
        # that of an active virtual environment, in which pip has put what rosdep lacks
        assert (ROOT / name).read_text().startswith("#!/usr/bin/env python3\n")
    assert (
        "install(PROGRAMS scripts/savos scripts/savos_node DESTINATION bin)" in text
    )  # on PATH of the workspace


def test_the_command_of_a_workspace_says_what_to_install():
    command = [sys.executable, "-c", WITHOUT_TYPER, str(ROOT / "scripts" / "savos")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "No module named 'typer'" in done.stderr and "workspace.txt" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["plain", "é"])
def test_messages_are_generated_under_an_ascii_path(tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import build_messages

    calls = []
    monkeypatch.setattr(build_messages, "repair_prefix", lambda prefix: 0)
    monkeypatch.setattr(build_messages, "run_cmake", lambda *paths: calls.append(paths))
    build, install = tmp_path / name / "build", tmp_path / name / "install"
    build_messages.build_messages(tmp_path, build, install)
    ((prefix, used, target),) = calls
    assert (prefix, target) == (tmp_path, install)
    assert str(used).isascii()
    assert (used == build) == (name == "plain")


def test_cmake_builds_every_message():
    text = (ROOT / "CMakeLists.txt").read_text()
    built = set(re.findall(r"msg/\w+\.msg", text))
    assert built == {f"msg/{path.name}" for path in message_files()}


def test_built_messages_equal_their_sources():
    reason = "rclpy is not installed: no built messages to compare"
    serialization = pytest.importorskip("rclpy.serialization", reason=reason)
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    from savos_ros.msg import AmodalMask, AmodalMaskArray, InstanceMask, InstanceMaskArray

    store, types = get_typestore(Stores.ROS2_JAZZY), {}
    for path in message_files():
        types |= get_types_from_msg(path.read_text(), f"savos_ros/msg/{path.stem}")
    store.register(types)
    amodal = AmodalMask(id="car", source=AmodalMask.COASTED, occlusion=0.25, velocity_y=-3.0)
    built = [
        AmodalMaskArray(height=375, width=1242, model="small", masks=[amodal]),
        InstanceMaskArray(height=375, width=1242, masks=[InstanceMask(id="7", score=0.5)]),
    ]
    for message in built:
        name = f"savos_ros/msg/{type(message).__name__}"
        read = store.deserialize_cdr(serialization.serialize_message(message), name)
        raw = bytes(store.serialize_cdr(read, name))
        assert serialization.deserialize_message(raw, type(message)) == message
    assert len(types) == 4
    assert (read.width, read.masks[0].id, read.masks[0].score) == (1242, "7", 0.5)


def test_the_data_of_the_package_is_found():
    share = share_dir()
    assert len(message_files()) == 4
    for name in ("launch/amodal.launch.py", "launch/kitti_replay.launch.py", "config/fastdds.xml"):
        assert (share / name).is_file(), name


def test_data_inside_the_packages_is_installed_by_pip():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package in ("savos_model", "savos_ros", "training"):
        patterns = tool["package-data"].get(package, [])
        found = (path for path in (ROOT / package).rglob("*") if path.is_file())
        for path in found:
            if path.suffix not in (".py", ".pyc"):
                name = path.relative_to(ROOT / package)
                assert any(name.match(pattern) for pattern in patterns), path


def test_fastdds_profile_fits_the_largest_usual_image():
    space = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"
    root = ElementTree.parse(ROOT / "config" / "fastdds.xml").getroot()
    (segment,) = root.iter(f"{space}segment_size")
    assert int(segment.text) == doctor.IMAGE_SEGMENT_BYTES >= 1920 * 1080 * 3 + 4096
    assert int(segment.text) <= 8 * 2**20  # six processes share 64 MB, a container's usual /dev/shm


@pytest.mark.parametrize(
    ("status", "asked"), [(0, ["locked torch"]), (1, ["torch==9.9"])], ids=["offered", "not there"]
)
def test_torch_comes_by_hash_where_its_build_is_offered(
    bootstrap, tmp_path, monkeypatch, capsys, status, asked
):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "torch.txt").write_text("torch==9.9+cpu \\\n  --hash=sha256:0\n")
    monkeypatch.setenv("TORCH_INDEX_URL", "")
    done = subprocess.CompletedProcess([], status)
    calls = []
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(
        bootstrap, "install_locked", lambda name, *_: calls.append(f"locked {name}")
    )
    monkeypatch.setattr(bootstrap, "pip_install", lambda name, **_: calls.append(name))
    bootstrap.install_torch()
    assert calls == asked
    assert ("torch==9.9+cpu is not in reach" in capsys.readouterr().out) == bool(status)
