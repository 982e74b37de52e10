import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_scene as scene
from rosbags.highlevel import AnyReader

from savos_model.types import AmodalObject, Box, Instance, Source
from savos_ros.bags.reader import BagFrames
from savos_ros.bags.recording import SourceFrame, label_image, record
from savos_ros.bags.settings import BagError, RecordOptions, Topics
from savos_ros.bags.types import BagKit, typestore
from savos_ros.bags.writer import BagWriter
from savos_ros.messages import kit as message_kit
from tests.failing import fails, refused

OURS = ("InstanceMask", "InstanceMaskArray", "AmodalMask", "AmodalMaskArray")


def write(path, count=6, frames=None, **options):
    frames = frames if frames is not None else scene.frames(count)
    return record(frames, len(frames), path, RecordOptions(truth=True, **options))


def amodal(name="1001", **changes):
    values = {"class_id": "1", "score": 0.5, "source": Source.FORWARD, "box": Box(3, 4, 10, 9)}
    values |= {"mask": np.full((5, 7), 255, np.uint8), "visible": np.ones((5, 7), np.uint8)}
    values |= {"occlusion": 0.25, "confidence": 0.75, "motion": (1.5, -2.0)}
    return AmodalObject(name, **(values | changes))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("form", ["label_image", "instance_masks"])
def test_frames_come_back_exactly(tmp_path, storage, form):
    written = write(tmp_path / "bag", storage=storage, form=form)
    masks_topic = "/tracker/labels" if form == "label_image" else "/tracker/masks"
    assert written.counts == {"/camera/image_raw": 6, masks_topic: 6, "/truth/masks": 6}
    assert written.overlap_px == 0

    with BagFrames(tmp_path / "bag") as bag:
        got = list(bag)

    assert bag.expected == bag.report.frames == 6
    assert not bag.report.refused
    for want, item in zip(scene.frames(6), got, strict=True):
        assert item.frame.stamp_ns == want.stamp_ns
        assert item.frame_id == "camera"
        assert item.frame.order == "bgr"
        assert np.array_equal(item.frame.image, want.image)
        for mine, theirs in ((item.frame.instances, want.instances), (item.truth, want.truth)):
            assert {m.id: m.class_id for m in mine} == {m.id: m.class_id for m in theirs}
            for a, b in zip(sorted(mine, key=_id), sorted(theirs, key=_id), strict=True):
                assert np.array_equal(scene.pasted(a), scene.pasted(b))


def _id(item):
    return item.id


def test_compressed_images_come_back_nearly(tmp_path):
    smooth = np.full((*scene.SHAPE, 3), 90, np.uint8)
    smooth[:, 80:] = (10, 200, 60)
    frames = [SourceFrame(index + 1, smooth, []) for index in range(2)]
    write(tmp_path / "bag", frames=frames, compressed=True)
    with BagFrames(tmp_path / "bag") as bag:
        images = [item.frame.image for item in bag]
    assert bag.topics["image"] == "/camera/image_raw/compressed"
    assert np.abs(images[1].astype(int) - smooth).mean() < 2


def test_stored_jpeg_is_passed_on_untouched(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    encoded = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    jpeg, image = encoded.tobytes(), cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    write(
        tmp_path / "bag",
        frames=[SourceFrame(1, image, [], jpeg=jpeg)],
        compressed=True,
    )
    with AnyReader([tmp_path / "bag"]) as reader:
        wanted = reader.topics["/camera/image_raw/compressed"].connections
        _, stamp, raw = next(reader.messages(wanted))
        message = reader.deserialize(raw, wanted[0].msgtype)
    assert (message.data.tobytes(), message.format, stamp) == (jpeg, "jpeg", 1)


def test_every_field_of_the_result_survives(tmp_path):
    kit = BagKit()
    objects = [amodal(), amodal("x-7", source=Source.COASTED, visible=np.zeros((5, 7), np.uint8))]
    head = message_kit.header(kit, 7_000_000_123, "cam0")
    message = message_kit.amodal_array(kit, head, (20, 30), objects, "small+2", 0.5)
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/savos/masks", "savos_ros/AmodalMaskArray")
        bag.write("/savos/masks", 7_000_000_123, message)

    with AnyReader([tmp_path / "bag"]) as reader:  # no typestore given: the bag defines its types
        connection, stamp, raw = next(reader.messages())
        got = reader.deserialize(raw, connection.msgtype)

    assert stamp == 7_000_000_123
    assert (got.header.stamp.sec, got.header.stamp.nanosec, got.header.frame_id) == (7, 123, "cam0")
    assert (got.height, got.width, got.model) == (20, 30, "small+2")
    for mine, item in zip(objects, got.masks, strict=True):
        roi = item.roi
        assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (3, 4, 7, 5)
        assert (item.id, item.class_id, item.source) == (mine.id, "1", int(mine.source))
        assert (item.score, item.confidence) == (0.5, 0.75)
        assert item.occlusion == 0.25 or (np.isnan(item.occlusion) and item.id == "x-7")
        assert (item.velocity_x, item.velocity_y) == (3.0, -4.0)
        assert item.occluder_ids == (["1001"] if item.id == "x-7" else [])
        assert (item.mask.encoding, item.mask.step, item.mask.height) == ("mono8", 7, 5)
        assert (item.mask.data == (255 if mine.visible.all() else 254)).all()
        assert item.mask.header.stamp.nanosec == 123


def test_both_message_libraries_say_the_same():
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    pytest.importorskip("savos_ros.msg", reason="the messages are not built")
    from rclpy.serialization import deserialize_message, serialize_message

    def build(kit):
        head = message_kit.header(kit, 1_500_000_000, "camera")
        return (
            message_kit.amodal_array(kit, head, (20, 30), [amodal(), amodal("2")], "m"),
            message_kit.instance_array(kit, head, (20, 30), scene.frame(2).instances),
            message_kit.image(kit, head, np.arange(12, dtype=np.uint16).reshape(3, 4), "16UC1"),
            message_kit.compressed_image(kit, head, b"\xff\xd8\x00", "jpeg"),
        )

    kinds = ("savos_ros/msg/AmodalMaskArray", "savos_ros/msg/InstanceMaskArray")
    kinds += ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
    for ros, bag, kind in zip(build(message_kit.RosKit()), build(BagKit()), kinds, strict=True):
        store, ours = typestore(), bytes(typestore().serialize_cdr(bag, kind))
        theirs = serialize_message(ros)
        # The bytes differ in the padding between fields, which Fast CDR leaves as it was.
        assert bytes(store.serialize_cdr(store.deserialize_cdr(theirs, kind), kind)) == ours
        assert deserialize_message(ours, type(ros)) == ros


@pytest.mark.parametrize("name", OURS)
def test_message_definitions_equal_the_built_ones(name):
    spec = find_spec("savos_ros.msg")
    if spec is None:
        pytest.skip("the messages are not built")
    built = [
        prefix / "share" / "savos_ros" / "msg" / f"{name}.json"
        for prefix in Path(spec.origin).parents
    ]
    built = [path for path in built if path.is_file()]
    if not built:
        pytest.skip(f"no type description of {name} with the built messages")
    hashes = {
        entry["type_name"]: entry["hash_string"]
        for entry in json.loads(built[0].read_text())["type_hashes"]
    }
    assert typestore().hash_rihs01(f"savos_ros/msg/{name}") == hashes[f"savos_ros/msg/{name}"]


def test_a_failed_write_leaves_nothing(tmp_path):
    frames = [scene.frame(1), scene.frame(0)]  # stamps go back
    with fails(BagError, "stamp"):
        write(tmp_path / "bag", frames=frames)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stamp", [-1, 2**31 * 1_000_000_000])
def test_stamps_outside_ros_time_are_refused(tmp_path, stamp):
    with fails(BagError, "stamp"):
        write(tmp_path / "bag", frames=[SourceFrame(stamp, np.zeros((4, 4, 3), np.uint8), [])])


def test_existing_bag_is_kept_without_force(tmp_path):
    write(tmp_path / "bag", count=2)
    with fails(BagError, "taken"):
        write(tmp_path / "bag", count=3)
    write(tmp_path / "bag", count=3, force=True)
    with BagFrames(tmp_path / "bag") as bag:
        assert bag.expected == 3
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_failed_replacement_keeps_the_old_bag(tmp_path):
    write(tmp_path / "bag", count=2)
    with fails(BagError, "stamp"):
        write(tmp_path / "bag", frames=[scene.frame(1), scene.frame(0)], force=True)
    with BagFrames(tmp_path / "bag") as bag:
        assert bag.expected == 2


def test_other_folders_are_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("x")
    with fails(BagError, "taken"):
        write(tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "precious.txt").exists()


def test_unknown_storage_and_form(tmp_path):
    with refused("storage", "choices"):
        write(tmp_path / "bag", storage="zip")
    with refused("form", "choices"):
        RecordOptions("rle")


def test_label_image_paints_ignored_under_and_counts_overlap():
    whole = Instance("65534", Box(0, 0, 4, 2), np.ones((2, 4), np.uint8))
    part = Instance("7", Box(1, 0, 3, 2), np.ones((2, 2), np.uint8))
    ignored = Instance("10000", Box(0, 0, 6, 1), np.ones((1, 6), np.uint8))
    labels, lost = label_image([whole, part], [ignored], (2, 6))
    assert labels.tolist() == [[65534, 7, 7, 65534, 65535, 65535], [65534, 7, 7, 65534, 0, 0]]
    assert lost == 4


@pytest.mark.parametrize("name", ["0", "65535", "car", "-3", "1.5", "007", "", "\u0663"])
def test_ids_that_are_no_label_are_refused(name):
    item = Instance(name, Box(0, 0, 1, 1), np.ones((1, 1), np.uint8))
    with fails(BagError, "label_id"):
        label_image([item], [], (2, 2))


def test_no_masks_topic_without_a_form(tmp_path):
    written = record(scene.frames(2), 2, tmp_path / "bag", RecordOptions(""))
    assert set(written.counts) == {"/camera/image_raw"}
    with fails(BagError, "no_topic"), BagFrames(tmp_path / "bag"):
        pass


def test_topics_can_be_named(tmp_path):
    write(tmp_path / "bag", form="instance_masks")
    with BagFrames(tmp_path / "bag", Topics(instances="/truth/masks")) as bag:
        first = next(iter(bag))
    assert [item.mask.sum() for item in first.frame.instances] == [1024, 1024]
