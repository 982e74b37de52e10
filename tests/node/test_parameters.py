import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter

from savos_model.config import ComposeConfig
from savos_ros.messages import settings
from savos_ros.node.parameters import without_effect
from tests.node.rig import Rig

KINDS = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}


@pytest.fixture(scope="module")
def rig():
    made = Rig()
    yield made
    made.close()


@pytest.fixture
def node(rig):
    yield rig.node
    if rig.node.state == "active":
        rig.do(rig.node.trigger_deactivate)
    if rig.node.state == "inactive":
        rig.do(rig.node.trigger_cleanup)


def change(rig, **values):
    items = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
    return rig.do(rig.node.set_parameters_atomically, items)


def test_every_setting_is_a_parameter_with_text_type_and_range(node):
    for name, field in settings.fields():
        described = node.describe_parameter(name)
        assert described.description == field.metadata["text"]
        assert described.type == KINDS[type(field.default)]
        assert node.get_parameter(name).value == field.default
        assert ("live" in described.additional_constraints) == field.metadata["live"]
        ranges = list(described.integer_range) + list(described.floating_point_range)
        bounds = (field.metadata["minimum"], field.metadata["maximum"])
        assert bool(ranges) == (bounds != (None, None))
        for have, want in (
            zip((ranges[0].from_value, ranges[0].to_value), bounds, strict=True) if ranges else ()
        ):
            assert want is None or have == want
        for choice in field.metadata["choices"] or ():
            assert str(choice) in described.additional_constraints


def test_all_parameters_can_be_set_before_configure(rig, node):
    assert change(rig, input__queue_depth=5, model__threads=1).successful
    assert node.settings.input.queue_depth == 5
    assert change(rig, input__queue_depth=2, model__threads=2).successful


def test_a_parameter_that_is_not_live_is_refused_with_the_way_to_set_it(rig, node):
    rig.activate()
    result = change(rig, input__queue_depth=9)
    assert not result.successful
    assert "deactivate, cleanup, set it, then configure" in result.reason
    assert node.settings.input.queue_depth == node.get_parameter("input.queue_depth").value == 2
    assert change(rig, input__queue_depth=2).successful, "the value in use is no change"
    rig.do(node.trigger_deactivate)
    rig.do(node.trigger_cleanup)
    assert change(rig, input__queue_depth=9).successful
    assert change(rig, input__queue_depth=2).successful


def test_live_parameters_reach_the_stream_and_the_overlay(rig, node):
    rig.activate()
    engine, outputs = node._engine, node._outputs
    assert change(rig, compose__threshold=0.25, overlay__alpha=0.9).successful
    assert outputs._overlay.alpha == 0.9
    rig.send(0)
    rig.answered(0)
    assert engine.stream.compose_config.threshold == 0.25
    default = ComposeConfig().threshold
    assert change(rig, compose__threshold=default, overlay__alpha=0.45).successful


def test_probability_masks_live(rig, node):
    rig.activate()
    rig.publishers.clear()
    assert change(rig, compose__mask_values="probability").successful
    for index in range(20, 24):
        array = np.zeros((48, 80), np.uint16)
        array[10:30, 20 + index : 50 + index] = 1  # behind 2
        array[5:40, 50:70] = 2
        rig.send(index, labels=rig.labels(index, array))
        rig.answered(index)
    values = set()
    for message in rig.masks[-2:]:
        for mask in message.masks:
            values |= set(np.frombuffer(mask.mask.data, np.uint8).tolist())
    assert values - {0, 254, 255}, "probabilities lie between"
    assert change(rig, compose__mask_values="binary").successful


def test_a_set_is_applied_whole_or_not_at_all(rig, node):
    result = change(rig, compose__threshold=0.3, compose__mask_values="grey")
    assert not result.successful and "compose.mask_values must be one of" in result.reason
    default = ComposeConfig().threshold
    assert node.settings.compose.threshold == default
    assert node.get_parameter("compose.threshold").value == default


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"compose__threshold": 3.0}, "compose.threshold.*0.99.*3.0"),
        ({"compose__threshold": "x"}, "type"),
        ({"tracks__max_tracks": 0}, "tracks.max_tracks.*Min: 1"),
    ],
)
def test_values_out_of_range_are_refused_by_name(rig, node, values, words):
    result = change(rig, **values)
    assert not result.successful
    import re

    assert re.search(words, result.reason)


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("/**: {ros__parameters: {a: 1}}", True),
        ("/front/savos: {ros__parameters: {a: 1}}", True),
        ("front: {savos: {ros__parameters: {a: 1}}}", True),
        ("/*/savos: {ros__parameters: {a: 1}}", True),
        ("/**/savos: {ros__parameters: {a: 1}}", True),
        ("amodal: {ros__parameters: {a: 1}}", False),
        ("savos: {ros__parameters: {a: 1}}", False),
        ("/rear/savos: {ros__parameters: {a: 1}}\n/other: {ros__parameters: {}}", False),
        ("", True),
    ],
)
def test_a_parameter_file_for_other_nodes_is_named(tmp_path, text, effect):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    lines = without_effect(["x", "--ros-args", "--params-file", str(path)], "/front/savos")
    assert bool(lines) != effect
    if lines:
        assert str(path) in lines[0] and "under /front/savos or /**" in lines[0]


def test_unknown_names_of_a_parameter_file_are_reported(capfd):
    rig = Rig(compose__treshold=0.4, other__group=1)
    try:
        assert rig.do(rig.node.autostart)
        text = capfd.readouterr().err
        assert "compose.treshold is not a parameter" in text
        assert "did you mean compose.threshold?" in text
        assert "other.group" not in text
    finally:
        rig.close()
