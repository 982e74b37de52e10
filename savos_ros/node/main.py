"""Start the node as the program `savos_node`, or report in one line why it cannot start."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the console script `savos_node`.

    Returns 0 after a clean end, 1 if autostart failed, 2 if it could not start.
    """
    argv = list(sys.argv if arguments is None else ["savos_node", *arguments])
    try:
        from savos_ros.node import node as _  # noqa: F401
    except ImportError as error:  # also for a library that is not found
        reason = str(error).splitlines()[0]
        return _refuse(f"{reason}\n`savos doctor` reports what is missing and how to install it")
    return _run(argv)


def _run(argv: list[str]) -> int:
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import uninstall_signal_handlers
    from rclpy.utilities import remove_ros_args

    from savos_model.settings import SettingError
    from savos_ros.node.node import AmodalNode, spin
    from savos_ros.node.parameters import without_effect
    from savos_ros.node.ros_start import start_remedy

    parser = argparse.ArgumentParser(prog="savos_node", description="Amodal masks of one camera.")
    text = "configure and activate immediately, without a launch system"
    parser.add_argument("--autostart", action="store_true", help=text)
    node, executor, begun = None, None, False
    try:
        autostart = parser.parse_args(remove_ros_args(argv)[1:]).autostart
        rclpy.init(args=argv)
        begun = True
        node = AmodalNode()
        for line in without_effect(argv, node.get_fully_qualified_name()):
            node.get_logger().warning(line)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if not (autostart or node.settings.autostart):
            node.get_logger().info("unconfigured: use --autostart or `ros2 lifecycle set`")
        elif not node.autostart():
            return 1
        spin(executor, node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except SettingError as error:
        return _refuse(f"{error}\nSet it on the command line (-p name:=value) or in the file")
    except RuntimeError as error:
        if begun and not rclpy.ok():
            return 0  # a signal arrived during start-up
        if node is not None:
            raise
        # rcl raises the same type for a missing and a malformed parameter file.
        return _refuse(f"{error}\n{start_remedy()}")
    finally:
        # `ros2 launch` forwards Ctrl-C twice; the second one must not interrupt the shutdown.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        uninstall_signal_handlers()  # waits for rclpy's thread, which uses the executor
        if executor is not None:
            executor.shutdown()
        if node is not None:
            node.close()
        rclpy.try_shutdown()
        gc.freeze()  # else the interpreter searches all modules for garbage: 0.2 s of a core
    return 0


def _refuse(text: str) -> int:
    print(f"savos_node: cannot start: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
