"""Says what was found on this machine and what each absence costs."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable

from savos_model.hints import PIP
from savos_ros.tools.doctor_ros import (
    domain,
    fastdds_profile,
    launch,
    logs,
    messages,
    middleware,
    ros,
    shared_memory,
)
from savos_ros.tools.findings import Finding, absence, module, present, reason

OLDEST_PYTHON = (3, 10)


def python() -> Finding:
    """The interpreter that runs this command."""
    detail = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info >= OLDEST_PYTHON:
        return present("Python", detail)
    return absence("Python", detail, "needs Python 3.10 or newer", needed=True)


def onnxruntime() -> Finding:
    """ONNX Runtime with its execution providers."""
    cost = "the default backend cannot run: pip install onnxruntime"
    finding = module("onnxruntime", cost, label="ONNX Runtime", needed=True)
    if finding.state != "ok":
        return finding
    providers = importlib.import_module("onnxruntime").get_available_providers()
    short = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    return present("ONNX Runtime", f"{finding.detail} ({short})")


def openvino() -> Finding:
    """OpenVINO with the precisions that this processor computes."""
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


def torch() -> Finding:
    """PyTorch, which only training and the torch backend need."""
    cost = f"no torch backend, training or export: {PIP['torch']}"
    return module("torch", cost, label="PyTorch")


def gpu() -> Finding:
    """NVIDIA GPU as its driver reports it, with PyTorch's view."""
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
    if (
        importlib.util.find_spec("torch")
        and not importlib.import_module("torch").cuda.is_available()
    ):
        return absence("NVIDIA GPU", names, f"this PyTorch is built without CUDA: {cost}")
    return present("NVIDIA GPU", names)


def weights() -> Finding:
    """The weights that the default settings name."""
    try:
        from savos_model.config import BackendConfig
        from savos_model.network.weights import load_weights

        found = load_weights(BackendConfig().weights)
    except Exception as error:
        return absence(
            "weights", reason(error), "nothing can be completed: install again", needed=True
        )
    parameters = sum(array.size for array in found.arrays.values())
    return present("weights", f"{found.name} ({parameters / 1e6:.2f} million parameters)")


def optional(name: str, cost: str, label: str = "") -> Callable[[], Finding]:
    """A check for a module that may be absent."""
    return lambda: module(name, cost, label=label)


def needed(name: str, cost: str, label: str = "") -> Callable[[], Finding]:
    """A check for a module without which the node cannot run."""
    return lambda: module(name, cost, label=label, needed=True)


CHECKS: tuple[Callable[[], Finding], ...] = (
    python,
    needed("numpy", "nothing runs: pip install numpy", "NumPy"),
    needed("cv2", "nothing runs: pip install opencv-python-headless", "OpenCV"),
    onnxruntime,
    needed("onnx", "the default backend cannot run: pip install onnx", "ONNX"),
    needed("safetensors", "no weights can be read: pip install safetensors"),
    weights,
    ros,
    middleware,
    needed("sensor_msgs.msg", "no images: install sensor_msgs", "sensor_msgs"),
    needed("diagnostic_msgs.msg", "no diagnostics: install diagnostic_msgs", "diagnostic_msgs"),
    needed("std_srvs.srv", "no services: install std_srvs", "std_srvs"),
    messages,
    domain,
    logs,
    fastdds_profile,
    shared_memory,
    openvino,
    torch,
    gpu,
    optional("tensorrt", "no engines of TensorRT, for NVIDIA GPUs", "TensorRT"),
    optional("tensorrt_rtx", f"nor of this: {PIP['tensorrt']}", "TensorRT for RTX"),
    optional("rosbags", f"no bag tools: {PIP['bags']}"),
    optional("av", f"no overlay mp4: {PIP['bags']}", "PyAV"),
    optional("pycocotools", f"no MOTS masks: {PIP['bags']}"),
    optional("aiohttp", f"no savos view: {PIP['view']}"),
    optional("vision_msgs.msg", "no ~/detections: install vision_msgs", "vision_msgs"),
    optional("yolo_msgs.msg", "no input.mask_source yolo: install yolo_ros", "yolo_msgs"),
    optional("foxglove_msgs.msg", "no ~/annotations: install foxglove_msgs", "foxglove_msgs"),
    launch,
)


ESSENTIAL = (onnxruntime, weights, ros, middleware, messages)  # named checks of what must be there


def examine() -> list[Finding]:
    """Run every check; a check that breaks is itself a finding."""
    return [finding_of(check) for check in CHECKS]


def finding_of(check: Callable[[], Finding]) -> Finding:
    """What a check finds; one that fails itself tells of a damaged installation."""
    try:
        return check()
    except Exception as error:
        cost = "this check failed: an installation is damaged, install it again"
        return absence(check.__name__, reason(error), cost, needed=check in ESSENTIAL)


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
    verdict = (
        f"The node cannot run: {', '.join(lacking)} missing." if lacking else "The node can run."
    )
    console.print(verdict)


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
