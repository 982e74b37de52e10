"""Make .venv with pinned packages and built messages, using the standard library alone.

Usage: python3 scripts/bootstrap.py demo|test, with any Python 3. Every complete step leaves a stamp
with the hash of its inputs in .venv/stamps: a second call does nothing, an interrupted one resumes.
"""

import ast
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
PYTHONS = ((3, 11), (3, 12), (3, 13))  # those for which every pinned package has a wheel
OLDEST_CMAKE = (3, 20)
UV = os.path.join(VENV, "bin", "uv")
OF_UV = {  # variables of uv, which does not read pip's configuration, by the names that pip uses
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "no-index": "UV_NO_INDEX",
}
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
PROBE = (
    "import importlib.util as u, json, os, struct, sys, sysconfig as s; print(json.dumps(dict("
    "version=sys.version_info[:2], bits=8 * struct.calcsize('P'), "
    "venv=all(u.find_spec(m) for m in ('venv', 'ensurepip')), "
    "headers=os.path.exists(os.path.join(s.get_path('include'), 'Python.h')))))"
)


# The way for machines without ROS packages on PyPI; docs/first_steps.md explains it.
WORKSPACE = """\
    source /opt/ros/%(distro)s/setup.bash
    mkdir -p ~/ros2_ws/src && ln -sfn %(root)s ~/ros2_ws/src/savos_ros && cd ~/ros2_ws
    rosdep install --from-paths src --ignore-src -y
    python3 -m venv --system-site-packages ~/savos_env && . ~/savos_env/bin/activate
    pip install -r src/savos_ros/requirements/workspace.txt
    colcon build --packages-select savos_ros
    source install/setup.bash"""
DISTRO = "jazzy"  # the oldest that this package supports
INSTALLED = "/opt/ros"


class SetupError(Exception):
    """Something is missing; the text says what to install, in one line, or gives the commands."""


def probe(python):
    """Ask an interpreter for version, venv module and C headers; None when it cannot be run."""
    try:
        out = subprocess.run(
            [python, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
        return dict(json.loads(out.stdout.decode()), python=python) if out.returncode == 0 else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def candidates():
    """Yield interpreters to try: $PYTHON, the running one, those on PATH, those of pyenv."""
    yield os.environ.get("PYTHON") or sys.executable
    yield sys.executable
    for major, minor in PYTHONS:
        name = "python%d.%d" % (major, minor)
        yield shutil.which(name) or name
        pyenv = os.path.join(
            os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv")), "versions"
        )
        for version in sorted(os.listdir(pyenv)) if os.path.isdir(pyenv) else []:
            if version.startswith("%d.%d." % (major, minor)):
                yield os.path.join(pyenv, version, "bin", "python")


def find_python():
    """Return the first usable interpreter.

    Raises SetupError: no interpreter has a supported version, or a part of it is missing.
    """
    lacking = None
    for python in candidates():
        found = probe(python) if python else None
        if found and tuple(found["version"]) in PYTHONS and found["bits"] == 64:
            if found["venv"] and found["headers"]:
                return found["python"]
            lacking = lacking or found
    if lacking:
        name = "python%d.%d" % tuple(lacking["version"])
        part, package = (
            ("the venv module", "-venv") if not lacking["venv"] else ("its C headers", "-dev")
        )
        raise SetupError(
            "%s lacks %s: sudo apt install %s%s" % (lacking["python"], part, name, package)
        )
    raise SetupError(
        "Python 3.11, 3.12 or 3.13 is needed (this is %s): sudo apt install "
        "python3.11 python3.11-venv python3.11-dev, or set PYTHON=/path/to/python"
        % platform.python_version()
    )


def check_tools():
    """Check the machine before anything is created; raises SetupError: a tool is missing."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(colcon_way())
    if not any(map(shutil.which, ("c++", "g++"))) or not any(map(shutil.which, ("cc", "gcc"))):
        raise SetupError(
            "A C and C++ compiler is needed for the messages: sudo apt install build-essential"
        )
    if not shutil.which("cmake"):
        raise SetupError("CMake 3.20 or newer is needed for the messages: sudo apt install cmake")
    words = subprocess.run(["cmake", "--version"], stdout=subprocess.PIPE).stdout.decode().split()
    version = words[2] if len(words) > 2 else "0.0"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_CMAKE:
        raise SetupError(
            "CMake 3.20 or newer is needed (found %s): pip install cmake, or a newer system"
            % version
        )
    if not any(map(shutil.which, ("ninja", "make"))):
        raise SetupError("ninja or make is needed for the messages: sudo apt install ninja-build")


def colcon_way():
    """Return what to do on a Jetson or Raspberry Pi, for which PyPI has no ROS packages."""
    names = sorted(os.listdir(INSTALLED)) if os.path.isdir(INSTALLED) else []
    usable = [name for name in names if name >= DISTRO]
    install = (
        "Install ROS 2 Jazzy or newer (https://docs.ros.org/en/jazzy/Installation.html); where the "
        "system has none\n(JetPack 6, Raspberry Pi OS) build a container instead: "
        "docker build -f docker/jazzy.Dockerfile -t savos_ros .\n"
    )
    text = (
        "ROS 2 packages for pip exist for Linux on x86_64 only, this is %s on %s: colcon builds "
        "the package here.\n%sThen, in a terminal:\n"
        % (platform.system(), platform.machine(), "" if usable else install)
    )
    return text + WORKSPACE % dict(distro=(usable or [DISTRO])[0], root=shlex.quote(ROOT))


def read(path):
    """Return the bytes of a file of the repository."""
    with open(os.path.join(ROOT, path), "rb") as file:
        return file.read()


def requirements(*names):
    """Return the paths of these requirement files."""
    return ["requirements/%s.txt" % name for name in names]


def stamped(name, inputs, say, work):
    """Run `work` unless its stamp holds the hash of `inputs` (paths in the repository) already."""
    digest = hashlib.sha256(b"\0".join(read(path) for path in inputs)).hexdigest()
    stamp = os.path.join(VENV, "stamps", name)
    if os.path.exists(stamp):
        with open(stamp) as file:
            if file.read() == digest:
                return
    print("set-up: %s ..." % say, flush=True)
    start = time.time()
    work()
    os.makedirs(os.path.dirname(stamp), exist_ok=True)
    with open(stamp + ".part", "w") as file:
        file.write(digest)
    os.replace(stamp + ".part", stamp)
    print("set-up: %s done in %.0f s" % (say, time.time() - start), flush=True)


def clean_environment():
    """Return the environment without other ROS installations, whose libraries could be loaded."""
    dropped = {
        "PYTHONPATH",
        "PYTHONHOME",
        "AMENT_PREFIX_PATH",
        "CMAKE_PREFIX_PATH",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
    }
    if "ROS_DISTRO" in os.environ or "_ROS_WHEELS_BOOTSTRAP_COMPLETE" in os.environ:
        dropped |= {"LD_LIBRARY_PATH", "ROS_DISTRO"}
    return {key: value for key, value in os.environ.items() if key not in dropped}


def call(command, hint):
    """Run a command, which prints its own output; raises SetupError with `hint`: it failed."""
    if subprocess.run(command, env=clean_environment(), cwd=ROOT).returncode:
        raise SetupError("%s failed: %s" % (" ".join(command[:5]), hint))


def make_venv():
    """Make .venv, or finish one that was interrupted."""
    present = probe(VENV_PYTHON) if os.path.exists(VENV_PYTHON) else None
    if present and tuple(present["version"]) not in PYTHONS:
        raise SetupError(
            ".venv is of Python %d.%d: remove it (make clean)" % tuple(present["version"])
        )
    call([find_python(), "-m", "venv", VENV], "look at the lines above; `make clean` starts over")


def torch_index():
    """Return pip arguments for torch's CPU build: $TORCH_INDEX_URL, else its index if reachable."""
    url = os.environ.get("TORCH_INDEX_URL")
    if url is None:
        try:
            urllib.request.urlopen(CPU_TORCH + "/torch/", timeout=5).close()
            url = CPU_TORCH
        except OSError:
            url = ""  # behind a mirror or a proxy: pip's own configuration decides
    return ["--extra-index-url", url] if url else []


def pip_install(*arguments, hint="check the network; run make again to resume"):
    """Install into .venv; builds use the packages that are already installed."""
    command = [VENV_PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    call([*command, "--no-build-isolation", *arguments], hint)


def install_locked(name, *extra):
    """Install a requirement file, each package by its version and hash."""
    pip_install("--require-hashes", "-r", *requirements(name), *extra)


def uv_environment():
    """Return the environment in which uv asks the package indexes of pip's configuration."""
    ask = [VENV_PYTHON, "-m", "pip", "config", "list"]
    out = subprocess.run(ask, stdout=subprocess.PIPE, env=clean_environment()).stdout.decode()
    # Any index may have a file, as with pip: all are checked by their hashes.
    env = dict(clean_environment(), UV_INDEX_STRATEGY="unsafe-best-match")
    for section in (":env:.", "install.", "global."):
        for line in out.splitlines():
            name, _, value = line.partition("=")
            variable = OF_UV.get(name[len(section) :]) if name.startswith(section) else None
            if variable:
                between = "," if variable == "UV_FIND_LINKS" else " "
                env.setdefault(variable, between.join(ast.literal_eval(value).split()))
    return env


def install_lock_file(name):
    """Install a lock file with uv, or with pip where uv is not in reach or fails."""
    pip = [VENV_PYTHON, "-m", "pip", "install", "-qq", "--require-hashes", "-r"]
    uv = [UV, "pip", "install", "-q", "--python", VENV_PYTHON, "--require-hashes", "-r"]
    for command in (
        [*pip, *requirements("uv")],
        [*uv, *requirements(name), "--no-deps", "--no-build-isolation"],
    ):
        done = subprocess.run(command, env=uv_environment(), cwd=ROOT, stderr=subprocess.PIPE)
        if done.returncode:
            why = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            print("set-up: without uv (%s), pip takes longer" % why, flush=True)
            install_locked(name)
            return


def install_packages():
    """Install what the node, the demo and the building of messages need."""
    install_locked("setuptools")
    install_lock_file("lock-runtime")


def install_test_packages():
    """Install what tests and training need."""
    install_lock_file("lock-test")
    install_torch()


def install_torch():
    """Install PyTorch's CPU build by its hash; from a mirror without it, the version alone."""
    build = read("requirements/torch.txt").decode().split("torch==")[1].split()[0]
    wanted, extra = "torch==%s" % build, torch_index()
    look = ["install", "-qq", "--dry-run", "--no-deps", "--ignore-installed", wanted, *extra]
    asked = subprocess.run(
        [VENV_PYTHON, "-m", "pip", *look], env=clean_environment(), cwd=ROOT, stderr=subprocess.PIPE
    )
    if asked.returncode == 0:
        return install_locked("torch", *extra)
    version = wanted.split("+")[0]
    print("set-up: %s is not in reach, only its version is checked: %s" % (wanted, version))
    hint = "set TORCH_INDEX_URL to a package index that has PyTorch"
    return pip_install(version, *extra, hint=hint)


def install_messages():
    """Put the source tree and the `savos` command into .venv, then build the messages there."""
    pip_install("--no-deps", "-e", ".", hint="look at the lines above")
    # Last: pip removes what it takes for an older savos_ros, generated messages included.
    call([VENV_PYTHON, "scripts/build_messages.py"], "`make clean` starts over")


def message_inputs():
    """Return the files on which the built messages depend."""
    messages = sorted(
        "msg/" + name for name in os.listdir(os.path.join(ROOT, "msg")) if name.endswith(".msg")
    )
    build = [
        "CMakeLists.txt",
        "package.xml",
        "pyproject.toml",
        "setup.py",
        "scripts/build_messages.py",
        "scripts/savos",
        "scripts/savos_node",
    ]
    return [*messages, *build, "savos_ros/__init__.py", *requirements("setuptools", "build")]


def set_up(goal):
    """Install what `goal` ("demo" or "test") needs into .venv; skip what is up to date."""
    check_tools()
    if "ROS_DISTRO" in os.environ:
        print(
            "set-up: ROS 2 %s is sourced. For a robot, put this folder into a workspace and run "
            "`colcon build`; make continues with its own packages in .venv."
            % os.environ["ROS_DISTRO"]
        )
    if not os.path.exists(VENV_PYTHON) and os.path.isdir(os.path.join(VENV, "stamps")):
        shutil.rmtree(os.path.join(VENV, "stamps"))  # the interpreter behind .venv is gone
    stamped("venv", [], "Python environment", make_venv)
    stamped(
        "runtime",
        requirements("setuptools", "lock-runtime"),
        "packages",
        install_packages,
    )
    stamped("messages", message_inputs(), "messages", install_messages)
    if goal == "test":
        stamped(
            "test",
            requirements("lock-test", "torch"),
            "test packages (PyTorch is large)",
            install_test_packages,
        )


def main(arguments):
    """Run the command line and return the exit status."""
    if len(arguments) != 1 or arguments[0] not in ("demo", "test"):
        print("usage: bootstrap.py demo|test", file=sys.stderr)
        return 2
    try:
        set_up(arguments[0])
    except SetupError as error:
        print("set-up: %s" % error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; run make again to resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
