"""Starts the node, or says in one line why ROS 2 cannot be loaded."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the node; the console script `savos_node`.

    Returns:
        The status of savos_ros.node.main, 2 when ROS 2 or its messages cannot be loaded.
    """
    try:
        from savos_ros import node
    except ImportError as error:  # also for a library that is not found
        reason = str(error).splitlines()[0]
        print(
            f"savos_node: cannot start: {reason}\n`savos doctor` says what is missing here and how "
            "to get it",
            file=sys.stderr,
        )
        return 2
    return node.main()
