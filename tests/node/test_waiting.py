import dataclasses

import pytest

from savos_ros.node.waiting import InputState, Peer, waiting_text

IMAGE = "sensor_msgs/msg/Image"


def state(
    name="image",
    topic="/cam/image",
    kind=IMAGE,
    received=7,
    last=1_500_000_000,
    silent=0.1,
    others=(),
):
    peers = (Peer("/driver", kind, kind == IMAGE),) if kind else ()
    return InputState(name, topic, IMAGE, peers, received, last, silent, others)


NOTHING = {"received": 0, "last": None, "silent": None}


def test_a_source_that_ended_is_not_taken_for_a_wrong_topic():
    gone = [state(kind=None, silent=5.0), state("instances", "/labels", kind=None, silent=5.0)]
    text = waiting_text(gone, 5, None, 0.0, answered=31)
    assert text.startswith("no new frames for 5 s after 31 processed; inputs:")
    assert "the publisher of /cam/image is gone" in text and "remap" not in text


def test_a_topic_without_publisher_is_named_with_its_remapping():
    absent = state("instances", "/instances", None, **NOTHING)
    text = waiting_text([state(), absent], 5.2, None, 0.0)
    assert "no synchronized frame for 5 s" in text
    assert (
        "image = /cam/image [sensor_msgs/msg/Image]; 1 publisher: /driver (reliable); 7 received"
        in text
    )
    assert "last stamp 1.500000 s" in text
    assert (
        "instances = /instances [sensor_msgs/msg/Image]; 0 publishers; 0 received, "
        "last stamp none yet" in text
    )
    assert "-r instances:=/your/topic" in text


def test_topics_of_the_right_type_are_proposed_likeliest_first():
    others = ("/map", "/rear/labels", "/tracker/label", "/other")
    absent = state("instances", "/tracker/labels", None, **NOTHING, others=others)
    text = waiting_text([state(), absent], 5, None, 0.0)
    assert "topics of this type: /tracker/label, /rear/labels, " in text
    assert "/map" not in text or "/other" not in text, "three are enough"
    lonely = state("instances", "/tracker/labels", None, **NOTHING)
    text = waiting_text([state(), lonely], 5, None, 0.0)
    assert "no other topic has type sensor_msgs/msg/Image" in text and "ROS_DOMAIN_ID" in text


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("image", "sensor_msgs/msg/CompressedImage", "set input.image_transport: compressed"),
        ("instances", "savos_ros/msg/InstanceMaskArray", "set input.mask_source: instance_masks"),
        ("instances", "yolo_msgs/msg/DetectionArray", "set input.mask_source: yolo"),
        ("instances", "vision_msgs/msg/Detection2DArray", "convert it to sensor_msgs/msg/Image or"),
        ("flow", "sensor_msgs/msg/CompressedImage", "convert it to sensor_msgs/msg/Image, or"),
    ],
)
def test_a_topic_of_another_type_names_both_types_and_the_setting(name, kind, words):
    text = waiting_text([state(name, kind=kind, **NOTHING)], 5, None, 0.0)
    assert f"has type {kind}, not sensor_msgs/msg/Image" in text
    assert words in text and "best effort" in text


@pytest.mark.parametrize("silent", [None, 7.0])
def test_a_silent_publisher(silent):
    quiet = state(received=0, last=None, silent=silent)
    text = waiting_text([quiet, state("instances")], 5, None, 0.0)
    assert "ros2 topic hz /cam/image" in text and "fastdds.xml" not in text
    doubtful = dataclasses.replace(quiet, peers=(Peer("/driver", IMAGE, False),))
    text = waiting_text([doubtful, state("instances")], 5, None, 0.0)
    assert "ros2 topic hz /cam/image" in text and "use config/fastdds.xml" in text


def test_a_publisher_that_stopped_is_not_taken_for_wrong_stamps():
    text = waiting_text([state(silent=5.1), state("instances")], 5, None, 0.0)
    assert "no message for 5 s" in text and "check /driver" in text
    assert "stamps" not in text


def test_stamps_that_never_match():
    text = waiting_text([state(), state("instances")], 5, 4_000_000, 0.0)
    assert "4.000 ms" in text and "input.sync_slop_s" in text
    assert "within 0.1 s" in waiting_text([state(), state("instances")], 5, None, 0.1)
