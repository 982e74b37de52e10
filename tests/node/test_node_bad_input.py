"""Whatever comes in is counted under its reason, and the next good frame is answered."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from rclpy.serialization import serialize_message
from savos_ros.msg import InstanceMaskArray
from sensor_msgs.msg import Image

from savos_model.config import ModelConfig
from savos_model.network.weights import Weights, save_weights
from savos_ros.messages import kit
from savos_ros.node.engine import load_engine
from tests.node.rig import HEIGHT, PERIOD_NS, START_NS, WIDTH, Rig, wait_for


@pytest.fixture(scope="module")
def rig():
    made = Rig(diagnostics__period_s=0.2).activate()
    yield made
    made.close()


@pytest.fixture
def fresh(rig):
    """The shared node with its counters and answers as new."""
    rig.do(rig.node.trigger_deactivate)
    rig.do(rig.node.trigger_cleanup)
    rig.masks.clear()
    rig.activate()
    for topic, publisher in rig.publishers.items():
        wait_for(lambda p=publisher: p.get_subscription_count() > 0, what=topic)
    return rig


def spoiled(message, **changes):
    for name, value in changes.items():
        setattr(message, name, value)
    return message


BAD_IMAGES = {
    "image_encoding": lambda rig: spoiled(rig.image(1), encoding="9UC3"),
    "image_data": lambda rig: spoiled(rig.image(1), height=HEIGHT + 9),
    "image_empty": lambda rig: spoiled(rig.image(1), height=0),
    "image_too_large": lambda rig: spoiled(rig.image(1), height=2**31, width=2**31),
}
BAD_LABELS = {
    "labels_encoding": lambda rig: spoiled(rig.labels(1), encoding="bgr8"),
    "size_mismatch": lambda rig: rig.labels(1, np.zeros((HEIGHT // 2, WIDTH), np.uint16)),
    "too_many_instances": lambda rig: rig.labels(
        1, np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    ),
    "labels_data": lambda rig: rig.labels(1, np.full((HEIGHT, WIDTH), -5, np.int32), "32SC1"),
}


def test_messages_beyond_the_limit_do_not_wait(capfd):
    limit = HEIGHT * WIDTH * 3 + 100
    rig = Rig(diagnostics__period_s=0.2, input__max_message_bytes=limit).activate()
    try:
        heavy = rig.image(0)
        heavy.data = heavy.data.tobytes() + bytes(200)  # few pixels, yet much to keep
        rig.send(0, image=heavy)
        rig.send(1)
        rig.answered(1)
        assert rig.values()["drops.image_message_too_large"] == "1"
        assert rig.stamps() == [1]
        assert "input.max_message_bytes" in capfd.readouterr().err
    finally:
        rig.close()


@pytest.mark.parametrize("reason", BAD_IMAGES | BAD_LABELS)
def test_refused_frames(fresh, reason, capfd):
    fresh.send(0)
    fresh.answered(0)
    if reason in BAD_IMAGES:
        fresh.send(1, image=BAD_IMAGES[reason](fresh))
    else:
        fresh.send(1, labels=BAD_LABELS[reason](fresh))
    fresh.send(2)
    fresh.answered(2)
    assert fresh.stamps() == [0, 2]
    values = fresh.values()
    assert values[f"drops.{reason}"] == "1" and values["drops"] == "1"
    assert f"{reason}: " in capfd.readouterr().err


def single_pixels():
    array = np.zeros((HEIGHT, WIDTH), np.uint16)
    array[0, 0], array[HEIGHT - 1, WIDTH - 1], array[20, 20] = 1, 2, 3
    return array


def border():
    array = np.zeros((HEIGHT, WIDTH), np.uint16)
    array[:5], array[-5:] = 1, 2
    array[5:-5, :5], array[5:-5, -5:] = 3, 4
    return array


def two_hundred():
    array = np.zeros((HEIGHT, WIDTH), np.uint16)
    for k in range(200):
        array[2 * (k // 20) : 2 * (k // 20) + 2, 4 * (k % 20) : 4 * (k % 20) + 4] = k + 1
    return array


@pytest.mark.parametrize(
    ("make", "ids"),
    [
        (lambda: np.zeros((HEIGHT, WIDTH), np.uint16), 0),
        (lambda: np.full((HEIGHT, WIDTH), 65535, np.uint16), 0),
        (single_pixels, 3),
        (border, 4),
        (two_hundred, 200),
        (lambda: np.full((HEIGHT, WIDTH), 9, np.uint16), 1),
    ],
    ids=["all zero", "all ignored", "one pixel", "border", "200 ids", "whole image"],
)
def test_odd_but_allowed_masks(fresh, make, ids):
    for index in range(3):
        fresh.send(index, labels=fresh.labels(index, make()))
        fresh.answered(index)
    answer = fresh.masks[-1]
    assert len({mask.id for mask in answer.masks}) == len(answer.masks) == ids
    for mask in answer.masks:
        assert mask.roi.x_offset + mask.roi.width <= WIDTH
        assert mask.roi.y_offset + mask.roi.height <= HEIGHT
        assert mask.mask.height * mask.mask.width == len(mask.mask.data) > 0
    fresh.send(3)
    fresh.answered(3)
    assert fresh.values()["drops"] == "0"


def test_an_id_that_jumps_restarts(fresh):
    for index in range(4):
        array = np.zeros((HEIGHT, WIDTH), np.uint16)
        x = 2 if index % 2 else WIDTH - 12
        array[2:12, x : x + 10] = 5
        fresh.send(index, labels=fresh.labels(index, array))
        fresh.answered(index)
        (mask,) = fresh.masks[-1].masks
        assert mask.id == "5" and mask.roi.x_offset <= x < mask.roi.x_offset + mask.roi.width
        assert mask.roi.width < 40, "the old place must not be part of the object"
    assert int(fresh.values()["masks.id jumped"]) >= 1


def test_stamps_that_go_back_and_duplicates(fresh):
    for index in (5, 6, 7):
        fresh.send(index)
        fresh.answered(index)
    fresh.send(6)  # a little back: late
    fresh.send(7)  # again
    fresh.send(8)
    fresh.answered(8)
    values = fresh.values()
    assert values["drops.image_late"] == values["drops.instances_late"] == "1"
    assert values["drops.image_duplicate"] == values["drops.instances_duplicate"] == "1"
    fresh.send(-20)  # far back: the source started again
    fresh.send(-19)
    fresh.answered(-20, -19)
    values = fresh.values()
    assert values["restarts"] == "1" and values["stream_resets"] == "1"


def test_lost_partners_are_counted(fresh):
    fresh.publisher(Image, "image").publish(fresh.image(0))
    fresh.send(1)
    fresh.publisher(Image, "instances").publish(fresh.labels(2))
    fresh.send(3)
    fresh.answered(1, 3)
    values = fresh.values()
    assert values["drops.image_unpaired"] == values["drops.instances_unpaired"] == "1"


def test_what_waits_for_its_partner_at_deactivation_stays_counted(fresh):
    fresh.send(0)
    fresh.answered(0)
    received = fresh.node._inputs.joiner.received
    fresh.publisher(Image, "image").publish(fresh.image(1))
    wait_for(lambda: received["image"] == 2)
    fresh.do(fresh.node.trigger_deactivate)
    assert fresh.values()["drops.image_unpaired"] == "1"
    fresh.do(fresh.node.trigger_activate)
    assert fresh.values()["drops.image_unpaired"] == "1"


def test_bad_entries_of_a_mask_array_do_not_lose_the_frame():
    rig = Rig(input__mask_source="instance_masks", diagnostics__period_s=0.2).activate()
    try:
        from tests.tiny_scene import Box, Instance

        good = [
            Instance(name, Box(4, 4, 14, 14), np.ones((10, 10), np.uint8)) for name in ("a", "b")
        ]
        message = kit.instance_array(rig.kit, rig.head(0), (HEIGHT, WIDTH), good)
        message.masks[0].roi.x_offset = 2**31
        rig.publisher(InstanceMaskArray, "instances")
        rig.send(0, labels=message)
        rig.answered(0)
        assert [mask.id for mask in rig.masks[0].masks] == ["b"]
        values = rig.values()
        assert values["masks.mask_outside"] == "1" and values["drops"] == "0"
    finally:
        rig.close()


def test_mangled_bytes_on_the_wire(fresh):
    data = serialize_message(fresh.image(1)).replace(b"bgr8\x00", b"\xff\xfe\xfd\xfc\x00")
    fresh.send(0)
    fresh.answered(0)
    fresh.publisher(Image, "image").publish(b"\x00\x01\x00\x00 cut off")
    fresh.send(1, image=data)
    fresh.send(2)
    fresh.answered(2)
    assert fresh.stamps() == [0, 2]
    assert fresh.values()["drops.image_encoding"] == "1"


def test_a_callback_that_fails_is_counted_and_the_node_continues(fresh, capfd):
    def fail():
        raise OSError("out of file handles")

    fresh.executors[0].create_task(fail)
    wait_for(lambda: "drops.callback_failed" in fresh.values())
    assert "callback_failed" in capfd.readouterr().err
    fresh.send(0)
    fresh.answered(0)


def test_weights_of_another_shape_are_refused_and_the_node_lives(tmp_path, capfd):
    path = tmp_path / "odd.safetensors"
    save_weights(path, Weights("odd", ModelConfig(), {"w": np.zeros((3, 3), np.float32)}, {}))
    rig = Rig(load_engine, model__weights=str(path))
    try:
        assert not rig.do(rig.node.autostart)
        assert rig.node.state == "unconfigured"
        text = capfd.readouterr().err
        assert "cannot configure: model.weights" in text and "must have shape" in text
        assert "configure again" in text
    finally:
        rig.close()


def run_node(*arguments):
    command = [sys.executable, "-m", "savos_ros.node.main", "--ros-args", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "params file"),
        ("savos: [unclosed", "params file"),
        (
            "/**:\n  ros__parameters:\n    compose:\n      threshold: 7.0\n",
            "compose.threshold must",
        ),
        (
            "/**:\n  ros__parameters:\n    compose:\n      threshold: high\n",
            "compose.threshold must",
        ),
        ("/**:\n  ros__parameters:\n    input:\n      mask_source: magic\n", "one of label_image"),
    ],
    ids=["absent", "malformed", "out of range", "wrong type", "not a choice"],
)
def test_unreadable_parameter_files_end_with_one_clear_text(tmp_path, text, words):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    done = run_node("--params-file", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("savos_node: cannot start: ") and words in done.stderr
    assert "Traceback" not in done.stderr


def test_stamps_of_the_rig_are_what_the_tests_think():
    assert START_NS % PERIOD_NS == 0
