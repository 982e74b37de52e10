"""Measures everything that needs a GPU in a few minutes: `savos bench gpu --out DIR`."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from savos_model.files import write_file
from savos_model.hints import installed
from savos_model.results import keep_results
from savos_model.settings import SettingError
from savos_ros.tools.bench_gpu_page import page
from savos_ros.tools.bench_gpu_steps import STEPS
from savos_ros.tools.settings import DemoError, GpuOptions, GpuPlan

DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/dxg")
LOG_LINES = 15  # of a step that failed
RESULTS, PAGE = "gpu.json", "gpu.md"
LEAST_S = 5.0  # a step that has less left is not begun


def bench_gpu(options: GpuOptions, out: Path, console: Console) -> dict:
    """Run the steps one after the other; a step that fails does not keep the next from running.

    `out` is the folder of gpu.json (savos_model/results.py) and gpu.md, both written after each
    step, and of each step's log. Returns settings; steps by name: state (done, absent, failed,
    timed out, no time), seconds, error and result; seconds of all.

    Raises SettingError: a step that does not exist is asked for; DemoError: there is no GPU, and no
    dry run was asked for.
    """
    unknown = sorted(set(options.only) - set(STEPS))
    if unknown:
        raise SettingError(f"only must be of {', '.join(STEPS)}, got {unknown[0]!r}: choose these")
    if not options.dry_run and not has_gpu():
        raise DemoError("there is no NVIDIA GPU here: --dry-run tries the command on the CPU")
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    found: dict[str, dict[str, Any]] = {}
    report: dict[str, Any] = {"settings": dataclasses.asdict(options), "steps": found}
    for name in options.only or STEPS:
        left = 60 * options.minutes - (time.monotonic() - began)
        # A dry run is for a machine of any speed.
        share = left if options.dry_run else STEPS[name].seconds * options.minutes / 8
        limit = min(left, share)
        console.print(f"{name}: {STEPS[name].text}, at most {limit:.0f} s", highlight=False)
        found[name] = run_step(name, options.plan, out, limit)
        report["seconds"] = time.monotonic() - began
        shown = f"  {found[name]['state']} {found[name]['error']}".rstrip()
        console.print(shown, highlight=False, markup=False)
        keep_results(out / RESULTS, report, options.seed)
        write_file(out / PAGE, page(report))
    console.print(f"written: {out / RESULTS} and {out / PAGE}")
    return report


def has_gpu() -> bool:
    """Whether a driver of NVIDIA is there, or torch sees a GPU."""
    if any(map(os.path.exists, DRIVERS)):
        return True
    if not installed("torch"):
        return False
    import torch

    return torch.cuda.is_available()


def run_step(name: str, plan: GpuPlan, out: Path, limit_s: float) -> dict[str, Any]:
    """Run a step in a process group that ends with it or at its limit.

    Returns state, seconds, error (empty when done) and result, as far as it came.
    """
    if limit_s < LEAST_S:
        return {"state": "no time", "seconds": 0.0, "error": "", "result": {}}
    path, log = out / f"{name}.json", out / f"{name}.log"
    path.unlink(missing_ok=True)
    values = json.dumps(dataclasses.asdict(plan))
    command = [sys.executable, "-m", "savos_ros.tools.bench_gpu_steps", name, str(out), values]
    began = time.monotonic()
    with log.open("wb") as output:
        status = run_group(command, output, limit_s)
    took = time.monotonic() - began
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {"state": "unfinished", "error": "", "result": {}}
    path.unlink(missing_ok=True)
    if status is None:
        kept |= {"state": "timed out", "error": f"ended after {limit_s:.0f} s"}
    elif kept["state"] == "unfinished":  # the process died
        kept |= {"state": "failed", "error": f"status {status}: {tail(log)}"}
    return {**kept, "seconds": took}


def run_group(command: list[str], output: Any, limit_s: float) -> int | None:
    """Return the status of a command, None when it was ended at the limit [s]."""
    # The way to our modules as this process has it, also in an install by colcon.
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:  # what it started too, whatever ended it
        end_group(process.pid, process.wait)


def end_group(group: int, wait: Callable[[], int]) -> None:
    """End all processes of a group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    wait()


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-LOG_LINES:] if line.strip())


def good(report: dict) -> bool:
    """Whether every step is done or its package absent, engines agree with the CPU, tests pass."""
    steps = report["steps"].values()
    if any(step["state"] not in ("done", "absent") for step in steps):
        return False
    results = [step["result"] for step in steps]
    engines = [part for result in results for part in result.values() if isinstance(part, dict)]
    apart = any(not part["parity"]["good"] for part in engines if "parity" in part)
    errors = any("error" in part for part in engines)
    return not (apart or errors or any(result.get("failed") for result in results))
