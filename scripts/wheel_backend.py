"""Build backend of `pip install`: setuptools plus the message generators that pip can bring."""

import os
import platform
import sys
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (a backend is a module with these hooks)

PYTHONS = (
    (3, 11),
    (3, 12),
    (3, 13),
)  # the wheels of the generators exist for these, on Linux x86_64


def get_requires_for_build_wheel(config_settings: dict | None = None) -> list[str]:
    """Return the packages that the build needs; a sourced ROS 2 brings its own generators."""
    wanted = build_meta.get_requires_for_build_wheel(config_settings)
    offered = (
        sys.platform == "linux"
        and platform.machine() == "x86_64"
        and sys.version_info[:2] in PYTHONS
    )
    if not offered or os.environ.get("AMENT_PREFIX_PATH"):
        return wanted
    lines = (Path(__file__).parents[1] / "requirements" / "build.txt").read_text().splitlines()
    return [*wanted, *(line for line in lines if line and not line.startswith("#"))]
