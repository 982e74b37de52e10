import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")
from hypothesis import given
from hypothesis import strategies as st

from savos_ros.bags.restamp import begins_with_header, header_stamp, moved_stamp
from savos_ros.bags.types import BagKit, typestore
from savos_ros.messages import kit

IMAGE = "sensor_msgs/msg/CompressedImage"


def message(stamp_ns):
    head = kit.header(BagKit(), stamp_ns, "camera")
    image = kit.compressed_image(BagKit(), head, b"\x01\x02\x03", "jpeg")
    return bytes(typestore().serialize_cdr(image, IMAGE))


@given(st.integers(0, 2**61 - 1), st.integers(-(2**62), 2**62))
def test_only_the_stamp_moves_and_it_stays_a_ros_time(stamp, offset):
    stamp = stamp % ((2**31 - 1) * 10**9)
    data = message(stamp)
    moved = moved_stamp(data, offset)
    image = typestore().deserialize_cdr(moved, IMAGE)
    assert image.header.frame_id == "camera" and bytes(image.data) == b"\x01\x02\x03"
    if 0 <= stamp + offset < (2**31 - 1) * 10**9:
        assert header_stamp(moved) == stamp + offset
        assert moved_stamp(moved, -offset) == data
    else:
        assert image.header.stamp.sec in (0, 2**31 - 1)


def test_types_with_and_without_a_header():
    kinds = ("sensor_msgs/msg/Image", "savos_ros/msg/AmodalMaskArray", IMAGE)
    assert all(begins_with_header(typestore(), kind) for kind in kinds)
    others = ("rosgraph_msgs/msg/Clock", "std_msgs/msg/String", "unknown/msg/Type")
    assert not any(begins_with_header(typestore(), kind) for kind in others)


def test_short_data_is_left_alone():
    assert moved_stamp(b"\x00\x01", 5) == b"\x00\x01"
