"""Bags as other programs leave them are read whole, or say what is missing."""

import shutil
import sqlite3
import struct

import pytest
import tiny_scene as scene
import yaml
import zstandard
from failing import fails
from mcap.writer import CompressionType, Writer

from savos_ros.bags.reader import BagFrames
from savos_ros.bags.recording import record
from savos_ros.bags.settings import BagError, RecordOptions
from savos_ros.bags.storage import open_bag

IMAGE, LABELS = "/camera/image_raw", "/tracker/labels"
COUNT = 8


@pytest.fixture(params=["mcap", "sqlite3"])
def bag(request, tmp_path):
    record(scene.frames(COUNT), COUNT, tmp_path / "bag", RecordOptions(storage=request.param))
    return tmp_path / "bag"


@pytest.fixture
def sqlite_bag(tmp_path):
    record(scene.frames(COUNT), COUNT, tmp_path / "bag", RecordOptions(storage="sqlite3"))
    return tmp_path / "bag"


def read(path):
    with BagFrames(path) as frames:
        return [item.frame.stamp_ns for item in frames], frames.report


def kind_of(path):
    with pytest.raises(BagError) as info:
        read(path)
    return info.value.kind


STAMPS = [scene.frame(index).stamp_ns for index in range(COUNT)]


def all_messages(path):
    with open_bag(path) as opened:
        return list(opened.messages(opened.topics)), dict(opened.topics)


def change_metadata(path, change):
    file = path / "metadata.yaml"
    document = yaml.safe_load(file.read_text())
    change(document["rosbag2_bagfile_information"])
    file.write_text(yaml.safe_dump(document))


def write_mcap(path, entries, topics, *, more=(), profile="ros2", **options):
    """Write (topic, time, bytes); messages of `more` (topic, encoding, schema) among them."""
    with path.open("wb") as stream:
        writer = Writer(stream, **options)
        writer.start(profile)
        channels = {}
        for name, encoding, schema in more:
            number = 0 if schema is None else writer.register_schema(*schema)
            channels[name] = writer.register_channel(name, encoding, number)
        for name, info in topics.items():
            number = writer.register_schema(info.msgtype, *info.definition)
            channels[name] = writer.register_channel(name, "cdr", number)
        for count, (name, time, data) in enumerate(entries):
            writer.add_message(channels[name], time, data, time, count)
            for other, *_ in more:
                writer.add_message(channels[other], time, b"\x01\x02", time, count)
        writer.finish()
    return path


def test_qos_that_differs_in_metadata_costs_no_message(bag):
    def empty(information):
        for topic in information["topics_with_message_count"]:
            topic["topic_metadata"]["offered_qos_profiles"] = []

    change_metadata(bag, empty)
    assert read(bag)[0] == STAMPS


def test_a_type_hash_that_differs_in_metadata_costs_no_message(bag):
    def other(information):
        for topic in information["topics_with_message_count"]:
            topic["topic_metadata"]["type_description_hash"] = "RIHS01_" + "0" * 64

    change_metadata(bag, other)
    assert read(bag)[0] == STAMPS


@pytest.mark.parametrize("field", ["storage_identifier", "version", "compression_format"])
def test_a_field_of_metadata_that_is_not_needed_may_be_empty(bag, field):
    change_metadata(bag, lambda information: information.update({field: ""}))
    got, report = read(bag)
    assert (got, report.damage) == (STAMPS, "")


def test_messages_announced_and_not_there_are_damage(bag):
    def more(information):
        information["topics_with_message_count"][0]["message_count"] += 3

    change_metadata(bag, more)
    got, report = read(bag)
    assert got == STAMPS
    assert f"announces {COUNT + 3} messages" in report.damage


@pytest.mark.parametrize(("count", "damaged"), [("many", True), (None, True), (-4, False)])
def test_counts_that_cannot_be_do_not_matter(bag, count, damaged):
    def change(information):
        for topic in information["topics_with_message_count"]:
            topic["message_count"] = count

    change_metadata(bag, change)
    got, report = read(bag)
    assert got == STAMPS
    assert bool(report.damage) == damaged


def test_a_missing_part_is_damage_and_the_others_are_read(bag):
    change_metadata(bag, lambda found: found["relative_file_paths"].append("bag_1.mcap"))
    got, report = read(bag)
    assert got == STAMPS
    assert "bag_1.mcap" in report.damage


def test_a_renamed_data_file_is_found(bag):
    file = next(path for path in bag.iterdir() if path.suffix != ".yaml")
    file.rename(file.with_name("other" + file.suffix))
    assert read(bag)[0] == STAMPS


@pytest.mark.parametrize(
    "name",
    ["run#2", "take 50%25", "really?", "a&b=c", "ä", b"\xff".decode("utf-8", "surrogateescape")],
)
def test_any_name_of_a_folder_will_do(bag, name):
    assert read(bag.rename(bag.with_name(name)))[0] == STAMPS


def killed(source, target, kept):
    """Copy a database as a killed recorder leaves it: messages from `kept` on are in the log."""
    target.mkdir()
    lines = list(sqlite3.connect(next(source.glob("*.db3"))).iterdump())
    is_message = [line.startswith('INSERT INTO "messages"') for line in lines]
    messages = [line for line, message in zip(lines, is_message, strict=True) if message]
    rest = [line for line, message in zip(lines, is_message, strict=True) if not message]
    live = target.with_name("live")
    live.mkdir()
    base = sqlite3.connect(live / "drive_0.db3", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA wal_autocheckpoint=0")
    for line in rest + messages[:kept]:
        if not line.startswith(("BEGIN", "COMMIT")):
            base.execute(line)
    if kept:
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for line in messages[kept:]:
        base.execute(line)
    for file in live.iterdir():
        shutil.copy(file, target)
    base.close()
    return target


@pytest.mark.parametrize("kept", [0, 6])
def test_messages_in_the_log_of_a_killed_recorder_are_read(sqlite_bag, tmp_path, kept):
    path = killed(sqlite_bag, tmp_path / "killed", kept)
    log = path / "drive_0.db3-wal"
    before = log.read_bytes()
    assert len(before) > 10_000
    assert read(path)[0] == STAMPS
    assert log.read_bytes() == before


def test_a_log_that_cannot_be_read_is_named(sqlite_bag, tmp_path, monkeypatch):
    path = killed(sqlite_bag, tmp_path / "killed", 6)

    def refuse(*_, **__):
        # As in a folder without write permission; root can write to every folder.
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr("savos_ros.bags.datafiles.sqlite3.connect", refuse)
    assert kind_of(path) == "log"


@pytest.mark.parametrize("chunks", [True, False])
@pytest.mark.parametrize("index", [True, False])
def test_mcap_without_chunks_or_index_is_read(bag, tmp_path, chunks, index):
    entries, topics = all_messages(bag)
    options = {"use_chunking": chunks, "compression": CompressionType.NONE}
    if not index:
        options |= {"use_statistics": False, "repeat_channels": False, "repeat_schemas": False}
    got, report = read(write_mcap(tmp_path / "x.mcap", entries, topics, **options))
    assert (got, report.damage) == (STAMPS, "")
    assert report.messages[IMAGE] == {"index": 8, "read": 8, "joined": 8, "lost": 0}


def test_mcap_without_chunks_that_is_out_of_order_is_put_in_order(bag, tmp_path):
    entries, topics = all_messages(bag)
    entries[2:8] = reversed(entries[2:8])
    path = write_mcap(tmp_path / "x.mcap", entries, topics, use_chunking=False)
    assert read(path)[0] == STAMPS
    times = [time for _, time, _ in all_messages(path)[0]]
    assert times == sorted(times)


@pytest.mark.parametrize("keep_metadata", [True, False])
def test_messages_compressed_one_by_one_need_no_metadata(bag, tmp_path, keep_metadata):
    entries, topics = all_messages(bag)
    pack = zstandard.ZstdCompressor().compress
    packed = [(topic, time, pack(data)) for topic, time, data in entries]
    folder = tmp_path / "packed"
    folder.mkdir()
    write_mcap(folder / "packed.mcap", packed, topics)
    if keep_metadata:
        shutil.copy(bag / "metadata.yaml", folder)
        names = {"relative_file_paths": ["packed.mcap"], "compression_mode": "MESSAGE"}
        change_metadata(folder, lambda information: information.update(names))
    assert read(folder)[0] == STAMPS


def test_a_compressed_file_needs_no_metadata(bag):
    file = next(path for path in bag.iterdir() if path.suffix != ".yaml")
    packed = file.with_name(file.name + ".zstd")
    packed.write_bytes(zstandard.ZstdCompressor().compress(file.read_bytes()))
    file.unlink()
    (bag / "metadata.yaml").unlink()
    assert read(bag)[0] == STAMPS


@pytest.mark.parametrize(
    "schema",
    [
        None,
        ("Proto", "protobuf", b"\xff\xfe\x00\x01"),
        ("my/msg/Own", "ros2msg", b""),
        ("my/msg/Own", "ros2msg", b"float65 x\n???"),
        ("my/msg/Own", "ros2idl", b"module {"),
    ],
)
@pytest.mark.parametrize("encoding", ["cdr", "protobuf"])
def test_a_topic_without_a_usable_type_costs_no_other(bag, tmp_path, schema, encoding):
    entries, topics = all_messages(bag)
    more = [("/unrelated", encoding, schema)]
    path = write_mcap(tmp_path / "x.mcap", entries, topics, more=more)
    got, report = read(path)
    assert (got, report.damage) == (STAMPS, "")


def test_images_without_a_definition_use_the_usual_one(bag, tmp_path):
    entries, topics = all_messages(bag)
    for info in topics.values():
        info.definition = ("ros2msg", b"not a definition !")
    assert read(write_mcap(tmp_path / "x.mcap", entries, topics))[0] == STAMPS


def test_recordings_of_ros_1_name_the_converter(bag, tmp_path):
    old = tmp_path / "old.bag"
    old.write_bytes(b"#ROSBAG V2.0\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(old, folder)
    entries, topics = all_messages(bag)
    mcap = write_mcap(tmp_path / "old.mcap", entries, topics, profile="ros1")
    for path in (old, folder, mcap):
        with fails(BagError, "ros1", "rosbags-convert --src"):
            read(path)


def test_parts_without_metadata_are_read_in_their_order(bag, tmp_path):
    entries, topics = all_messages(bag)
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in range(4):
        some = entries[4 * part : 4 * part + 4]
        write_mcap(folder / f"drive_{part + 8}.mcap", some, topics)
    assert read(folder)[0] == STAMPS
    shutil.copy(folder / "drive_8.mcap", folder / "another.mcap")
    assert kind_of(folder) == "not_a_bag"


def test_hidden_files_of_another_system_are_no_data(bag):
    file = next(path for path in bag.iterdir() if path.suffix != ".yaml")
    (bag / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07")
    (bag / "metadata.yaml").unlink()
    assert read(bag)[0] == STAMPS


def test_a_damaged_part_does_not_cost_the_next(bag, tmp_path):
    entries, topics = all_messages(bag)
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in range(2):
        some = entries[8 * part : 8 * part + 8]
        write_mcap(folder / f"drive_{part}.mcap", some, topics, compression=CompressionType.ZSTD)
    first = folder / "drive_0.mcap"
    data = bytearray(first.read_bytes())
    at = data.index(b"\x28\xb5\x2f\xfd") + 20
    data[at : at + 200] = bytes(200)
    first.write_bytes(data)
    got, report = read(folder)
    assert got == STAMPS[4:]
    assert "drive_0.mcap is damaged" in report.damage
    assert report.messages[IMAGE] == {"index": 8, "read": 4, "joined": 4, "lost": 4}


def test_a_bomb_is_refused_before_it_takes_memory(bag, tmp_path):
    entries, topics = all_messages(bag)
    claim = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 40) + b"\x01\x00\x00"
    entries[0] = (entries[0][0], entries[0][1], claim)
    got, report = read(write_mcap(tmp_path / "x.mcap", entries, topics))
    assert got == []
    assert str(1 << 40) in report.damage
