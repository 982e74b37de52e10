"""Write and read JSON files of results with the data needed to reproduce them."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from savos_model.files import write_file

if TYPE_CHECKING:
    from rich.console import Console

REQUIRED = ("command", "commit", "machine", "seed", "date", "metrics")


class ResultsError(ValueError):
    """A results file cannot be used; the text names the reason and the remedy."""


def write_results(
    path: str | Path, metrics: dict, *, seed: int, command: str | None = None
) -> dict:
    """Write a results file atomically; missing folders are created.

    Metrics are JSON types only, no NaN, else ResultsError is raised; `seed` is of everything
    random; `command` repeats the measurement, None for that of this process. Returns the content:
    command, commit, machine, seed, date (UTC), metrics.
    """
    document = {
        "command": command or this_command(),
        "commit": commit(),
        "machine": machine(),
        "seed": seed,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "metrics": metrics,
    }
    try:
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ResultsError(f"metrics must be plain JSON values: {error}") from error
    write_file(Path(path), text)
    return document


def keep_results(
    out: Path | None, metrics: dict, seed: int, console: Console | None = None
) -> None:
    """Write a results file if a path is given, and report it on the console, if any."""
    if out is not None:
        write_results(out, metrics, seed=seed)
        if console is not None:
            console.print(f"written: {out}")


def read_results(path: str | Path) -> dict:
    """Read a results file; raises ResultsError: not JSON, or incomplete."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON ({error}): write it again with --json") from error
    missing = [name for name in REQUIRED if not isinstance(document, dict) or name not in document]
    if missing:
        raise ResultsError(f"{path} lacks {', '.join(missing)}: write it again with --json")
    return document


def this_command() -> str:
    """Return the shell command of this process, with the bare name of the program."""
    program = Path(sys.argv[0]).name
    # `python -m savos_ros.cli` is the savos command of a source tree that is not installed.
    return shlex.join(["savos" if program == "__main__.py" else program, *sys.argv[1:]])


def commit() -> str:
    """Return the git commit, with "+changes" if tracked files differ; "unknown" without git.

    Changed results files are ignored, as long runs rewrite them.
    """
    folder = Path(__file__).resolve().parent
    head = _git(folder, "rev-parse", "HEAD")
    if head is None:
        return "unknown"
    sources = (":(top)", ":(top,exclude)docs/results")
    return head + ("+changes" if _git(folder, "status", "--porcelain", "-uno", *sources) else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def machine() -> dict:
    """Return CPU model, cores and versions of the libraries."""
    import cv2
    import numpy

    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
    }


def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
