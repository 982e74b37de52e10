"""Reports what was found on this machine and what each absence costs."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial

from savos_model.hints import PIP, installed
from savos_ros.node.ros_start import log_folder, log_problem, start_remedy
from savos_ros.paths import share_dir


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str  # what was looked for
    state: str  # "ok", "absent" (optional and not there) or "missing" (the node cannot run)
    detail: str  # version, place or reason
    cost: str = ""  # what does not work without it, with the remedy; "" when all is well


def present(name: str, detail: str) -> Finding:
    """Return a finding without cost."""
    return Finding(name, "ok", detail)


def absence(name: str, detail: str, cost: str, needed: bool = False) -> Finding:
    """Return a finding with its cost; `needed` when the node cannot run without it."""
    return Finding(name, "missing" if needed else "absent", detail, cost)


def reason(error: BaseException) -> str:
    """Return the first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@functools.cache
def distributions() -> Mapping[str, list[str]]:
    """Return installed distributions by module; reads the files of all of them."""
    return importlib.metadata.packages_distributions()


def module(name: str, cost: str, *, label: str = "", needed: bool = False) -> Finding:
    """Import a module; its version is taken from the module or its distribution."""
    label = label or name.partition(".")[0]
    try:
        found = importlib.import_module(name)
    except Exception as error:  # a broken binary raises anything at import
        return absence(label, reason(error), cost, needed)
    version = getattr(found, "__version__", "")
    if not version:
        names = distributions().get(name.split(".")[0], [])
        version = importlib.metadata.version(names[0]) if names else "found"
    return present(label, str(version))


IMAGE_SEGMENT_BYTES = 8 * 2**20  # per process, as config/fastdds.xml asks for
HIGHEST_DOMAIN = 232  # higher ones have no ports left
TOO_OLD = ("foxy", "galactic", "humble", "iron")
GET_ROS = "source ROS 2 Jazzy or newer, or run `make demo` once"
PROBE = "import rclpy; print(rclpy.get_rmw_implementation_identifier())"


@functools.cache
def load_rclpy() -> tuple[str, str]:
    """Load rclpy in a separate process: rcl ends the process when the middleware is wrong.

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
    errors = [line for line in lines if "Error:" in line or "[ERROR]" in line]
    return "", (errors or lines or [f"it ended with status {done.returncode}"])[0]


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
    """Check for a ROS 2 distribution, or the packages from pip."""
    name, distro = "ROS 2 (rclpy)", os.environ.get("ROS_DISTRO", "")
    _, problem = load_rclpy()
    if problem:
        return absence(name, problem, f"the node cannot run: {remedy(problem)}", needed=True)
    if distro in TOO_OLD:
        return absence(name, f"{distro} (sourced)", f"it is too old: {GET_ROS}", needed=True)
    return present(name, f"{distro} (sourced)" if distro else "Jazzy, from pip packages")


def middleware() -> Finding:
    """Check which RMW implementation rclpy loads."""
    name, problem = load_rclpy()
    if problem:
        return absence("RMW", "unknown", "no topics: see ROS 2 (rclpy)", needed=True)
    return present("RMW", name)


def launch() -> Finding:
    """Check the Python side of launch files, which loads rclpy."""
    cost = "no launch files; `savos_node --autostart` starts the node alone"
    if load_rclpy()[1]:
        return absence("launch_ros", "needs rclpy", cost)
    return module("launch_ros", cost)


def messages() -> Finding:
    """Check the built messages of this package."""
    cost = "the node cannot run: `make demo` builds them, or `colcon build` in a ROS 2 workspace"
    finding = module("savos_ros.msg", cost, label="savos_ros messages", needed=True)
    if finding.state == "ok":
        try:  # the libraries are loaded at first use only
            importlib.import_module("savos_ros.msg").AmodalMaskArray.__import_type_support__()
        except Exception as error:
            return absence(finding.name, reason(error), cost, needed=True)
    return finding


def domain() -> Finding:
    """Check the DDS domain: nodes of two domains never see each other."""
    number = os.environ.get("ROS_DOMAIN_ID") or "0"
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    if number.isdecimal() and int(number) <= HIGHEST_DOMAIN:
        return present("ROS_DOMAIN_ID", f"{number}, discovery range {reach}")
    cost = f"nothing is discovered: export ROS_DOMAIN_ID=0 (0 to {HIGHEST_DOMAIN}) for all nodes"
    return absence("ROS_DOMAIN_ID", number, cost, needed=True)


def logs() -> Finding:
    """Check the folder of rcl's log files, without which no node starts."""
    if problem := log_problem():
        return absence("log folder", problem, f"no node starts: {start_remedy()}", needed=True)
    return present("log folder", str(log_folder()))


def shared_memory() -> Finding:
    """Check the room for the shared-memory segments of config/fastdds.xml."""
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
    """Check the Fast DDS profile; without it an image does not fit the shared segment."""
    name = "Fast DDS profile"
    path = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "")
    if path and os.path.isfile(path):
        return present(name, path)
    detail = f"{path} does not exist" if path else "not set"
    profile = share_dir() / "config" / "fastdds.xml"
    cost = (
        "best-effort images above 512 KB get lost: between nodes of one machine, export "
        f"FASTRTPS_DEFAULT_PROFILES_FILE={profile}"
    )
    return absence(name, detail, cost)


OLDEST_PYTHON = (3, 10)


def python() -> Finding:
    """Check the interpreter that runs this command."""
    detail = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info >= OLDEST_PYTHON:
        return present("Python", detail)
    return absence("Python", detail, "needs Python 3.10 or newer", needed=True)


def onnxruntime() -> Finding:
    """Check ONNX Runtime and its execution providers."""
    cost = "the default backend cannot run: pip install onnxruntime"
    finding = module("onnxruntime", cost, label="ONNX Runtime", needed=True)
    if finding.state != "ok":
        return finding
    providers = importlib.import_module("onnxruntime").get_available_providers()
    short = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    return present("ONNX Runtime", f"{finding.detail} ({short})")


def openvino() -> Finding:
    """Check OpenVINO and the precisions that this processor computes."""
    cost = f"no openvino backend, which may be faster on this CPU: {PIP['openvino']}"
    finding = module("savos_model.backends.openvino", cost, label="OpenVINO")
    if finding.state != "ok":
        return finding
    ours = importlib.import_module("savos_model.backends.openvino")
    core = ours.openvino.Core()
    version, precisions = ours.openvino.__version__.split("-")[0], ["fp32"]
    if ours.has_bf16(core):
        precisions.append("bf16")
    return present("OpenVINO", f"{version} ({', '.join(precisions)})")


torch = partial(
    module, "torch", f"no torch backend, training or export: {PIP['torch']}", label="PyTorch"
)


def gpu() -> Finding:
    """Check for an NVIDIA GPU by its driver and by PyTorch."""
    cost = "the network runs on the CPU"
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return absence("NVIDIA GPU", "no nvidia-smi", cost)
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        out = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return absence("NVIDIA GPU", reason(error), cost)
    names = "; ".join(out.strip().splitlines())
    if installed("torch") and not importlib.import_module("torch").cuda.is_available():
        return absence("NVIDIA GPU", names, f"this PyTorch is built without CUDA: {cost}")
    return present("NVIDIA GPU", names)


def weights() -> Finding:
    """Check the weights that the default settings name."""
    try:
        from savos_model.config import BackendConfig
        from savos_model.network.weights import load_weights

        found = load_weights(BackendConfig().weights)
    except Exception as error:
        cost = "nothing can be completed: install again"
        return absence("weights", reason(error), cost, needed=True)
    parameters = sum(array.size for array in found.arrays.values())
    return present("weights", f"{found.name} ({parameters / 1e6:.2f} million parameters)")


optional, needed = partial(partial, module), partial(partial, module, needed=True)
CHECKS: tuple[Callable[[], Finding], ...] = (
    python,
    needed("numpy", "nothing runs: pip install numpy", label="NumPy"),
    needed("cv2", "nothing runs: pip install opencv-python-headless", label="OpenCV"),
    onnxruntime,
    needed("onnx", "the default backend cannot run: pip install onnx", label="ONNX"),
    needed("safetensors", "no weights can be read: pip install safetensors"),
    weights,
    ros,
    middleware,
    needed("sensor_msgs.msg", "no images: install sensor_msgs"),
    needed("diagnostic_msgs.msg", "no diagnostics: install diagnostic_msgs"),
    needed("std_srvs.srv", "no services: install std_srvs"),
    messages,
    domain,
    logs,
    fastdds_profile,
    shared_memory,
    openvino,
    torch,
    gpu,
    optional("tensorrt", "no engines of TensorRT, for NVIDIA GPUs", label="TensorRT"),
    optional("tensorrt_rtx", f"nor of this: {PIP['tensorrt']}", label="TensorRT for RTX"),
    optional("rosbags", f"no bag tools: {PIP['bags']}"),
    optional("av", f"no overlay mp4: {PIP['bags']}", label="PyAV"),
    optional("pycocotools", f"no MOTS masks: {PIP['bags']}"),
    optional("aiohttp", f"no savos view: {PIP['view']}"),
    optional("foxglove", f"no savos bridge: {PIP['foxglove']}"),
    optional("vision_msgs.msg", "no ~/detections: install vision_msgs"),
    optional("yolo_msgs.msg", "no input.mask_source yolo: install yolo_ros"),
    optional("foxglove_msgs.msg", "no ~/annotations: install foxglove_msgs"),
    launch,
)


ESSENTIAL = (onnxruntime, weights, ros, middleware, messages)  # named checks of what must be there


def examine() -> list[Finding]:
    """Run every check; a check that breaks is itself a finding."""
    return [finding_of(check) for check in CHECKS]


def finding_of(check: Callable[[], Finding]) -> Finding:
    """Run a check; one that fails itself is reported as a damaged installation."""
    try:
        return check()
    except Exception as error:
        cost = "this check failed: an installation is damaged, install it again"
        name = getattr(check, "__name__", "module")
        return absence(name, reason(error), cost, needed=check in ESSENTIAL)


def print_table(findings: list[Finding]) -> None:
    """Show the findings as a table, with a closing line."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "absent": "yellow", "missing": "red"}
    table = Table("", "what")
    for header in ("found", "what its absence costs"):
        table.add_column(header, overflow="fold")  # a path must stay whole
    for item in findings:
        state = f"[{colours[item.state]}]{item.state}[/]"
        table.add_row(state, escape(item.name), escape(item.detail), escape(item.cost))
    console = Console()
    console.print(table)
    lacking = [item.name for item in findings if item.state == "missing"]
    cannot = f"The node cannot run: {', '.join(lacking)} missing."
    console.print(cannot if lacking else "The node can run.")


def run_doctor(as_json: bool = False) -> int:
    """Print all findings.

    Returns:
        0 when the node can run here, 1 when something it needs is missing.
    """
    findings = examine()
    ready = all(item.state != "missing" for item in findings)
    if as_json:
        listed = [dataclasses.asdict(item) for item in findings]
        print(json.dumps({"ready": ready, "findings": listed}, indent=2))
    else:
        print_table(findings)
    return 0 if ready else 1
