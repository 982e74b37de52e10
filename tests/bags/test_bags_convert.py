import cv2
import numpy as np
import pytest
import tiny_fishbowl
import tiny_kitti as tiny
from rosbags.highlevel import AnyReader
from tiny_scene import pasted
from typer.testing import CliRunner

from savos_model.files import FileError
from savos_ros.bags.convert import fishbowl_to_bag, kitti_to_bag, street_to_bag
from savos_ros.bags.reader import BagFrames
from savos_ros.bags.settings import BagError, KittiSource, RecordOptions
from savos_ros.cli.main import app
from tests.failing import fails
from training.data.fishbowl import FishbowlClip, FishbowlError, clip_names
from training.data.kitti_mots import open_tracking
from training.street.config import StreetConfig
from training.street.generate import generate


@pytest.fixture
def root(tmp_path):
    return tiny.write_tracking(tmp_path / "kitti")


def read(path):
    with BagFrames(path) as bag:
        frames = list(bag)
    assert not bag.report.refused
    return frames


@pytest.mark.parametrize("masks", ["txt", "png"])
@pytest.mark.parametrize("form", ["label_image", "instance_masks"])
def test_kitti_sequence_round_trip(root, tmp_path, masks, form):
    written = kitti_to_bag(
        KittiSource(root, sequence=tiny.SEQUENCE, masks=masks),
        tmp_path / "bag",
        RecordOptions(form),
    )
    assert set(written.counts.values()) == {4}
    clip = open_tracking(root, tiny.SEQUENCE)
    for number, item in zip(tiny.FRAMES, read(tmp_path / "bag"), strict=True):
        assert item.frame.stamp_ns == clip.stamp_ns(number)
        assert np.array_equal(item.frame.image, clip.image(number))
        assert [entry.id for entry in item.frame.instances] == ["1003", "1017"]
        assert {entry.class_id for entry in item.frame.instances} == {"1"}
        for entry in item.frame.instances:
            assert np.array_equal(pasted(entry, tiny.SHAPE), tiny.masks(number)[entry.id])


def test_kitti_ignore_region_becomes_the_ignore_label(root, tmp_path):
    kitti_to_bag(KittiSource(root, sequence=tiny.SEQUENCE), tmp_path / "bag", RecordOptions())
    with AnyReader([tmp_path / "bag"]) as reader:
        wanted = reader.topics["/tracker/labels"].connections
        _, _, raw = next(reader.messages(wanted))
        message = reader.deserialize(raw, wanted[0].msgtype)
    labels = np.frombuffer(message.data.tobytes(), "<u2").reshape(tiny.SHAPE)
    assert np.array_equal(labels == 65535, tiny.masks(5)["10000"] != 0)
    assert set(np.unique(labels)) == {0, 1003, 1017, 65535}


def test_kitti_predicted_masks_keep_their_overlap(root, tmp_path):
    kitti_to_bag(
        KittiSource(root, sequence=tiny.SEQUENCE, masks="tracker"),
        tmp_path / "bag",
        RecordOptions(),
    )
    first = read(tmp_path / "bag")[0].frame.instances
    assert [entry.id for entry in first] == ["1001", "1002"]
    assert (pasted(first[0], tiny.SHAPE) & pasted(first[1], tiny.SHAPE)).sum() == 25 * 22


def test_kitti_predicted_masks_in_a_label_image_lose_the_overlap(root, tmp_path):
    written = kitti_to_bag(
        KittiSource(root, sequence=tiny.SEQUENCE, masks="tracker"),
        tmp_path / "bag",
        RecordOptions("label_image"),
    )
    assert written.overlap_px == 4 * 25 * 22


def test_kitti_jpeg_files_are_passed_on(root, tmp_path):
    kitti_to_bag(
        KittiSource(root, sequence=tiny.SEQUENCE), tmp_path / "bag", RecordOptions(compressed=True)
    )
    clip = open_tracking(root, tiny.SEQUENCE)
    for number, item in zip(tiny.FRAMES, read(tmp_path / "bag"), strict=True):
        assert np.array_equal(item.frame.image, clip.image(number))


def test_kitti_raw_drive(tmp_path):
    drive = tiny.write_raw(tmp_path)
    written = kitti_to_bag(KittiSource(drive), tmp_path / "bag", RecordOptions())
    assert written.counts == {"/camera/image_raw": 4}
    with AnyReader([tmp_path / "bag"]) as reader:
        stamps = [stamp for _, stamp, _ in reader.messages()]
    assert np.diff(stamps).tolist() == [25, 25, 25]
    masks = tmp_path / "masks.txt"
    masks.write_text(tiny.mots_line(2, "1003", tiny.masks(2)["1003"]))
    kitti_to_bag(KittiSource(drive, mask_path=masks), tmp_path / "with", RecordOptions())
    assert [len(item.frame.instances) for item in read(tmp_path / "with")] == [0, 0, 1, 0]


def test_given_times_replace_those_of_a_raw_drive(tmp_path):
    given = tmp_path / "times.txt"
    given.write_text("".join(f"1970-01-01 00:00:0{i + 1}.5\n" for i in range(4)))
    kitti_to_bag(
        KittiSource(tiny.write_raw(tmp_path), timestamps=given), tmp_path / "bag", RecordOptions()
    )
    with AnyReader([tmp_path / "bag"]) as reader:
        stamps = [stamp for _, stamp, _ in reader.messages()]
    assert stamps == [1_500_000_000, 2_500_000_000, 3_500_000_000, 4_500_000_000]


def test_kitti_mistakes_are_named(root, tmp_path):
    with fails(BagError, "option"):
        kitti_to_bag(KittiSource(root), tmp_path / "bag", RecordOptions())
    with fails(BagError, "option"):
        kitti_to_bag(
            KittiSource(tiny.write_raw(tmp_path), sequence="0001"),
            tmp_path / "bag",
            RecordOptions(),
        )
    path = root / "training" / "image_02" / tiny.SEQUENCE / "000007.jpg"
    cv2.imwrite(str(path), np.zeros((61, 100, 3), np.uint8))
    with fails(FileError, "size", "100x60", "100x61"):
        kitti_to_bag(KittiSource(root, sequence=tiny.SEQUENCE), tmp_path / "bag", RecordOptions())
    assert not any(entry.name.startswith((".bag", "bag")) for entry in tmp_path.iterdir())


@pytest.mark.slow
def test_street_bag_holds_what_was_generated(tmp_path):
    config = StreetConfig(frames=3, width=320, height=96)
    written = street_to_bag(config, tmp_path / "bag", RecordOptions("instance_masks"))
    assert set(written.counts.values()) == {3}
    frames = read(tmp_path / "bag")
    for want, item in zip(generate(config), frames, strict=True):
        assert np.array_equal(item.frame.image, want.image)
        tracked = {str(entry.id) for entry in want.objects if entry.tracked is not None}
        assert {entry.id for entry in item.frame.instances} == tracked
        truth = {entry.id: entry for entry in item.truth}
        assert set(truth) == {str(entry.id) for entry in want.objects}
        for entry in want.objects:
            assert truth[str(entry.id)].mask.sum() == (entry.full[1] != 0).sum()
    assert frames[1].frame.stamp_ns - frames[0].frame.stamp_ns == 100_000_000


@pytest.mark.slow
def test_street_bag_is_the_same_every_time(tmp_path):
    config = StreetConfig(frames=2, width=320, height=96)
    for name in ("a", "b"):
        street_to_bag(config, tmp_path / name / "bag", RecordOptions())
    first, second = ((tmp_path / name / "bag" / "bag.mcap").read_bytes() for name in ("a", "b"))
    assert first == second


def test_fishbowl_clip_with_its_truth(tmp_path):
    clip = tiny_fishbowl.write_clip(tmp_path)
    written = fishbowl_to_bag(clip, tmp_path / "bag", RecordOptions())
    assert written.counts == {"/camera/image_raw": 6, "/tracker/masks": 6, "/truth/masks": 6}
    shape = (tiny_fishbowl.HEIGHT, tiny_fishbowl.WIDTH)
    frames = read(tmp_path / "bag")
    for number, item in enumerate(frames):
        front, back, seen = tiny_fishbowl.scene(number)
        visible = {entry.id: pasted(entry, shape) for entry in item.frame.instances}
        truth = {entry.id: pasted(entry, shape) for entry in item.truth}
        assert np.array_equal(visible["0"], front)
        assert np.array_equal(visible["7"], seen)
        assert np.array_equal(truth["7"], back)
        assert [entry.class_id for entry in item.truth] == ["BigFishA", "SmallFishA"]
    steps = np.diff([item.frame.stamp_ns for item in frames])
    assert set(steps.tolist()) == {33333333, 33333334}


def test_broken_fishbowl_clip_leaves_no_bag(tmp_path):
    clip = tiny_fishbowl.write_clip(tmp_path)
    data = tiny_fishbowl.record()
    data["objects"][0]["full"][4]["counts"] = "zz"
    tiny_fishbowl.write_masks(tmp_path, data)
    with pytest.raises(FishbowlError):
        fishbowl_to_bag(clip, tmp_path / "bag", RecordOptions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.json.gz", "tiny.mp4"]


@pytest.mark.slow
def test_real_fishbowl_clip(shared_data, tmp_path):
    path = clip_names(shared_data / "fishbowl" / "val")[0]
    written = fishbowl_to_bag(path, tmp_path / "bag", RecordOptions(compressed=True))
    assert set(written.counts.values()) == {128}
    clip = FishbowlClip(path)
    for number, item in enumerate(read(tmp_path / "bag")):
        if number % 40:
            continue
        for mine, theirs in (
            (item.frame.instances, clip.instances(number)),
            (item.truth, clip.truth(number)),
        ):
            assert [entry.id for entry in mine] == [entry.id for entry in theirs]
            for a, b in zip(mine, theirs, strict=True):
                assert (a.box, a.class_id) == (b.box, b.class_id)
                assert np.array_equal(a.mask, b.mask)


@pytest.mark.parametrize(("sequence", "count", "masks"), [("0000", 44, 258), ("0001", 31, 253)])
@pytest.mark.slow
def test_real_kitti_sequence(shared_data, tmp_path, sequence, count, masks):
    options = RecordOptions(compressed=True)
    kitti_to_bag(
        KittiSource(shared_data / "kitti_mots", sequence=sequence), tmp_path / "bag", options
    )
    frames = read(tmp_path / "bag")
    assert len(frames) == count
    assert sum(len(item.frame.instances) for item in frames) == masks


def test_commands_print_what_they_wrote(root, tmp_path):
    runner = CliRunner()
    arguments = ["kitti-to-bag", str(root), str(tmp_path / "bag"), "--sequence", tiny.SEQUENCE]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    for topic in ("/camera/image_raw", "/tracker/labels"):
        assert any(topic in line and " 4 " in line for line in done.output.splitlines())
    again = runner.invoke(app, arguments)
    assert again.exit_code == 1
    assert "replace it with --force" in again.output
    assert runner.invoke(app, [*arguments, "--force"]).exit_code == 0


def test_command_errors_are_one_line(tmp_path):
    done = CliRunner().invoke(
        app, ["fishbowl-to-bag", str(tmp_path / "x.mp4"), str(tmp_path / "bag")]
    )
    assert done.exit_code == 1
    assert done.output.strip().startswith("error: ")
    assert "x.json.gz does not exist" in done.output
    street = CliRunner().invoke(app, ["street-bag", str(tmp_path / "bag"), "--density", "9"])
    assert street.exit_code == 2
    assert "--density" in street.output


@pytest.mark.parametrize("form", ["label_image", "instance_masks"])
@pytest.mark.parametrize("masks", ["txt", "tracker"])
def test_an_id_twice_in_a_frame_ends_the_conversion(root, tmp_path, masks, form):
    where = "instances_txt" if masks == "txt" else "tracker_masks_x"
    file = root / where / f"{tiny.SEQUENCE}.txt"
    lines = file.read_text().splitlines()
    frame, name = lines[0].split()[:2]
    again = [line for line in lines[1:] if line.split()[0] == frame][0].split()
    file.write_text("\n".join([*lines, " ".join([again[0], name, *again[2:]])]) + "\n")
    with fails(BagError, "instances", "frame 0", f"instance {name} "):
        options = RecordOptions(form)
        kitti_to_bag(
            KittiSource(root, sequence=tiny.SEQUENCE, masks=masks), tmp_path / "bag", options
        )
    assert not (tmp_path / "bag").exists()
