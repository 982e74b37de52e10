import json
from pathlib import Path

import pytest

KEPT = json.loads(Path(__file__).with_name("interface.json").read_text())


def commands(command, name="savos"):
    """Options and arguments of every command by its full name."""
    found = {
        name: sorted(flag for item in command.params for flag in item.opts + item.secondary_opts)
    }
    for key, inner in getattr(command, "commands", {}).items():
        found |= commands(inner, f"{name} {key}")
    return found


def node_interface():
    """Return the public interface of the running node: topics, services and parameters."""
    pytest.importorskip("rclpy")
    from tests.node.rig import Rig, own_name

    rig = Rig(refine__enabled=True, name=own_name()).activate()
    try:
        rig.values()
        graph, name = rig.helper, rig.node.get_name()
        asked = {
            "publishers": graph.get_publisher_names_and_types_by_node,
            "subscriptions": graph.get_subscriber_names_and_types_by_node,
            "services": graph.get_service_names_and_types_by_node,
        }
        return {
            kind: [
                (topic.replace(f"/{name}/", "/savos/"), types) for topic, types in ask(name, "/")
            ]
            for kind, ask in asked.items()
        } | {
            "parameters": sorted(rig.node.list_parameters([], 0).names),
        }
    finally:
        rig.close()


def missing(kept, current):
    return [item for item in kept if item not in current]


def test_no_command_or_option_is_lost():
    """Take a line out of interface.json only together with a line in CHANGELOG.md."""
    from typer.main import get_command

    from savos_ros.cli.main import app

    current = commands(get_command(app))
    lost = {name: missing(opts, current.get(name, ())) for name, opts in KEPT["commands"].items()}
    assert not {name: opts for name, opts in lost.items() if opts or name not in current}


def test_no_topic_service_or_parameter_is_lost():
    current = node_interface()
    for kind in ("publishers", "subscriptions", "services"):
        found = {name: types for name, types in current[kind]}
        lost = {name: types for name, types in KEPT[kind].items() if found.get(name) != types}
        assert not lost, kind
    assert not missing(KEPT["parameters"], current["parameters"])
