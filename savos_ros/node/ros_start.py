"""Start rclpy for a command, with errors that name the remedy."""

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
    """ROS 2 cannot start in this environment; the text names what to set."""


def log_folder() -> Path | None:
    """Return the folder that rcl writes its logs to; None if the environment names none."""
    for name, below in (("ROS_LOG_DIR", ""), ("ROS_HOME", "log"), ("HOME", ".ros/log")):
        if os.environ.get(name):
            return Path(os.environ[name]) / below
    return None


def log_problem() -> str:
    """Return why no log can be written, "" if it can; rclpy does not start without one."""
    folder = log_folder()
    if folder is None:
        return "HOME, ROS_HOME and ROS_LOG_DIR are not set"
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ""
    return f"{folder} is not writable"


def start_remedy() -> str:
    """Return what to do about an error of rclpy.init or of a node's creation."""
    if problem := log_problem():
        folder = Path(tempfile.gettempdir()) / "ros"
        return f"{problem}: export ROS_LOG_DIR={folder}, or another writable folder"
    return "Check ROS_DOMAIN_ID, ROS_SECURITY_*, the arguments after --ros-args, the --params-file"


@contextmanager
def ros_node(name: str, **options: Any) -> Iterator[Node]:
    """Yield a node of rclpy.create_node in a separate context, which leaves signals alone.

    Raises RosStartError: rclpy is missing or cannot start.
    """
    try:
        import rclpy
        from rclpy.signals import SignalHandlerOptions
    except ImportError as error:
        raise RosStartError(
            f"ROS 2 is needed, rclpy is missing ({error}): source a ROS distribution, or install "
            "the extra [ros]; `savos run` works without"
        ) from None
    # A separate context, as the process may use rclpy for something else.
    context = rclpy.Context()
    try:
        # Without the command's arguments, which are not ROS arguments and may not be UTF-8.
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
