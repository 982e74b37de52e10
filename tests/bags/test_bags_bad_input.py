import shutil

import cv2
import numpy as np
import pytest
import tiny_scene as scene
from tiny_weights import save_random
from typer.testing import CliRunner

from savos_model.types import Box, Instance
from savos_ros.bags.reader import BagFrames
from savos_ros.bags.recording import SourceFrame, record
from savos_ros.bags.restamp import header_stamp
from savos_ros.bags.settings import BagError, RecordOptions, Topics
from savos_ros.bags.storage import Bag
from savos_ros.bags.types import BagKit
from savos_ros.bags.writer import BagWriter
from savos_ros.cli.main import app
from savos_ros.messages import kit
from savos_ros.messages.settings import InputConfig
from tests.failing import fails

IMAGE, LABELS, TRUTH = "/camera/image_raw", "/tracker/labels", "/truth/masks"


@pytest.fixture
def bag(tmp_path):
    record(scene.frames(12), 12, tmp_path / "bag", RecordOptions(truth=True))
    return tmp_path / "bag"


def read(path, topics=None):
    with BagFrames(path, topics) as frames:
        return list(frames), frames.report


def kind_of(path, topics=None):
    with pytest.raises(BagError) as info:
        read(path, topics)
    return info.value.kind


def head(stamp):
    return kit.header(BagKit(), stamp, "camera")


def image(stamp, shape=(8, 10), encoding="bgr8", channels=3):
    pixels = np.zeros((*shape, channels) if channels else shape, np.uint8)
    return kit.image(BagKit(), head(stamp), pixels, encoding)


def labels(stamp, shape=(8, 10), value=5):
    return kit.image(BagKit(), head(stamp), np.full(shape, value, np.uint16), "16UC1")


def pairs(*stamps):
    """Return entries of images and labels with these stamps, logged at 0, 1, 2, ..."""
    made = [[(IMAGE, n, image(s)), (LABELS, n, labels(s))] for n, s in enumerate(stamps)]
    return sum(made, [])


def write_pairs(path, entries, truth=False):
    """Write (topic, log stamp, message) entries."""
    with BagWriter(path) as bag:
        bag.add_topic(IMAGE, "sensor_msgs/Image")
        bag.add_topic(LABELS, "sensor_msgs/Image")
        if truth:
            bag.add_topic(TRUTH, "savos_ros/InstanceMaskArray")
        for topic, stamp, message in entries:
            bag.write(topic, stamp, message)
    return path


def test_missing_bag(tmp_path):
    assert kind_of(tmp_path / "nothing") == "missing"


def test_no_bag_at_all(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    assert kind_of(tmp_path / "x.txt") == kind_of(tmp_path) == "not_a_bag"


def test_missing_topics_name_those_present(bag):
    with pytest.raises(BagError) as info:
        read(bag, Topics(image="/front/image"))
    text = str(info.value)
    assert "no topic for image: looked for /front/image" in text
    assert f"{LABELS}  sensor_msgs/msg/Image  12 messages" in text
    assert f"{TRUTH}  savos_ros/msg/InstanceMaskArray  12 messages" in text
    assert "--image" in text


def test_topic_of_another_type_is_refused(bag):
    with fails(BagError, "no_topic"):
        read(bag, Topics(image=TRUTH))


def test_topic_without_messages_is_refused(tmp_path):
    path = write_pairs(tmp_path / "bag", [(IMAGE, 1, image(1))])
    row = "labels  sensor_msgs/msg/Image  0 messages"
    with fails(BagError, "no_topic", "--instances", row):
        read(path)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_bag_is_one_clear_error_or_a_counted_stop(tmp_path, storage, share):
    record(scene.frames(12), 12, tmp_path / "bag", RecordOptions(storage=storage))
    file = next(path for path in (tmp_path / "bag").iterdir() if path.suffix != ".yaml")
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    try:
        got, report = read(tmp_path / "bag")
    except BagError as error:
        assert error.kind == "damaged"
        return
    assert len(got) == 12 or report.damage


def test_damaged_middle_keeps_the_good_part(tmp_path):
    big = [SourceFrame(i + 1, np.full((600, 800, 3), i, np.uint8), []) for i in range(8)]
    record(big, 8, tmp_path / "bag", RecordOptions())
    file = tmp_path / "bag" / "bag.mcap"
    data = bytearray(file.read_bytes())
    # the length field of a record in the second half
    at = data.index(bytes([5]) * 2000) - 200
    data[at : at + 150] = b"\xff" * 150
    file.write_bytes(data)
    got, report = read(tmp_path / "bag")
    assert 0 < len(got) < 8
    assert [int(item.frame.image[0, 0, 0]) for item in got] == list(range(len(got)))
    assert report.damage
    numbers = report.messages[IMAGE]
    assert (numbers["index"], numbers["joined"], numbers["lost"]) == (8, len(got), 8 - len(got))


def test_lost_metadata_file_does_not_matter(bag):
    (bag / "metadata.yaml").unlink()
    got, report = read(bag)
    assert len(got) == 12
    assert not report.refused


def test_broken_metadata_file(bag):
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    got, report = read(bag)
    assert len(got) == 12
    assert report.damage.startswith("metadata.yaml cannot be read")


def test_a_data_file_alone_is_enough(bag, tmp_path):
    shutil.copy(bag / "bag.mcap", tmp_path / "alone.mcap")
    got, _ = read(tmp_path / "alone.mcap")
    assert len(got) == 12


def test_late_and_reordered_masks_lose_no_frame(tmp_path):
    entries = [(IMAGE, 10 * i, image(1000 * i)) for i in range(1, 9)]
    # masks are logged later than the next images, the fourth before the third
    order = [1, 2, 4, 3, 5, 6, 8, 7]
    entries += [(LABELS, 10 * n + 35, labels(1000 * i, value=i)) for n, i in enumerate(order, 1)]
    path = write_pairs(tmp_path / "bag", sorted(entries, key=lambda entry: entry[1]))
    got, report = read(path)
    assert [item.frame.stamp_ns for item in got] == [1000 * i for i in range(1, 9)]
    assert [item.frame.instances[0].id for item in got] == [str(i) for i in range(1, 9)]
    assert not report.refused


def test_missing_and_double_partners_are_counted(tmp_path):
    entries = [(IMAGE, i, image(i)) for i in range(1, 6)]
    entries += [(LABELS, i, labels(i)) for i in (1, 3, 5)]
    entries += [(LABELS, 6, labels(9)), (IMAGE, 7, image(11)), (IMAGE, 8, image(11))]
    path = write_pairs(tmp_path / "bag", sorted(entries, key=lambda entry: entry[1]))
    got, report = read(path)
    assert [item.frame.stamp_ns for item in got] == [1, 3, 5]
    assert report.refused == {"image_unpaired": 3, "instances_unpaired": 1, "image_duplicate": 1}
    assert f"stamp on {LABELS}: images and masks are paired" in report.examples["image_unpaired"]
    assert f"no message of {LABELS}'s stamp on {IMAGE}" in report.examples["instances_unpaired"]
    assert f"two messages on {IMAGE} have one stamp" in report.examples["image_duplicate"]


@pytest.mark.parametrize("answered", [0, 1])
def test_command_says_why_frames_are_lost_and_fails_without_any(tmp_path, answered):
    entries = [(IMAGE, i, image(i)) for i in range(1, 4)]
    entries += [(LABELS, i, labels(i + 3 * (i > answered))) for i in range(1, 4)]
    path = write_pairs(tmp_path / "bag", sorted(entries, key=lambda entry: entry[1]))
    weights = save_random(tmp_path / "w.safetensors")
    given = ["run", str(path), "--out", str(tmp_path / "out"), "--weights", str(weights)]
    done = CliRunner().invoke(app, [*given, "--no-video"])
    assert f"{answered} of 3 frames processed" in done.output
    assert "image_unpaired: no message of" in done.stderr
    assert done.exit_code == (not answered)
    assert ("no frames were processed" in done.stderr) == (not answered)


@pytest.mark.parametrize("slop", [0.0, 0.001])
def test_stamps_that_differ_by_nanoseconds_are_paired_on_request(tmp_path, slop):
    entries = []
    for stamp in range(10**9, 9 * 10**9, 10**9):
        entries += [(IMAGE, stamp, image(stamp)), (LABELS, stamp + 7, labels(stamp + 7))]
    path = write_pairs(tmp_path / "bag", entries)
    with BagFrames(path, config=InputConfig(sync_slop_s=slop)) as frames:
        got = [item.frame.stamp_ns for item in frames]
    if slop:
        assert got == list(range(10**9, 9 * 10**9, 10**9))
        assert not frames.report.refused
    else:
        assert got == []
        assert frames.report.refused == {"image_unpaired": 8, "instances_unpaired": 8}
        assert "differ by 7 ns: --sync-slop 1e-06" in frames.report.examples["image_unpaired"]


def test_messages_without_a_time_are_counted(tmp_path):
    got, report = read(write_pairs(tmp_path / "bag", pairs(0, 0, 0, 5)))
    assert [item.frame.stamp_ns for item in got] == [0, 5]
    assert report.refused == {"image_unstamped": 2, "instances_unstamped": 2}
    assert report.messages[IMAGE] == {"index": 4, "read": 4, "joined": 2, "lost": 2}
    assert "stamp 0" in report.examples["image_unstamped"]


def test_equal_stamps_are_counted(tmp_path):
    got, report = read(write_pairs(tmp_path / "bag", pairs(5, 5, 5, 5)))
    assert len(got) == 1
    assert report.refused == {"image_duplicate": 3, "instances_duplicate": 3}


def test_stamps_that_fall_back_start_again(tmp_path):
    second = 1_000_000_000
    stamps = [7 * second, 8 * second, second, 2 * second]
    got, report = read(write_pairs(tmp_path / "bag", pairs(*stamps)))
    assert [item.frame.stamp_ns for item in got] == stamps
    assert report.restarts == 1


def test_unusable_frames_are_counted_and_the_next_is_answered(tmp_path):
    messages = [
        (image(1), labels(1)),
        (image(2, encoding="16SC3"), labels(2)),
        (image(3), labels(3, shape=(9, 10))),
        (image(4), kit.image(BagKit(), head(4), np.zeros((8, 10, 3), np.uint8), "bgr8")),
        (image(5), labels(5)),
    ]
    entries = []
    for stamp, (picture, ids) in enumerate(messages, 1):
        entries += [(IMAGE, stamp, picture), (LABELS, stamp, ids)]
    got, report = read(write_pairs(tmp_path / "bag", entries))
    assert [item.frame.stamp_ns for item in got] == [1, 5]
    assert sum(report.refused.values()) == 3
    assert report.refused["size_mismatch"] == 1
    assert "9" in report.examples["size_mismatch"]
    assert set(report.examples) == set(report.refused)


def test_empty_and_ignored_masks_are_frames_without_objects(tmp_path):
    entries = []
    for stamp, value in enumerate((0, 65535), 1):
        entries += [(IMAGE, stamp, image(stamp)), (LABELS, stamp, labels(stamp, value=value))]
    got, report = read(write_pairs(tmp_path / "bag", entries))
    assert [item.frame.instances for item in got] == [[], []]
    assert not report.refused


def png(stamp, value=5):
    data = cv2.imencode(".png", np.full((8, 10), value, np.uint16))[1].tobytes()
    return kit.compressed_image(BagKit(), head(stamp), data, "16UC1; png compressed ")


@pytest.mark.parametrize("topic", [f"{LABELS}/compressed", "/my/ids"])
def test_label_images_may_be_png(tmp_path, topic):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(IMAGE, "sensor_msgs/Image")
        bag.add_topic(topic, "sensor_msgs/CompressedImage")
        for stamp in (1, 2):
            bag.write(IMAGE, stamp, image(stamp, encoding="8UC3"))
            bag.write(topic, stamp, png(stamp, 7000 + stamp))
    got, report = read(tmp_path / "bag", Topics(instances="" if "tracker" in topic else topic))
    assert [item.frame.instances[0].id for item in got] == ["7001", "7002"]
    assert list(report.notes) == ["8UC3"]


def test_broken_truth_does_not_cost_the_frame(tmp_path):
    good = Instance("1", Box(0, 0, 2, 2), np.ones((2, 2), np.uint8))
    entries = []
    for stamp, shape in ((1, (8, 10)), (2, (8, 11))):
        truth = kit.instance_array(BagKit(), head(stamp), shape, [good])
        entries += [
            (IMAGE, stamp, image(stamp)),
            (LABELS, stamp, labels(stamp)),
            (TRUTH, stamp, truth),
        ]
    got, report = read(write_pairs(tmp_path / "bag", entries, truth=True))
    assert [item.truth is None for item in got] == [False, True]
    assert report.refused == {"truth_size_mismatch": 1}


def test_sparse_truth(tmp_path):
    good = Instance("1", Box(0, 0, 2, 2), np.ones((2, 2), np.uint8))
    entries = []
    for stamp in range(1, 101):
        entries += [(IMAGE, stamp, image(stamp)), (LABELS, stamp, labels(stamp))]
        if stamp % 50 == 0:
            truth = kit.instance_array(BagKit(), head(stamp), (8, 10), [good])
            entries.append((TRUTH, stamp, truth))
    got, report = read(write_pairs(tmp_path / "bag", entries, truth=True))
    assert [item.frame.stamp_ns for item in got] == list(range(1, 101))
    assert [item.frame.stamp_ns for item in got if item.truth] == [50, 100]
    assert not report.refused


def test_damaged_message_is_counted(bag, monkeypatch):
    original, calls = Bag.messages, []

    def cut_third_image(self, topics):
        for topic, stamp, data in original(self, topics):
            calls.append(topic)
            third = topic == IMAGE and calls.count(IMAGE) == 3
            yield topic, stamp, data[:30] if third else data

    monkeypatch.setattr(Bag, "messages", cut_third_image)
    got, report = read(bag)
    assert len(got) == 11
    assert report.refused == {"image_broken": 1}


def test_header_stamp_of_both_byte_orders():
    little = b"\x00\x01\x00\x00" + (7).to_bytes(4, "little") + (9).to_bytes(4, "little")
    big = b"\x00\x00\x00\x00" + (7).to_bytes(4, "big") + (9).to_bytes(4, "big")
    assert header_stamp(little) == header_stamp(big) == 7_000_000_009
    assert header_stamp(little[:11]) is None
