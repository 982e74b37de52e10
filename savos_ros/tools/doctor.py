"""Reports what was found on this machine and what each absence costs."""

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
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from savos_model.hints import PIP, installed
from savos_ros.node.ros_start import log_folder, log_problem, start_remedy
from savos_ros.paths import share_dir

IMAGE_SEGMENT_BYTES = 8 * 2**20  # per process, as config/fastdds.xml asks for
HIGHEST_DOMAIN = 232  # higher ones have no ports left
OLDEST_PYTHON = (3, 10)
TOO_OLD = ("foxy", "galactic", "humble", "iron")
GET_ROS = "source ROS 2 Jazzy or newer, or run `make demo` once"
PROBE = "import rclpy; print(rclpy.get_rmw_implementation_identifier())"
COLOURS = {"ok": "green", "absent": "yellow", "missing": "red"}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str  # what was looked for
    state: str  # "ok", "absent" (optional and not there) or "missing" (the node cannot run)
    detail: str  # version, place or reason
    cost: str = ""  # what does not work without it, with the remedy; "" when all is well


class AbsentError(Exception):
    """Report the absence of what was looked for: the reason, and what it costs."""

    def __init__(self, detail: str, cost: str) -> None:
        super().__init__(detail)
        self.detail, self.cost = detail, cost


def reason(error: BaseException) -> str:
    """Return the first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]


distributions = functools.cache(importlib.metadata.packages_distributions)  # reads many files


def module(name: str, cost: str) -> str:
    """Import a module; return its version, from the module or its distribution."""
    try:
        found = importlib.import_module(name)
    except Exception as error:  # a broken binary raises anything at import
        raise AbsentError(reason(error), cost) from error
    if version := getattr(found, "__version__", ""):
        return str(version)
    names = distributions().get(name.split(".")[0], [])
    return importlib.metadata.version(names[0]) if names else "found"


@functools.cache
def load_rclpy() -> tuple[str, str]:
    """Load rclpy in a separate process: rcl ends the process when the middleware is wrong.

    Returns the name of the middleware and "", or "" and why it did not load.
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


def ros() -> str:
    """Check for a ROS 2 distribution, or the packages from pip."""
    distro = os.environ.get("ROS_DISTRO", "")
    if problem := load_rclpy()[1]:
        raise AbsentError(problem, f"the node cannot run: {remedy(problem)}")
    if distro in TOO_OLD:
        raise AbsentError(f"{distro} (sourced)", f"it is too old: {GET_ROS}")
    return f"{distro} (sourced)" if distro else "Jazzy, from pip packages"


def middleware() -> str:
    """Check which RMW implementation rclpy loads."""
    name, problem = load_rclpy()
    if problem:
        raise AbsentError("unknown", "no topics: see ROS 2 (rclpy)")
    return name


def launch() -> str:
    """Check the Python side of launch files, which loads rclpy."""
    cost = "no launch files; `savos_node --autostart` starts the node alone"
    if load_rclpy()[1]:
        raise AbsentError("needs rclpy", cost)
    return module("launch_ros", cost)


def messages() -> str:
    """Check the built messages of this package."""
    cost = "the node cannot run: `make demo` builds them, or `colcon build` in a ROS 2 workspace"
    version = module("savos_ros.msg", cost)
    try:  # the libraries are loaded at first use only
        importlib.import_module("savos_ros.msg").AmodalMaskArray.__import_type_support__()
    except Exception as error:
        raise AbsentError(reason(error), cost) from error
    return version


def domain() -> str:
    """Check the DDS domain: nodes of two domains never see each other."""
    number = os.environ.get("ROS_DOMAIN_ID") or "0"
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    if not number.isdecimal() or int(number) > HIGHEST_DOMAIN:
        raise AbsentError(
            number,
            f"nothing is discovered: export ROS_DOMAIN_ID=0 (0 to {HIGHEST_DOMAIN}) for all nodes",
        )
    return f"{number}, discovery range {reach}"


def logs() -> str:
    """Check the folder of rcl's log files, without which no node starts."""
    if problem := log_problem():
        raise AbsentError(problem, f"no node starts: {start_remedy()}")
    return str(log_folder())


def shared_memory() -> str:
    """Check the room for the shared-memory segments of config/fastdds.xml."""
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError as error:
        cost = "images go through UDP: slower, lost when best effort"
        raise AbsentError(reason(error), cost) from error
    detail = f"/dev/shm {usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MB free"
    if usage.free < 4 * IMAGE_SEGMENT_BYTES:
        raise AbsentError(
            detail,
            "room for fewer than 4 processes: docker run --shm-size=256m, or `fastdds shm clean`",
        )
    return detail


def fastdds_profile() -> str:
    """Check the Fast DDS profile; without it an image does not fit the shared segment."""
    path = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "")
    if not os.path.isfile(path):
        raise AbsentError(
            f"{path} does not exist" if path else "not set",
            "best-effort images above 512 KB get lost: between nodes of one machine, export "
            f"FASTRTPS_DEFAULT_PROFILES_FILE={share_dir() / 'config' / 'fastdds.xml'}",
        )
    return path


def python() -> str:
    """Check the interpreter that runs this command."""
    detail = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info < OLDEST_PYTHON:
        raise AbsentError(detail, "needs Python 3.10 or newer")
    return detail


def onnxruntime() -> str:
    """Check ONNX Runtime and its execution providers."""
    version = module("onnxruntime", "the default backend cannot run: pip install onnxruntime")
    providers = importlib.import_module("onnxruntime").get_available_providers()
    short = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    return f"{version} ({short})"


def openvino() -> str:
    """Check OpenVINO and the precisions that this processor computes."""
    cost = f"no openvino backend, which may be faster on this CPU: {PIP['openvino']}"
    module("savos_model.backends.openvino", cost)
    ours = importlib.import_module("savos_model.backends.openvino")
    version = ours.openvino.__version__.split("-")[0]
    return f"{version} (fp32{', bf16' if ours.has_bf16(ours.openvino.Core()) else ''})"


def gpu() -> str:
    """Check for an NVIDIA GPU by its driver and by PyTorch."""
    cost = "the network runs on the CPU"
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise AbsentError("no nvidia-smi", cost)
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        out = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise AbsentError(reason(error), cost) from error
    names = "; ".join(out.strip().splitlines())
    if installed("torch") and not importlib.import_module("torch").cuda.is_available():
        raise AbsentError(names, f"this PyTorch is built without CUDA: {cost}")
    return names


def weights() -> str:
    """Check the weights that the default settings name."""
    try:
        from savos_model.config import BackendConfig
        from savos_model.network.weights import load_weights

        found = load_weights(BackendConfig().weights)
    except Exception as error:
        raise AbsentError(reason(error), "nothing can be completed: install again") from error
    parameters = sum(array.size for array in found.arrays.values())
    return f"{found.name} ({parameters / 1e6:.2f} million parameters)"


Check = Callable[[], str] | tuple[str, str]  # or a module and the cost of its absence
NEEDED: dict[str, Check] = {  # the node cannot run without these
    "Python": python,
    "NumPy": ("numpy", "nothing runs: pip install numpy"),
    "OpenCV": ("cv2", "nothing runs: pip install opencv-python-headless"),
    "ONNX Runtime": onnxruntime,
    "ONNX": ("onnx", "the default backend cannot run: pip install onnx"),
    "safetensors": ("safetensors", "no weights can be read: pip install safetensors"),
    "weights": weights,
    "ROS 2 (rclpy)": ros,
    "RMW": middleware,
    "sensor_msgs": ("sensor_msgs.msg", "no images: install sensor_msgs"),
    "diagnostic_msgs": ("diagnostic_msgs.msg", "no diagnostics: install diagnostic_msgs"),
    "std_srvs": ("std_srvs.srv", "no services: install std_srvs"),
    "savos_ros messages": messages,
    "ROS_DOMAIN_ID": domain,
    "log folder": logs,
}
CHECKS: dict[str, Check] = NEEDED | {
    "Fast DDS profile": fastdds_profile,
    "shared memory": shared_memory,
    "OpenVINO": openvino,
    "PyTorch": ("torch", f"no torch backend, training or export: {PIP['torch']}"),
    "NVIDIA GPU": gpu,
    "TensorRT": ("tensorrt", "no engines of TensorRT, for NVIDIA GPUs"),
    "TensorRT for RTX": ("tensorrt_rtx", f"nor of this: {PIP['tensorrt']}"),
    "rosbags": ("rosbags", f"no bag tools: {PIP['bags']}"),
    "PyAV": ("av", f"no overlay mp4: {PIP['bags']}"),
    "pycocotools": ("pycocotools", f"no MOTS masks: {PIP['bags']}"),
    "aiohttp": ("aiohttp", f"no savos view: {PIP['view']}"),
    "foxglove": ("foxglove", f"no savos bridge: {PIP['foxglove']}"),
    "vision_msgs": ("vision_msgs.msg", "no ~/detections: install vision_msgs"),
    "yolo_msgs": ("yolo_msgs.msg", "no input.mask_source yolo: install yolo_ros"),
    "foxglove_msgs": ("foxglove_msgs.msg", "no ~/annotations: install foxglove_msgs"),
    "launch_ros": launch,
}


def finding_of(name: str) -> Finding:
    """Run one of CHECKS; one that fails itself is reported as a damaged installation."""
    try:
        check = CHECKS[name]
        return Finding(name, "ok", check() if callable(check) else module(*check))
    except AbsentError as error:
        detail, cost = error.detail, error.cost
    except Exception as error:
        detail = reason(error)
        cost = "this check failed: an installation is damaged, install it again"
    return Finding(name, "missing" if name in NEEDED else "absent", detail, cost)


def print_table(findings: list[Finding]) -> None:
    """Show the findings as a table, with a closing line."""
    table = Table("", "what")
    for header in ("found", "what its absence costs"):
        table.add_column(header, overflow="fold")  # a path must stay whole
    for item in findings:
        state = f"[{COLOURS[item.state]}]{item.state}[/]"
        table.add_row(state, escape(item.name), escape(item.detail), escape(item.cost))
    console = Console()
    console.print(table)
    lacking = [item.name for item in findings if item.state == "missing"]
    cannot = f"The node cannot run: {', '.join(lacking)} missing."
    console.print(cannot if lacking else "The node can run.")


def run_doctor(as_json: bool = False) -> int:
    """Print all findings; returns 1 when something that the node needs is missing, else 0."""
    findings = list(map(finding_of, CHECKS))
    ready = all(item.state != "missing" for item in findings)
    if as_json:
        listed = [dataclasses.asdict(item) for item in findings]
        print(json.dumps({"ready": ready, "findings": listed}, indent=2))
    else:
        print_table(findings)
    return 0 if ready else 1
