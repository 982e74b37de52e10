"""The services that the node offers in every state."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from savos_ros.activation import Activation


def offer(node: Node, active: Callable[[], Activation | None]) -> None:
    """Create ~/reset, ~/adapt and ~/rollback; `active` gives the activation, None without one."""

    def trigger(
        response: Trigger.Response, act: Callable[[Activation], None], done: str
    ) -> Trigger.Response:
        now = active()
        response.success = now is not None
        response.message = done if now is not None else "nothing is done: the node is not active"
        if now is not None:
            act(now)
        return response

    def reset(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        done = "all tracks are forgotten before the next frame"
        return trigger(response, lambda now: now.pipeline.reset(), done)

    def rollback(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        done = "the base weights come back between two frames"
        return trigger(response, lambda now: now.adaptation.roll_back(), done)

    def adapt(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        # By the parameter: one state, whichever way it is set.
        (result,) = node.set_parameters([Parameter("adapt.enabled", value=request.data)])
        response.success, response.message = result.successful, result.reason
        return response

    node.create_service(Trigger, "~/reset", reset)
    node.create_service(Trigger, "~/rollback", rollback)
    node.create_service(SetBool, "~/adapt", adapt)
