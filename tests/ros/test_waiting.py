from savos_ros.waiting import InputState, Peer, waiting_text

IMAGE = "sensor_msgs/msg/Image"


def state(name="image", topic="/cam/image", peers=None, received=7, last=1_500_000_000):
    peers = (Peer("/driver", IMAGE, True),) if peers is None else peers
    return InputState(name, topic, IMAGE, peers, received, last)


def test_a_topic_without_publisher_is_named_with_its_remapping():
    absent = state("instances", "/instances", peers=(), received=0, last=None)
    text = waiting_text([state(), absent], 5.2, None, 0.0)
    assert "no joined frame for 5 s" in text
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


def test_a_topic_of_another_type_names_both_types_and_the_parameter():
    other = state(
        peers=(Peer("/driver", "sensor_msgs/msg/CompressedImage", False),), received=0, last=None
    )
    text = waiting_text([other, state("instances")], 5, None, 0.0)
    assert "carries sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image" in text
    assert "input.image_transport" in text and "best effort" in text


def test_a_silent_publisher():
    assert "ros2 topic hz /cam/image" in waiting_text(
        [state(received=0, last=None), state("instances")], 5, None, 0.0
    )


def test_stamps_that_never_meet():
    text = waiting_text([state(), state("instances")], 5, 4_000_000, 0.0)
    assert "4.000 ms apart" in text and "input.sync_slop_s" in text
    assert "within 0.1 s" in waiting_text([state(), state("instances")], 5, None, 0.1)
