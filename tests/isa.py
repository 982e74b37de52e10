#!/usr/bin/env python3
"""Run the tests that compute with PyTorch as they would run on other processors.

    .venv/bin/python tests/isa.py                # all settings, about five minutes each
    .venv/bin/python tests/isa.py -x tests/model  # arguments of pytest

Vector units and threads decide in which order floating-point numbers are added. The libraries are
asked to use less than this processor has; ONNX Runtime cannot be asked. Prints a line per setting
and exits with 1 if a test fails under any of them.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLD = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX",
}
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4",
    "OPENCV_CPU_DISABLE": "AVX512-SKX",
}
PROCESSORS = {
    "SSE 4": OLD,
    "AVX2": AVX2,
    "AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "scalar PyTorch": {"ATEN_CPU_CAPABILITY": "default"},
}
THREADS = (1, 2)


def summary(output: str) -> str:
    """Return pytest's closing line, and the tests that failed."""
    closing = re.findall(r"^=*\s*(\d+ [a-z]+.* in [\d.]+s.*?)\s*=*$", output, re.MULTILINE)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return "\n    ".join([closing[-1] if closing else "no test was run", *failed])


def run(variables: dict[str, str], threads: int, arguments: list[str]) -> tuple[int, str]:
    """Run pytest with environment variables; return its exit status and its output."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-m", "torch and not dds", *arguments]
    environment = os.environ | variables | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def main(arguments: list[str]) -> int:
    """Run all settings and return the exit status."""
    failures = 0
    for threads in THREADS:
        for name, variables in PROCESSORS.items():
            begun = time.monotonic()
            status, output = run(variables, threads, arguments)
            failures += status != 0
            label = f"{name}, {threads} thread{'s' * (threads > 1)}"
            print(f"{label:26} {summary(output)} ({time.monotonic() - begun:.0f} s)", flush=True)
            if status:
                print(output)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
