"""Looks for ROS 2: its Python side, middleware, messages, what connects nodes."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import subprocess
import sys

from savos_ros.node.ros_start import log_folder, log_problem, start_remedy
from savos_ros.tools.findings import Finding, absence, module, present, reason

IMAGE_SEGMENT_BYTES = 8 * 2**20  # per process, as config/fastdds.xml asks for
HIGHEST_DOMAIN = 232  # higher ones have no ports left
TOO_OLD = ("foxy", "galactic", "humble", "iron")
GET_ROS = "source ROS 2 Jazzy or newer, or run `make demo` once"
PROBE = "import rclpy; print(rclpy.get_rmw_implementation_identifier())"


@functools.cache
def load_rclpy() -> tuple[str, str]:
    """Load rclpy in a process of its own: rcl ends the process when the middleware is wrong.

    Returns:
        The name of the middleware and "", or "" and why it did not load.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return "", reason(error)
    if done.returncode == 0:
        return done.stdout.split()[-1], ""
    lines = done.stderr.splitlines()
    told = [line for line in lines if "Error:" in line or "[ERROR]" in line]
    return "", (told or lines or [f"it ended with status {done.returncode}"])[0]


def remedy(problem: str) -> str:
    """Say what to do when rclpy does not load."""
    if "Expected RMW implementation" in problem:
        asked = os.environ.get("RMW_IMPLEMENTATION", "")
        return f"{asked} is not installed: unset RMW_IMPLEMENTATION, or install it"
    if "cannot open shared object" in problem:
        return "its libraries are not found: source its setup.bash, or start .venv/bin/savos"
    if "_rclpy" in problem:
        mine = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return (
            f"it was built for another Python than {mine}: leave virtual environments, use its own"
        )
    return GET_ROS


def ros() -> Finding:
    """A ROS 2 distribution, or the packages from pip."""
    name, distro = "ROS 2 (rclpy)", os.environ.get("ROS_DISTRO", "")
    _, problem = load_rclpy()
    if problem:
        return absence(name, problem, f"the node cannot run: {remedy(problem)}", needed=True)
    if distro in TOO_OLD:
        return absence(name, f"{distro} (sourced)", f"it is too old: {GET_ROS}", needed=True)
    return present(name, f"{distro} (sourced)" if distro else "Jazzy, from pip packages")


def middleware() -> Finding:
    """The RMW implementation that rclpy loads."""
    name, problem = load_rclpy()
    if problem:
        return absence("RMW", "unknown", "no topics: see ROS 2 (rclpy)", needed=True)
    return present("RMW", name)


def launch() -> Finding:
    """The Python side of launch files; it loads rclpy."""
    cost = "no launch files; `savos_node --autostart` starts the node alone"
    if load_rclpy()[1]:
        return absence("launch_ros", "needs rclpy", cost)
    return module("launch_ros", cost)


def messages() -> Finding:
    """The built messages of this package."""
    cost = "the node cannot run: `make demo` builds them, or `colcon build` in a ROS 2 workspace"
    finding = module("savos_ros.msg", cost, label="savos_ros messages", needed=True)
    if finding.state == "ok":
        try:  # the libraries are loaded at first use only
            importlib.import_module("savos_ros.msg").AmodalMaskArray.__import_type_support__()
        except Exception as error:
            return absence(finding.name, reason(error), cost, needed=True)
    return finding


def domain() -> Finding:
    """The DDS domain: nodes of two domains never see each other."""
    number = os.environ.get("ROS_DOMAIN_ID") or "0"
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    if number.isdecimal() and int(number) <= HIGHEST_DOMAIN:
        return present("ROS_DOMAIN_ID", f"{number}, discovery range {reach}")
    cost = f"nothing is discovered: export ROS_DOMAIN_ID=0 (0 to {HIGHEST_DOMAIN}) for all nodes"
    return absence("ROS_DOMAIN_ID", number, cost, needed=True)


def logs() -> Finding:
    """The folder of rcl's log files, without which no node starts."""
    if problem := log_problem():
        return absence("log folder", problem, f"no node starts: {start_remedy()}", needed=True)
    return present("log folder", str(log_folder()))


def shared_memory() -> Finding:
    """Room for the shared-memory segments of config/fastdds.xml."""
    name = "shared memory"
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError as error:
        return absence(name, reason(error), "images go through UDP: slower, lost when best effort")
    detail = f"/dev/shm {usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MB free"
    if usage.free < 4 * IMAGE_SEGMENT_BYTES:
        cost = (
            "room for fewer than four processes: docker run --shm-size=256m, or `fastdds shm clean`"
        )
        return absence(name, detail, cost)
    return present(name, detail)


def fastdds_profile() -> Finding:
    """The Fast DDS profile in force; without one an image does not fit the shared segment."""
    name = "Fast DDS profile"
    path = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "")
    if path and os.path.isfile(path):
        return present(name, path)
    from savos_ros.paths import share_dir

    detail = f"{path} does not exist" if path else "not set"
    profile = share_dir() / "config" / "fastdds.xml"
    cost = (
        "best-effort images above 512 KB get lost: between nodes of one machine, export "
        f"FASTRTPS_DEFAULT_PROFILES_FILE={profile}"
    )
    return absence(name, detail, cost)
