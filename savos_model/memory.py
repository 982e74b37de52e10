"""Memory that a process of many hours no longer needs."""

from __future__ import annotations

import contextlib
import ctypes


def give_back_memory() -> None:
    """Return to the system what was freed; glibc would keep it."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
