"""Declare the settings as ROS parameters, check changes as a set and apply them."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from savos_model.settings import SettingError
from savos_ros.messages import settings
from savos_ros.messages.settings import NodeSettings

RECONFIGURE = "deactivate, cleanup, set it, then configure"


class NodeParameters:
    """All settings as parameters, and the active `settings` that their values define.

    A parameter that is not live can be set while the node is unconfigured; afterwards (`locked`) it
    is rejected with the remedy, so that the values shown are always the active ones. (ROS's
    `read_only` would forbid it in every state, even before the first configure.) `on_change` is
    called with new settings once they are accepted. Raises SettingError: a value from the command
    line or a parameter file breaks its rule.
    """

    def __init__(self, node: Node, on_change: Callable[[NodeSettings], None]) -> None:
        self._node, self._on_change = node, on_change
        self._fields = dict(settings.fields())
        self.locked = False
        self.settings = settings.build(self._declare())
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def unknown(self, given: Iterable[str]) -> list[str]:
        """Return a line for each name in one of our groups that is not a parameter."""
        groups = {name.partition(".")[0] for name in self._fields}
        lines = []
        for name in given:
            if name in self._fields or name.partition(".")[0] not in groups:
                continue
            near = difflib.get_close_matches(name, self._fields, 1)
            hint = f": did you mean {near[0]}?" if near else ": `savos params` lists them"
            lines.append(f"{name} is not a parameter of this node and has no effect{hint}")
        return lines

    def _declare(self) -> dict[str, Any]:
        """Declare all parameters and return their values, defaults or overrides."""
        values, faults = {}, []
        for name, field in self._fields.items():
            try:
                parameter = self._node.declare_parameter(name, field.default, descriptor(field))
            except ParameterException as error:
                rule = f"{type(field.default).__name__} {settings.rule(field)}".rstrip()
                cause = str(error).removesuffix(f": {name}")
                faults.append(f"{name} must be {rule} (default {field.default!r}): {cause}")
                continue
            values[name] = parameter.value
        if faults:
            raise SettingError("\n".join(faults))
        return values

    def _changes(self, parameters: list[Parameter]) -> dict[str, Any]:
        return {item.name: item.value for item in parameters if item.name in self._fields}

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        """Accept or reject a set of changes before any of them is applied."""
        changes = self._changes(parameters)
        try:
            now = settings.values(self.settings)
            settings.build(now | changes)
            for name, value in changes.items():
                if self.locked and value != now[name] and not self._fields[name].metadata["live"]:
                    raise SettingError(
                        f"{name} cannot change while the node is configured: {RECONFIGURE}"
                    )
        except SettingError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        changes = self._changes(parameters)
        if changes:
            self.settings = settings.build(settings.values(self.settings) | changes)
            self._on_change(self.settings)


def without_effect(argv: Sequence[str], node: str) -> list[str]:
    """Return a line for each parameter file of the command line that only names other nodes.

    rcl has read the files of `argv`, so they are well-formed; `node` is a full name
    ("/front/savos").
    """
    lines = []
    for option, path in itertools.pairwise(argv):
        if option != "--params-file":
            continue
        names = list(_nodes_of(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}))
        if names and not any(re.fullmatch(_pattern(name), node) for name in names):
            lines.append(
                f"{path} has parameters of {', '.join(names)} and none of {node}: it has no "
                f"effect. Put them under {node} or /**"
            )
    return lines


def _nodes_of(tree: dict, space: str = "") -> Iterator[str]:
    """Yield the nodes of a parameter file, as written but with a leading slash."""
    for key, inner in tree.items():
        name = f"{space}/{str(key).strip('/')}"
        if isinstance(inner, dict) and "ros__parameters" in inner:
            yield name
        elif isinstance(inner, dict):
            yield from _nodes_of(inner, name)


def _pattern(name: str) -> str:
    """Return a regular expression for a node name with * (one part) and ** (any number)."""
    parts = {"**": "(/[^/]+)*", "*": "/[^/]+"}
    return "".join(parts.get(part, "/" + re.escape(part)) for part in name.split("/")[1:])


def descriptor(field: dataclasses.Field) -> ParameterDescriptor:
    """Return a setting's description for ROS tools: text, range, and when it can change."""
    meta, kind = field.metadata, type(field.default)
    result = ParameterDescriptor(description=meta["text"])
    notes = [] if meta["choices"] is None else [settings.rule(field)]
    notes.append("live" if meta["live"] else f"to change it: {RECONFIGURE}")
    result.additional_constraints = "; ".join(notes)
    low, high = meta["minimum"], meta["maximum"]
    if low is None and high is None:
        return result
    if kind is int:
        top = 2**63 - 1
        low, high = -top if low is None else low, top if high is None else high
        result.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    else:
        most = sys.float_info.max
        low, high = -most if low is None else low, most if high is None else high
        result.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
        ]
    return result
