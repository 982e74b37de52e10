import json
from pathlib import Path

import pytest

from tests import golden

KEPT = json.loads(Path(__file__).with_name("interface.json").read_text())


def commands(command, name="savos"):
    """Options and arguments of every command by its full name."""
    found = {
        name: sorted(flag for item in command.params for flag in item.opts + item.secondary_opts)
    }
    for key, inner in getattr(command, "commands", {}).items():
        found |= commands(inner, f"{name} {key}")
    return found


def missing(kept, current):
    return [item for item in kept if item not in current]


def test_no_command_or_option_is_lost():
    """Take a line out of interface.json only together with a line in CHANGELOG.md."""
    from typer.main import get_command

    from savos_ros.cli.main import app

    current = commands(get_command(app))
    lost = {name: missing(opts, current.get(name, ())) for name, opts in KEPT["commands"].items()}
    assert not {name: opts for name, opts in lost.items() if opts or name not in current}


@pytest.mark.dds
def test_no_topic_service_or_parameter_is_lost():
    pytest.importorskip("rclpy")
    current = golden.interface(Path())
    for kind in ("publishers", "subscriptions", "services"):
        lost = {name: t for name, t in KEPT[kind].items() if current[kind].get(name) != t}
        assert not lost, kind
    assert not missing(KEPT["parameters"], current["parameters"])
