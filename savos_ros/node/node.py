"""Define the lifecycle node, which owns topics, services, engine and the active frameline."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger

from savos_model.backends.interface import BackendError
from savos_model.network.weights import WeightsError
from savos_model.settings import SettingError
from savos_ros.messages.settings import NodeSettings
from savos_ros.node.adaptation import Adaptation
from savos_ros.node.adaptation_files import node_folder
from savos_ros.node.diagnostics import WARN, Health
from savos_ros.node.engine import Engine, crop_advice, load_engine, progress
from savos_ros.node.inputs import Inputs, message_classes
from savos_ros.node.outputs import Outputs
from savos_ros.node.parameters import NodeParameters
from savos_ros.node.pipeline import Frameline
from savos_ros.node.qos import profile

NODE_NAME = "savos"
WATCH_PERIOD_S = 0.5
SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


class AmodalNode(LifecycleNode):
    """Lifecycle node that publishes amodal masks of one camera.

    Topics exist from the configuration on; frames are processed while it is active. `load` makes
    the engine of the settings; other options are those of rclpy.node.Node (namespace,
    parameter_overrides, context, ...). Raises SettingError: a parameter breaks its rule.
    """

    def __init__(
        self, *, load: Callable[[NodeSettings], Engine] = load_engine, **options: Any
    ) -> None:
        super().__init__(NODE_NAME, **options)
        self._load = load
        self._state = "unconfigured"
        self._engine: Engine | None = None
        self._adaptation: Adaptation | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._line: Frameline | None = None  # while active
        self._health = Health(1)
        try:
            self._declared = NodeParameters(self, self._settings_changed)
        except SettingError:
            self.destroy_node()
            raise
        # Timers on the steady clock: reports must continue while simulated time is paused.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._report_timer = self.create_timer(
            self._declared.settings.diagnostics.period_s, self._report, clock=self._steady
        )
        self._watch_timer = self.create_timer(WATCH_PERIOD_S, self._watch, clock=self._steady)
        # Latched, unlike ~/transition_event, so that late subscribers also receive the state.
        self._announcer = self.create_publisher(Bool, "~/active", profile(1, latched=True))
        self._announcer.publish(Bool(data=False))
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/rollback", self._on_rollback)
        self.create_service(SetBool, "~/adapt", self._on_adapt)

    @property
    def settings(self) -> NodeSettings:
        """Return the active settings."""
        return self._declared.settings

    @property
    def state(self) -> str:
        """Return the label of the lifecycle state that the last transition led to."""
        return self._state

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, load weights and engine, and create the topics."""
        log, settings = self.get_logger(), self.settings
        # rclpy offers no public way to the parameters that were given but not declared.
        for line in self._declared.unknown(getattr(self, "_parameter_overrides", ())):
            log.warning(line)
        self._health = Health(settings.diagnostics.window)
        try:
            message_classes(settings)
            with progress(f"loading weights {settings.model.weights}", log.info):
                self._engine = self._load(settings)
            folder = node_folder(settings.adapt.folder, self.get_fully_qualified_name())
            self._outputs = Outputs(self, settings.overlay, settings.refine.window)
            self._outputs.offer_refined(settings.refine.enabled)
            self._inputs = Inputs(self, settings, self._health, self._outputs.set_camera_info)
        except (SettingError, WeightsError, BackendError) as error:
            self._free()
            log.error(f"cannot configure: {error}. Set the parameter and configure again")
            return FAILURE
        except Exception:
            if self.context.ok():  # else a signal ends the process
                log.error(f"cannot configure:\n{traceback.format_exc()}")
            return ERROR
        if advice := crop_advice(self._engine):
            log.warning(advice)
        self._adaptation = Adaptation(self._engine, settings.adapt, folder, log)
        self._declared.locked = True
        self._report_timer.timer_period_ns = int(settings.diagnostics.period_s * 1e9)
        log.info(
            f"configured: weights {self._engine.weights.name}, engine {self._engine.backend} "
            f"({self._engine.reason})"
        )
        self._state = "inactive"
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and accept input."""
        assert self._engine and self._outputs and self._inputs, "configured"
        try:
            line = Frameline.build(
                self._engine,
                self.settings,
                self._outputs,
                self.get_logger(),
                health=self._health,
                adaptation=self._adaptation,
                clock_ns=lambda: self.get_clock().now().nanoseconds,
            )
        except Exception:
            self.get_logger().error(f"cannot activate:\n{traceback.format_exc()}")
            return ERROR
        line.start()
        self._line = line
        self._inputs.begin(line.put)
        topics = ", ".join(f"{n} = {s.topic}" for n, s in self._inputs.subscriptions.items())
        self.get_logger().info(
            f"active: {topics} -> {self.resolve_topic_name('~/masks')}, ~/overlay"
        )
        self._announcer.publish(Bool(data=True))
        self._state = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop input and worker; keep engine and topics."""
        self._halt()
        self.get_logger().info(f"inactive: {self._health.frames_out} frames were processed")
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free engine and topics; all parameters can be set again."""
        self._free()
        self.get_logger().info("unconfigured: engine and topics were freed")
        self._state = "unconfigured"
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free engine and topics in any state."""
        self._free()
        self._state = "finalized"
        self.get_logger().info("finalized: the node cannot be configured again, end the process")
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fall back to unconfigured after a failed transition."""
        self._free()
        self._state = "unconfigured"
        self.get_logger().error(
            "transition failed; the node is unconfigured. Fix the error above and configure again"
        )
        return SUCCESS

    def autostart(self) -> bool:
        """Configure and activate; log the cause and return False if that fails."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    def callback_failed(self, error: Exception) -> None:
        """Count and log an error of a callback, or of rclpy before it."""
        trace = "".join(traceback.format_exception(error)).rstrip()
        line = self._health.drop("callback_failed", trace, time.monotonic())
        if line:
            self.get_logger().error(line)

    def close(self) -> None:
        """Stop the worker, free the engine and destroy the node."""
        self._free()
        self.destroy_node()

    def _halt(self) -> None:
        """End the activation."""
        if self._line is None:
            return
        line, self._line = self._line, None
        if self.context.ok():
            self._announcer.publish(Bool(data=False))
        if self._inputs is not None:
            self._inputs.end()
        if not line.stop():
            self.get_logger().error("a frame is still being processed after 30 s: restart the node")

    def _free(self) -> None:
        self._halt()
        if self._inputs is not None:
            self._inputs.destroy()
        if self._outputs is not None:
            self._outputs.destroy()
        self._engine = self._adaptation = self._inputs = self._outputs = None
        self._declared.locked = False

    def _settings_changed(self, settings: NodeSettings) -> None:
        if self._outputs is not None:
            self._outputs.set_overlay(settings.overlay)
            self._offer_refined(self._outputs, settings)
        if self._line is not None:
            self._line.apply(settings)
        elif self._adaptation is not None and self._engine is not None:
            self._engine.stream.set_compose(settings.compose)
            self._adaptation.set_enabled(settings.adapt.enabled)

    def _offer_refined(self, outputs: Outputs, settings: NodeSettings) -> None:
        """Offer ~/masks_refined while it is enabled, and until its last frame is published."""
        busy = self._line is not None and self._line.refinement.busy
        outputs.offer_refined(settings.refine.enabled or busy)

    def _watch(self) -> None:
        if self._inputs is None or self._outputs is None:
            return
        self._inputs.watch()
        self._offer_refined(self._outputs, self.settings)
        if rivals := self._outputs.rivals():
            self.get_logger().warning(rivals)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        done = "all tracks will be deleted before the next frame"
        return self._trigger(response, lambda line: line.pipeline.reset(), done)

    def _on_rollback(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        done = "the base weights will be restored between two frames"
        return self._trigger(response, lambda line: line.adaptation.roll_back(), done)

    def _trigger(
        self, response: Trigger.Response, act: Callable[[Frameline], None], done: str
    ) -> Trigger.Response:
        line = self._line
        response.success = line is not None
        response.message = done if response.success else "ignored: the node is not active"
        if line is not None:
            act(line)
        return response

    def _on_adapt(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        # Through the parameter, so that there is a single state.
        (result,) = self.set_parameters([Parameter("adapt.enabled", value=request.data)])
        response.success, response.message = result.successful, result.reason
        return response

    def _report(self) -> None:
        """Publish one message on /diagnostics."""
        inputs, worker = self._inputs, self._line.worker if self._line else None
        joiner = inputs.joiner if inputs else None
        losses, idle = joiner.losses if joiner else {}, bool(inputs and joiner and inputs.idle)
        level, message, values = self._health.report(time.monotonic(), losses, idle)
        queue = worker.waiting if worker else 0
        refine = "on" if self.settings.refine.enabled else "off"
        facts = {"state": self.state, "queue": str(queue), "refine": refine}
        if joiner is not None:
            facts["restarts"] = str(joiner.restarts)
        if inputs is not None:
            facts |= {f"topic.{key}": item.topic for key, item in inputs.subscriptions.items()}
        if self._engine is not None:
            facts["weights"] = self._engine.weights.name
            facts["backend"] = f"{self._engine.backend} ({self._engine.reason})"
        message = message if self._line else self.state
        if self._adaptation is not None:
            problem, adapted = self._adaptation.report()
            values |= adapted
            if problem:
                level, message = max(level, WARN), f"{message}; {problem}"
        self._diagnostics.publish(self._status(level, message, facts | values))

    def _status(self, level: int, message: str, values: Mapping[str, str]) -> DiagnosticArray:
        """Return one status under the node's full name, stamped with its clock."""
        status = DiagnosticStatus(
            level=bytes([level]),
            name=f"{self.get_fully_qualified_name()}: amodal masks",
            message=message,
            hardware_id=self.get_namespace(),
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        return array


def spin(executor: SingleThreadedExecutor, node: AmodalNode) -> None:
    """Run callbacks until shutdown; count those that fail and continue."""
    while True:
        try:
            executor.spin()
            return
        except ExternalShutdownException:
            raise
        except Exception as error:  # rclpy raises, too, for messages that it cannot read
            if not node.context.ok():
                return
            node.callback_failed(error)
