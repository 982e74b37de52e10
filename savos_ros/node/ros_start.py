"""Starts rclpy for a command, with errors that name the remedy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.node import Node


class RosStartError(OSError):
    """ROS 2 cannot start in this environment; the text says what to set."""


def log_folder() -> Path | None:
    """Return the folder that rcl writes its logs to; None where the environment names none."""
    for name, below in (("ROS_LOG_DIR", ""), ("ROS_HOME", "log"), ("HOME", ".ros/log")):
        if os.environ.get(name):
            return Path(os.environ[name]) / below
    return None


def log_problem() -> str:
    """Say why no log can be written; "" when it can. Without one rclpy does not start."""
    folder = log_folder()
    if folder is None:
        return "HOME, ROS_HOME and ROS_LOG_DIR are not set"
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ""
    return f"{folder} cannot be written"


def start_remedy() -> str:
    """Say what to do about an error of rclpy.init or of a node's creation."""
    if problem := log_problem():
        folder = Path(tempfile.gettempdir()) / "ros"
        return f"{problem}: export ROS_LOG_DIR={folder}, or another folder that can be written"
    return "Check ROS_DOMAIN_ID, ROS_SECURITY_*, what follows --ros-args, the --params-file"


@contextmanager
def ros_node(name: str, **options: Any) -> Iterator[Node]:
    """Yield a node in a context of its own, which leaves signals alone.

    Args:
        name: of the node.
        options: of rclpy.create_node.

    Raises:
        RosStartError: rclpy is missing, or cannot start here.
    """
    try:
        import rclpy
        from rclpy.signals import SignalHandlerOptions
    except ImportError as error:
        raise RosStartError(
            f"ROS 2 is needed, rclpy is missing ({error}): source a ROS distribution, or install "
            "the extra [ros]; `savos run` works without"
        ) from None
    # Its own context: the caller can also run inside a process that uses rclpy otherwise.
    context = rclpy.Context()
    try:
        # Without the arguments of the command, which are none of ROS and may be no UTF-8.
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node(name, context=context, **options)
    except RuntimeError as error:
        rclpy.try_shutdown(context=context)
        raise RosStartError(f"ROS 2 cannot start: {error}. {start_remedy()}") from None
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)
