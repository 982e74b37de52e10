import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import golden

ROOT = Path(__file__).parents[2]
COMMANDS = json.loads((ROOT / "tests" / "cli" / "interface.json").read_text())["commands"]


def test_each_difference_is_a_line_with_its_place():
    first = {"a": {"x": 1, "y": [1, 2]}, "gone": 0}
    second = {"a": {"x": 1, "y": [1, 3]}, "new": 0}
    assert golden.differences(first, first) == []
    assert golden.differences(first, second) == [
        "a / y: [1, 2] != [1, 3]",
        "gone: only in the first",
        "new: only in the second",
    ]


def test_of_long_texts_the_changed_lines_are_shown():
    found = golden.differences({"help": "one\ntwo\nthree\n"}, {"help": "one\n2\nthree\n"})
    assert found == ["help: -two", "help: +2"]


def test_clock_readings_are_left_out():
    report = {"iou": 0.5, "latency_ms": 3, "runs": [{"seconds": 1, "frames": 2}]}
    assert golden.stable(report) == {"iou": 0.5, "runs": [{"frames": 2}]}


@pytest.mark.slow
def test_the_record_has_every_command_with_options_and_defaults():
    found = golden.commands(Path())
    assert found.keys() == COMMANDS.keys()
    for name, options in COMMANDS.items():
        assert all(option in found[name] for option in options), name
    assert "[default: 5]" in found["savos street-bag"]


def test_a_record_equals_itself_and_shows_a_change(tmp_path, capsys, monkeypatch):
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    for path, text in ((before, "help"), (after, "other help")):
        monkeypatch.setitem(golden.PARTS, "commands", lambda _, text=text: {"savos run": text})
        assert golden.main(["record", str(path), "--only", "commands"]) == 0
    assert json.loads(before.read_text()) == {"commands": {"savos run": "help"}}
    assert golden.main(["compare", str(before), str(before)]) == 0
    assert golden.main(["compare", str(before), str(after)]) == 1
    assert capsys.readouterr().out == "equal\ncommands / savos run: help != other help\n"


def test_a_part_that_does_not_exist_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        golden.main(["record", str(tmp_path / "out.json"), "--only", "nothing"])
    assert ended.value.code == 2 and "evaluate street" in capsys.readouterr().err


def test_the_node_records_topics_services_and_parameters():
    rclpy = pytest.importorskip("rclpy")
    from savos_ros.node.node import AmodalNode
    from tests.node.rig import echo_engine

    name, context = f"golden_{os.getpid()}", rclpy.Context()
    rclpy.init(args=["test", "--ros-args", "-r", f"__node:={name}"], context=context)
    node = AmodalNode(context=context, load=echo_engine)
    try:
        node.trigger_configure()
        found = golden.graph(node)
    finally:
        node.close()
        rclpy.try_shutdown(context=context)
    assert found["publishers"]["/savos/masks"] == ["savos_ros/msg/AmodalMaskArray"]
    assert "/savos/reset" in found["services"] and "/instances" in found["subscriptions"]
    value, described = found["parameters"]["compose.threshold"]
    assert value == node_default("compose.threshold") and "to_value" in described
    assert golden.differences(found, json.loads(json.dumps(found))) == []


def node_default(name):
    from savos_ros.messages.settings import NodeSettings

    value = NodeSettings()
    for part in name.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.slow
def test_equal_seeds_give_equal_records_and_others_differ(tmp_path, monkeypatch):
    from savos_ros.cli.main import app

    def run(*arguments):
        small = ("--width", 192, "--height", 96) if arguments[0] == "street-bag" else ()
        result = CliRunner().invoke(app, list(map(str, (*arguments, *small))))
        assert result.exit_code == 0, result.output

    monkeypatch.setattr(golden, "savos", run)
    monkeypatch.setattr(golden, "FRAMES", 2)
    records = []
    for seeds in ((5,), (5,), (6,)):
        monkeypatch.setattr(golden, "SEEDS", seeds)
        folder = tmp_path / str(len(records))
        folder.mkdir()
        (values,) = golden.streets(folder).values()
        records.append(values)
    assert records[0]["out"].keys() >= {"/savos/masks", "/savos/masks_refined"}
    assert golden.differences(records[0], records[1]) == []
    changed = golden.differences(records[0], records[2])
    assert any(line.startswith("out / /savos/masks:") for line in changed)
