import cv2
import numpy as np
import pytest
import tiny_scene as scene
from PIL import Image
from typer.testing import CliRunner

from savos_model.files import FileError
from savos_ros.bags.convert import masks_to_bag
from savos_ros.bags.reader import BagFrames
from savos_ros.bags.run import run_bag
from savos_ros.bags.settings import BagError, MaskSource, RecordOptions, RunOptions
from savos_ros.cli.main import app
from tests.failing import fails, refused
from tests.tiny_weights import save_random

ORIENTATION = 0x0112  # tag of EXIF


@pytest.fixture
def folders(tmp_path):
    """Frames 8, 9 and 10, unpadded, and a folder per object whose whole squares overlap."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    for number in (8, 9, 10):
        item = scene.frame(number)
        cv2.imwrite(str(images / f"f{number}.jpg"), item.image)
        for whole in item.truth:
            (masks / whole.id).mkdir(parents=True, exist_ok=True)
            picture = np.zeros(scene.SHAPE, np.uint8)
            x0, y0, x1, y1 = whole.box
            picture[y0:y1, x0:x1] = whole.mask
            cv2.imwrite(str(masks / whole.id / f"f{number}.png"), picture)
    return images, masks


def test_bag_holds_images_as_stored_and_overlapping_masks(folders, tmp_path):
    images, masks = folders
    options = RecordOptions("instance_masks", compressed=True)
    recorded, source = masks_to_bag(
        MaskSource(images, masks, rate_hz=20), tmp_path / "bag", options
    )
    assert source.form == "objects" and recorded.overlap_px == 0
    with BagFrames(tmp_path / "bag") as bag:
        frames = [item.frame for item in bag]
    assert [frame.stamp_ns - frames[0].stamp_ns for frame in frames] == [0, 50_000_000, 100_000_000]
    for number, frame in zip((8, 9, 10), frames, strict=True):
        stored = cv2.imread(str(images / f"f{number}.jpg"))
        assert np.array_equal(
            frame.image[..., ::-1] if frame.order == "rgb" else frame.image, stored
        )
        truth = {item.id: item for item in scene.frame(number).truth}
        assert {item.id for item in frame.instances} == truth.keys()
        for item in frame.instances:
            assert item.box == truth[item.id].box and np.array_equal(item.mask, truth[item.id].mask)
    summary = run_bag(
        tmp_path / "bag", tmp_path / "out", RunOptions(video=False), scene.EchoBackend()
    )
    assert (summary["frames_out"], summary["masks_in"]) == (3, 6)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_turn_noted_in_exif_is_made_in_raw_and_compressed_images(folders, tmp_path, compressed):
    images, masks = folders
    wanted = cv2.imread(str(images / "f8.jpg"))
    lying = Image.fromarray(np.rot90(wanted)[..., ::-1])
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # a quarter to the right
    lying.save(images / "f8.jpg", exif=exif, quality=95)
    options = RecordOptions("instance_masks", compressed=compressed)
    masks_to_bag(MaskSource(images, masks), tmp_path / "bag", options)
    with BagFrames(tmp_path / "bag") as bag:
        frame = next(item.frame for item in bag)
    assert (frame.image.shape, frame.order) == (wanted.shape, "bgr")
    assert np.abs(frame.image.astype(int) - wanted).mean() < 12  # random pixels, JPEG twice
    assert np.abs(np.rot90(frame.image, 2).astype(int) - wanted).mean() > 40


def test_command_says_how_masks_were_read(folders, tmp_path):
    images, masks = folders
    (masks / "1001" / "f9.png").unlink()
    (masks / "2001" / "f9.png").unlink()
    given = ["--images", str(images), "--masks", str(masks)]
    done = CliRunner().invoke(app, ["masks-to-bag", str(tmp_path / "bag"), *given])
    assert done.exit_code == 0, done.output
    assert "masks read as objects" in done.output
    assert "left out: 1 frame without a mask file" in done.output


def test_what_cannot_be_used_leaves_no_bag(folders, tmp_path):
    images, masks = folders
    cases = (
        (tmp_path / "no", masks),
        (masks, masks),
        (images, tmp_path / "no"),
    )
    for given in cases:
        with fails(FileError, "missing"):
            masks_to_bag(MaskSource(*given), tmp_path / "bag", RecordOptions())
    with refused("rate_hz", "bounds"):
        MaskSource(images, masks, rate_hz=0)
    (images / "f9.jpg").write_bytes((images / "f9.jpg").read_bytes()[:100])
    with fails(BagError, "unreadable"):
        masks_to_bag(MaskSource(images, masks), tmp_path / "bag", RecordOptions("instance_masks"))
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize("rate_hz", [10, 0.5])
def test_masks_without_ids_get_ids_by_association(folders, tmp_path, rate_hz):
    """Label images whose numbers change from frame to frame, at any rate."""
    images, _ = folders
    masks = tmp_path / "labels"
    masks.mkdir()
    for number in (8, 9, 10):
        labels = np.zeros(scene.SHAPE, np.uint8)
        for place, item in enumerate(scene.frame(number).instances[:: 1 if number % 2 else -1]):
            x0, y0, x1, y1 = item.box
            labels[y0:y1, x0:x1][item.mask > 0] = number + place
        cv2.imwrite(str(masks / f"f{number}.png"), labels)
    source = MaskSource(images, masks, rate_hz=rate_hz)
    options = RecordOptions("label_image")
    masks_to_bag(source, tmp_path / "bag", options, scene.EchoBackend())
    with BagFrames(tmp_path / "bag") as bag:
        frames = [item.frame for item in bag]
    assert [len(frame.instances) for frame in frames] == [2, 2, 2]
    assert frames[1].stamp_ns - frames[0].stamp_ns == round(1e9 / rate_hz)
    for number, frame in zip((8, 9, 10), frames, strict=True):
        found = {item.id: item.box for item in frame.instances}
        near, far = (item.box for item in scene.frame(number).instances)
        assert found == {"2": near, "1": far}


def test_the_command_gives_ids_with_track(folders, tmp_path):
    images, masks = folders
    weights = save_random(tmp_path / "w.safetensors")
    given = ["--images", str(images), "--masks", str(masks), "--track", "--weights", str(weights)]
    done = CliRunner().invoke(app, ["masks-to-bag", str(tmp_path / "bag"), *given])
    assert done.exit_code == 0, done.output
    with BagFrames(tmp_path / "bag") as bag:
        assert [[item.id for item in one.frame.instances] for one in bag] == [["1", "2"]] * 3
