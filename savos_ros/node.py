"""The lifecycle node: wires topics, worker and stream together."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import uninstall_signal_handlers
from rclpy.utilities import remove_ros_args
from std_msgs.msg import Bool

from savos_model.backends.interface import BackendError
from savos_model.settings import SettingError
from savos_model.weights import WeightsError
from savos_ros import services
from savos_ros.activation import Activation, connect
from savos_ros.adaptation import Adaptation
from savos_ros.adaptation_files import node_folder
from savos_ros.diagnostics import WARN, Health
from savos_ros.engine import Engine, crop_advice, load_engine, progress
from savos_ros.inputs import message_classes
from savos_ros.parameters import NodeParameters
from savos_ros.pipeline import Job
from savos_ros.qos import profile
from savos_ros.ros_start import start_remedy
from savos_ros.settings import NodeSettings
from savos_ros.status import status_message

NODE_NAME = "savos"
WATCH_PERIOD_S = 0.5
SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


class AmodalNode(LifecycleNode):
    """Amodal masks of one camera.

    Args:
        load: makes the engine of the settings; tests give their own.
        **options: passed on to rclpy.node.Node (namespace, parameter_overrides, context, ...).

    Raises:
        SettingError: a parameter given from outside breaks its rule.
    """

    def __init__(
        self, *, load: Callable[[NodeSettings], Engine] = load_engine, **options: Any
    ) -> None:
        super().__init__(NODE_NAME, **options)
        self._load = load
        self._engine: Engine | None = None
        self._adaptation: Adaptation | None = None
        self._active: Activation | None = None
        self._health = Health(1)
        try:
            self._declared = NodeParameters(self, self._settings_changed)
        except SettingError:
            self.destroy_node()
            raise
        # Timers on the steady clock: reports must go on when simulated time stands still.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._report_timer = self.create_timer(
            self._declared.settings.diagnostics.period_s, self._report, clock=self._steady
        )
        self._watch_timer = self.create_timer(WATCH_PERIOD_S, self._watch, clock=self._steady)
        # Latched, as ~/transition_event is not: who starts later learns the state too.
        self._announcer = self.create_publisher(Bool, "~/active", profile(1, latched=True))
        self._announcer.publish(Bool(data=False))
        services.offer(self, lambda: self._active)

    @property
    def settings(self) -> NodeSettings:
        """The settings in use."""
        return self._declared.settings

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        return self._state_machine.current_state[1]

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read and check the parameters and load weights and engine."""
        log, settings = self.get_logger(), self.settings
        for line in self._declared.unknown(getattr(self, "_parameter_overrides", ())):
            log.warning(line)
        try:
            message_classes(settings)
            with progress(f"loading weights {settings.model.weights}", log.info):
                self._engine = self._load(settings)
            folder = node_folder(settings.adapt.folder, self.get_fully_qualified_name())
        except (SettingError, WeightsError, BackendError) as error:
            log.error(f"cannot configure: {error}. Set the parameter, then configure again")
            return FAILURE
        except Exception:
            log.error(f"cannot configure:\n{traceback.format_exc()}")
            return ERROR
        if advice := crop_advice(self._engine):
            log.warning(advice)
        self._adaptation = Adaptation(self._engine, settings.adapt, folder, log)
        self._declared.locked = True
        self._health = Health(settings.diagnostics.window)
        self._report_timer.timer_period_ns = int(settings.diagnostics.period_s * 1e9)
        log.info(
            f"configured: weights {self._engine.weights.name}, engine {self._engine.backend} "
            f"({self._engine.reason})"
        )
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Connect the topics and start the worker."""
        try:
            self._active = connect(
                self, self._engine, self._adaptation, self.settings, self._health,
                self._on_set, self._on_lost,
            )  # fmt: skip
        except Exception:
            self.get_logger().error(f"cannot activate:\n{traceback.format_exc()}")
            return ERROR
        subscriptions = self._active.inputs.subscriptions
        topics = ", ".join(f"{n} = {s.topic}" for n, s in subscriptions.items())
        self.get_logger().info(
            f"active: {topics} -> {self.resolve_topic_name('~/masks')}, ~/overlay"
        )
        self._announcer.publish(Bool(data=True))
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Disconnect the topics; the engine stays loaded."""
        self._disconnect()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything; all parameters can be set again."""
        self._free()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whatever state."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fall back to unconfigured after a failed transition."""
        self._free()
        self.get_logger().error(
            "the transition failed, the node is unconfigured: mend what the message above names, "
            "then configure again"
        )
        return SUCCESS

    def autostart(self) -> bool:
        """Configure and activate; False, with the cause in the log, when that fails."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    def callback_failed(self, error: Exception) -> None:
        """Count and log an error that a callback, or rclpy before it, has raised."""
        trace = "".join(traceback.format_exception(error)).rstrip()
        line = self._health.drop("callback_failed", trace, time.monotonic())
        if line:
            self.get_logger().error(line)

    def close(self) -> None:
        """Stop the worker, free the engine and destroy the node."""
        self._free()
        self.destroy_node()

    def _disconnect(self) -> None:
        if self._active is None:
            return
        active, self._active = self._active, None
        if self.context.ok():
            self._announcer.publish(Bool(data=False))
        if not active.disconnect():
            self.get_logger().error("a frame is still in work after 30 s: restart the node")

    def _free(self) -> None:
        self._disconnect()
        self._engine = self._adaptation = None
        self._declared.locked = False

    def _on_set(self, messages: tuple[Any, ...]) -> None:
        """Hand a joined set to the worker; runs in the executor's thread and never computes."""
        if self._active is not None:
            self._health.joined()
            number = self._active.inputs.joiner.passed
            self._active.worker.put(Job(messages, time.monotonic(), number))

    def _on_lost(self, reason: str, count: int, text: str = "") -> None:
        text = text or f"{count} lost before they came here: see QoS and config/fastdds.xml"
        line = self._health.drop(reason, text, time.monotonic(), count)
        if line:
            self.get_logger().warning(line)

    def _settings_changed(self, settings: NodeSettings) -> None:
        if self._active is not None:
            self._active.apply(settings)
        elif self._engine is not None:
            self._engine.stream.set_compose(settings.compose)
            self._adaptation.set_enabled(settings.adapt.enabled)

    def _watch(self) -> None:
        if self._active is not None:
            self._active.inputs.watch()

    def _report(self) -> None:
        """Publish one message on /diagnostics."""
        inputs = self._active.inputs if self._active else None
        idle = inputs is not None and inputs.idle_s >= self.settings.diagnostics.waiting_after_s
        losses = inputs.joiner.losses if inputs else {}
        level, message, values = self._health.report(time.monotonic(), losses, idle)
        queue = self._active.worker.waiting if self._active else 0
        refine = "on" if self.settings.refine.enabled else "off"
        facts = {"state": self.state, "queue": str(queue), "refine": refine}
        if inputs is not None:
            facts["restarts"] = str(inputs.joiner.restarts)
        if self._engine is not None:
            facts["weights"] = self._engine.weights.name
            facts["backend"] = f"{self._engine.backend} ({self._engine.reason})"
        message = message if self._active else self.state
        if self._adaptation is not None:
            problem, adapted = self._adaptation.report()
            values |= adapted
            if problem:
                level, message = max(level, WARN), f"{message}; {problem}"
        self._diagnostics.publish(status_message(self, level, message, facts | values))


def spin(executor: SingleThreadedExecutor, node: AmodalNode) -> None:
    """Run callbacks until shutdown; one that fails is counted and the next one runs."""
    while True:
        try:
            executor.spin()
            return
        except ExternalShutdownException:
            raise
        except Exception as error:  # also raised by rclpy for a message that it cannot read
            if not node.context.ok():
                return
            node.callback_failed(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the console script `savos_node`.

    Returns:
        0 after a clean end, 1 when autostart failed, 2 when it could not start.
    """
    argv = list(sys.argv if arguments is None else ["savos_node", *arguments])
    parser = argparse.ArgumentParser(prog="savos_node", description="Amodal masks of one camera.")
    text = "configure and activate at once, without a launch system"
    parser.add_argument("--autostart", action="store_true", help=text)
    node, executor, begun = None, None, False
    try:
        options = parser.parse_args(remove_ros_args(argv)[1:])
        rclpy.init(args=argv)
        begun = True
        node = AmodalNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if not (options.autostart or node.settings.autostart):
            node.get_logger().info("unconfigured: give --autostart, or use `ros2 lifecycle set`")
        elif not node.autostart():
            return 1
        spin(executor, node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except SettingError as error:
        return _refuse(f"{error}\nSet it on the command line (-p name:=value) or in the file")
    except RuntimeError as error:
        if begun and not rclpy.ok():
            return 0  # a signal came while it started
        if node is not None:
            raise
        # rcl gives no finer type for a parameter file that is missing or malformed.
        return _refuse(f"{error}\n{start_remedy()}")
    finally:
        # Ctrl-C under `ros2 launch` comes twice; the second one must not cut the end short.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        uninstall_signal_handlers()  # waits for rclpy's thread, which uses what the executor frees
        if executor is not None:
            executor.shutdown()
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


def _refuse(text: str) -> int:
    print(f"savos_node: cannot start: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
