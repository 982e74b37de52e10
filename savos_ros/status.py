"""Builds the node's message on /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node


def status_message(
    node: Node, level: int, message: str, values: Mapping[str, str]
) -> DiagnosticArray:
    """Return one status under the node's full name, stamped with its clock.

    Args:
        node: the node that reports.
        level: 0 to 2, see savos_ros.diagnostics.
        message: what to read first.
        values: everything that was counted.
    """
    status = DiagnosticStatus(
        level=bytes([level]),
        name=f"{node.get_fully_qualified_name()}: amodal masks",
        message=message,
        hardware_id=node.get_namespace(),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = node.get_clock().now().to_msg()
    return array
