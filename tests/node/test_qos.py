import time
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
import rclpy
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from savos_ros.msg import AmodalMaskArray
from sensor_msgs.msg import CompressedImage, Image

from savos_ros.node.inputs import image_topic
from savos_ros.node.node import AmodalNode
from savos_ros.node.qos import node_name, profile
from tests.node.rig import Rig, echo_engine, wait_for


@pytest.fixture
def rig():
    made = Rig(diagnostics__waiting_after_s=1.0, diagnostics__period_s=0.2).activate()
    yield made
    made.close()


def test_a_best_effort_publisher_is_followed_and_hears_no_complaint(rig, capfd):
    image = rig.node._inputs.subscriptions["image"]
    rig.publisher(Image, "image", profile(10, reliable=False))
    for index in range(3):
        rig.send(index)
        rig.answered(index)
    assert not image.reliable
    text = capfd.readouterr().err
    assert "QoS" not in text, "neither side complains"


def test_no_message_is_lost_or_comes_twice_while_the_subscription_changes(rig):
    image = rig.node._inputs.subscriptions["image"]
    assert not image.reliable, "best effort until there is a publisher"
    senders = [rig.helper.create_publisher(Image, name, 50) for name in ("image", "instances")]
    wait_for(lambda: all(sender.get_subscription_count() for sender in senders))
    for index in range(40):
        senders[0].publish(rig.image(index))
        senders[1].publish(rig.labels(index))
        time.sleep(0.02)
    wait_for(lambda: image.reliable)
    rig.answered(*range(40))
    assert rig.stamps() == list(range(40))
    assert rig.values()["drops"] == "0"


def test_mixed_publishers_mean_best_effort_and_reliable_comes_back(rig):
    image = rig.node._inputs.subscriptions["image"]
    rig.publisher(Image, "image")
    wait_for(lambda: image.reliable)
    loose = rig.helper.create_publisher(Image, "image", profile(10, reliable=False))
    wait_for(lambda: not image.reliable)
    rig.send(0)
    rig.answered(0)
    rig.helper.destroy_publisher(loose)
    wait_for(lambda: image.reliable)
    wait_for(lambda: image._old is None)
    rig.send(1)
    rig.answered(1)


def test_a_driver_that_starts_again_is_met_as_it_was(rig):
    image = rig.node._inputs.subscriptions["image"]
    strict = rig.helper.create_publisher(Image, "image", profile(10))
    wait_for(lambda: image.reliable)
    rig.helper.destroy_publisher(strict)
    wait_for(lambda: not image.peers())
    rig.do(image.follow)
    assert image.reliable


def test_a_publisher_that_was_there_first_is_followed_without_a_warning(capfd):
    rig = Rig()
    try:
        rig.helper.create_publisher(Image, "image", profile(10, reliable=False))
        wait_for(lambda: rig.node.get_publishers_info_by_topic("/image"))
        rig.activate()
        assert not rig.node._inputs.subscriptions["image"].reliable
        assert "incompatible QoS" not in capfd.readouterr().err
    finally:
        rig.close()


def test_a_subscriber_that_asks_for_too_much_is_named(rig, capfd):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    rig.helper.create_subscription(AmodalMaskArray, "/savos/masks", print, latched)
    seen = []

    def warned():
        seen.append(capfd.readouterr().err)
        return "incompatible QoS (durability)" in "".join(seen)

    wait_for(warned)
    text = "".join(seen)
    assert "/savos/masks: incompatible QoS (durability)" in text
    assert "/helper (reliable, transient local)" in text and "and /savos (reliable" in text


def warnings(rig, capfd, words):
    seen = []

    def there():
        seen.append(capfd.readouterr().err)
        return words in "".join(seen)

    wait_for(there)
    return "".join(seen)


def test_waiting_names_the_topic_without_a_publisher(rig, capfd):
    rig.helper.create_publisher(Image, "instance_labels", 10)
    rig.publisher(Image, "image").publish(rig.image(0))
    text = warnings(rig, capfd, "/instances has no publisher")
    assert "topics of this type: /instance_labels\n" in text, "not the own overlay"
    assert (
        "image = /image [sensor_msgs/msg/Image]; 1 publisher: /helper (reliable); 1 received"
        in text
    )
    assert "last stamp 7.000000 s" in text
    wait_for(lambda: "no synchronized frames" in rig.values()["message"])
    assert rig.values()["level"] == 1


def test_waiting_names_the_wrong_type(rig, capfd):
    other = rclpy.Context()  # one process of DDS takes one type per topic
    rclpy.init(context=other, domain_id=rig.number)
    helper = rclpy.create_node("other", context=other)
    try:
        helper.create_publisher(CompressedImage, "image", 10)
        text = warnings(rig, capfd, "/image has type sensor_msgs/msg/CompressedImage")
        assert "set input.image_transport" in text
    finally:
        helper.destroy_node()
        rclpy.shutdown(context=other)


def test_a_publisher_whose_node_is_not_discovered_yet_is_called_so():
    info = SimpleNamespace(
        node_name="_NODE_NAME_UNKNOWN_", node_namespace="_NODE_NAMESPACE_UNKNOWN_"
    )
    assert node_name(info) == "a node not yet named"


def test_waiting_reports_that_a_camera_ended_and_suggests_no_overlay(rig, capfd):
    soon = [Parameter("diagnostics.waiting_after_s", value=1.0)]
    twin = AmodalNode(
        load=echo_engine, namespace="/rear", context=rig.context, parameter_overrides=soon
    )
    rig.executors[0].add_node(twin)
    try:
        assert rig.do(twin.autostart)
        rig.send(0)
        rig.answered(0)
        for publisher in rig.publishers.values():
            rig.helper.destroy_publisher(publisher)
        text = warnings(rig, capfd, "the publisher of /image is gone")
        assert "no new frames for 1 s after 1 processed" in text
        text = warnings(rig, capfd, "/rear/instances has no publisher")
        assert "no other topic has type sensor_msgs/msg/Image" in text, "overlays are not suggested"
    finally:
        rig.executors[0].remove_node(twin)
        rig.do(twin.close)


def test_a_second_publisher_of_the_masks_is_named(rig, capfd):
    rig.helper.create_publisher(AmodalMaskArray, "/savos/masks", 5)
    text = warnings(rig, capfd, "has 2 publishers")
    assert "/savos/masks has 2 publishers (/helper, /savos)" in text and "namespace:=" in text


def test_waiting_names_publishers_that_stopped(rig, capfd):
    rig.send(0)
    rig.answered(0)
    text = warnings(rig, capfd, "/instances has a publisher, but no message for")
    assert "/image has a publisher, but no message for" in text
    assert "check /helper" in text and "equal" not in text


def test_waiting_reports_that_stamps_never_match(rig, capfd):
    rig.publisher(Image, "image").publish(rig.image(0))
    rig.publisher(Image, "instances").publish(rig.labels(3))
    text = warnings(rig, capfd, "no new stamps are equal")
    assert "300.000 ms" in text and "input.sync_slop_s" in text


def test_slop_pairs_near_stamps_and_warns(capfd):
    rig = Rig(input__sync_slop_s=0.2).activate()
    try:
        assert "input.sync_slop_s is 0.2" in capfd.readouterr().err
        rig.publisher(Image, "image").publish(rig.image(5))
        rig.publisher(Image, "instances").publish(rig.labels(4))
        rig.answered(5)
        assert rig.masks[0].header == rig.head(5)
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("remaps", "raw", "compressed"),
    [
        ((), "/image", "/image/compressed"),
        (("image:=/cam/image_raw",), "/cam/image_raw", "/cam/image_raw/compressed"),
        (("image:=/cam/jpg/compressed",), "/cam/jpg/compressed", "/cam/jpg/compressed"),
        (("image/compressed:=/cam/jpg",), "/image", "/cam/jpg"),
    ],
)
def test_a_remap_of_image_moves_the_compressed_topic_along(remaps, raw, compressed):
    arguments = ["--ros-args"] + [part for remap in remaps for part in ("-r", remap)]
    rig = Rig(arguments=arguments)
    try:
        assert image_topic(rig.node, "raw") == raw
        assert image_topic(rig.node, "compressed") == compressed
    finally:
        rig.close()
