"""Measure the memory of a process, and release what it no longer uses."""

import contextlib
import ctypes
from pathlib import Path

MIB = 1 << 20


def process_bytes(name: str) -> int:
    """Return a value of /proc/self/status: VmRSS now, VmHWM at most.

    Not ru_maxrss, which includes the peak of the process that started this one. Raises OSError:
    there is no such value.
    """
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/self/status has no {name}: memory is measured on Linux")


def give_back_memory() -> None:
    """Return freed memory to the system; glibc would keep it."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
