import gzip
import json

import cv2
import numpy as np
import pytest
import tiny_fishbowl
import tiny_kitti
from failing import fails, refused

from savos_model.masks import look_at
from savos_model.network.weights import WeightsError
from savos_model.results import read_results
from savos_model.stream.video import Setup
from savos_model.types import Box
from training.baselines.external import ExternalClip, ExternalError
from training.data.chewing_gum import ChewingGumConfig, videos
from training.evaluate import video as runs
from training.evaluate.benchmark import evaluate
from training.evaluate.chewing_gum import ChewingGum
from training.evaluate.kitti import Kitti
from training.evaluate.mask_sets import Fishbowl
from training.evaluate.settings import Output

SHAPE = (tiny_fishbowl.HEIGHT, tiny_fishbowl.WIDTH)
WHOLE = Box(0, 0, SHAPE[1], SHAPE[0])


def write_json(path, frames):
    text = json.dumps({"frames": frames})
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_png(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask)


@pytest.mark.parametrize("name", ["clip.json", "clip.json.gz"])
def test_run_lengths_are_read(tmp_path, name):
    mask = tiny_fishbowl.square(5, 7)
    write_json(tmp_path / name, {"3": {"car": tiny_fishbowl.runs(mask)}})
    clip = ExternalClip(tmp_path, "clip")
    assert np.array_equal(look_at(clip.mask(3, "car", SHAPE), WHOLE), mask > 0)
    assert clip.mask(3, "bus", SHAPE) is None
    assert clip.mask(4, "car", SHAPE) is None


def test_pictures_are_read(tmp_path):
    mask = tiny_fishbowl.square(5, 7) * np.uint8(255)
    write_png(tmp_path / "clip" / "car" / "000003.png", mask)
    write_png(tmp_path / "clip" / "car" / "000004.png", mask * 0)
    clip = ExternalClip(tmp_path, "clip")
    assert np.array_equal(look_at(clip.mask(3, "car", SHAPE), WHOLE), mask > 0)
    assert clip.mask(4, "car", SHAPE).mask.size == 0  # an answer: nothing
    assert clip.mask(5, "car", SHAPE) is None


RUNS = tiny_fishbowl.runs(tiny_fishbowl.square(5, 7))


@pytest.mark.parametrize(
    ("content", "kind", "found"),
    [
        (b"no gzip", "unreadable", ""),
        (gzip.compress(b"x" * 40)[:20], "unreadable", ""),
        (gzip.compress(b"[1"), "unreadable", ""),
        (gzip.compress(b"[]"), "layout", "frames"),
        (gzip.compress(b"{}"), "layout", "frames"),
        (gzip.compress(b'{"frames": [1]}'), "layout", "frames"),
        (gzip.compress(b'{"frames": {"007": {}}}'), "layout", "'007'"),
        (gzip.compress(b'{"frames": {"-1": {}}}'), "layout", "'-1'"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, content, kind, found):
    (tmp_path / "c.json.gz").write_bytes(content)
    with fails(ExternalError, kind) as info:
        ExternalClip(tmp_path, "c")
    assert "c.json.gz" in str(info.value) and found in str(info.value)


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ({"size": [10, 10], "counts": RUNS["counts"]}, "[10, 10]"),
        ({"size": list(SHAPE), "counts": RUNS["counts"][:-1]}, ""),
        ({"size": list(SHAPE), "counts": [1, 2]}, ""),
        ({"size": list(SHAPE)}, "'counts'"),
        ("text", ""),
    ],
)
def test_damaged_masks_are_refused_by_name(tmp_path, runs, found):
    write_json(tmp_path / "c.json", {"2": {"7": runs}})
    with fails(ExternalError, "mask") as info:
        ExternalClip(tmp_path, "c").mask(2, "7", SHAPE)
    assert "c.json: frame 2, object 7: " in str(info.value) and found in str(info.value)


@pytest.mark.parametrize(
    ("mask", "kind", "found"),
    [
        (np.zeros((10, 10), np.uint8), "size", "10x10"),
        (np.zeros((*SHAPE, 3), np.uint8), "encoding", ""),
        (np.zeros(SHAPE, np.uint16), "encoding", ""),
        (np.ones(SHAPE, np.uint8), "values", "[1]"),
    ],
)
def test_other_pictures_are_refused_by_name(tmp_path, mask, kind, found):
    write_png(tmp_path / "c" / "7" / "000002.png", mask)
    with fails(ExternalError, kind) as info:
        ExternalClip(tmp_path, "c").mask(2, "7", SHAPE)
    assert "000002.png" in str(info.value) and found in str(info.value)


def test_damaged_picture_is_refused(tmp_path):
    path = tmp_path / "c" / "7" / "000002.png"
    write_png(path, tiny_fishbowl.square(5, 7))
    path.write_bytes(path.read_bytes()[:30])
    with fails(ExternalError, "unreadable") as info:
        ExternalClip(tmp_path, "c").mask(2, "7", SHAPE)
    assert str(path) in str(info.value)


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_names_cannot_leave_the_folder(tmp_path, name):
    with fails(ExternalError, "name"):
        ExternalClip(tmp_path, name)
    (tmp_path / "c").mkdir()
    with fails(ExternalError, "name"):
        ExternalClip(tmp_path, "c").mask(0, name, SHAPE)


def test_clip_without_results_is_named(tmp_path):
    with fails(ExternalError, "missing") as info:
        ExternalClip(tmp_path, "c9")
    assert "c9.json.gz" in str(info.value)


@pytest.fixture
def fishbowl(tmp_path, monkeypatch):
    """A folder with one clip in which fish 7 is scored in frame 1 alone."""
    square = tiny_fishbowl.square
    monkeypatch.setattr(tiny_fishbowl, "square", lambda x, y: square(x, y, 24))
    folder = tmp_path / "val"
    folder.mkdir()
    tiny_fishbowl.write_clip(folder)
    return folder


def score(folder, method, out=None):
    names = ["visible", method]
    return evaluate(Fishbowl(folder), names, Setup(), Output(out))


def test_external_results_are_scored(fishbowl, tmp_path):
    front, back, seen = tiny_fishbowl.scene(1)
    results = tmp_path / "other_method"
    results.mkdir()
    write_json(results / "tiny.json.gz", {"1": {"7": tiny_fishbowl.runs(back)}})
    metrics = score(fishbowl, f"external:{results}", tmp_path / "out.json")
    assert read_results(tmp_path / "out.json")["metrics"] == metrics
    report = metrics["methods"]["external:other_method"]
    means = [report[part]["mean"] for part in ("full", "occluded")]
    assert (report["n"], means) == (1, [1.0, 1.0])
    assert metrics["files"]["external:other_method"] == {"folder": "other_method", "missing": 10}
    # What is claimed outside the other object's visible area changes neither score.
    junk = (1 - front) | (back & front)
    write_json(results / "tiny.json.gz", {"1": {"7": tiny_fishbowl.runs(junk)}})
    same = score(fishbowl, f"external:{results}")["methods"]["external:other_method"]
    assert [same[part]["mean"] for part in ("full", "occluded")] == [1.0, 1.0]
    assert same["open_full"]["mean"] < report["open_full"]["mean"]  # there nothing is replaced


def test_missing_results_count_as_the_visible_mask(fishbowl, tmp_path):
    (tmp_path / "none" / "tiny").mkdir(parents=True)
    metrics = score(fishbowl, f"external:{tmp_path / 'none'}")
    assert metrics["files"]["external:none"]["missing"] == 11  # one by the paper's protocol
    assert metrics["methods"]["external:none"] == metrics["methods"]["visible"]


def test_unet_methods_are_scored(fishbowl, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from training.baselines.unet import UNet, UNetConfig, save_unet

    net = UNet(UNetConfig("deocclusion", 0.125))
    torch.nn.init.zeros_(net.leave.weight)
    torch.nn.init.constant_(net.leave.bias, 9.0)  # claims all that it may
    save_unet(tmp_path / "u.safetensors", net, {"step": "1"})
    monkeypatch.setattr(runs, "TTA_ITERATIONS", 2)
    metrics = evaluate(
        Fishbowl(fishbowl),
        [f"deocclusion:{tmp_path}/u.safetensors", f"deocclusion+tta:{tmp_path}/u.safetensors"],
        Setup(),
    )
    front, back, seen = (mask > 0 for mask in tiny_fishbowl.scene(1))
    hidden = front & back
    expected = hidden.sum() / front.sum()  # the front fish lies inside the patch as a whole
    for name in ("deocclusion", "deocclusion+tta"):
        assert metrics["methods"][name]["occluded"]["mean"] == pytest.approx(expected)
    described = metrics["files"]["deocclusion+tta"]
    assert described["settings"]["task"] == "deocclusion" and described["training"]["step"] == "1"
    assert described["adaptation"]["iterations"] == 2
    with refused("methods"):
        score(fishbowl, f"oracle:{tmp_path}/u.safetensors")


def test_chewing_gum_takes_external_results(tmp_path):
    made = list(videos(ChewingGumConfig(seed=11), count=2))
    for video in made:
        frames = {
            str(t): {str(k): tiny_fishbowl.runs(m.astype(np.uint8)) for k, m in enumerate(full)}
            for t, full in enumerate(video.full)
        }
        write_json(tmp_path / f"{video.name}.json", frames)
    method = f"external:{tmp_path}"
    made = ChewingGum(videos=2, video_seed=11)
    metrics = evaluate(made, [method, "visible"], Setup())
    report = metrics["methods"][runs.label(method)]["lower_object"]
    assert report["n"] == 2 * 38
    assert (report["full"], report["occluded"]) == (pytest.approx(1), pytest.approx(1))
    assert metrics["files"][runs.label(method)]["missing"] == 0


def test_kitti_boxes_take_external_results(tmp_path):
    root = tiny_kitti.write_tracking(tmp_path)
    whole = np.zeros(tiny_kitti.SHAPE, np.uint8)
    whole[15:36, 30:61] = 255  # the whole label box of the far car
    for frame in tiny_kitti.FRAMES:
        path = tmp_path / "results" / tiny_kitti.SEQUENCE / "1017" / f"{frame:06d}.png"
        write_png(path, whole)
    names = ["visible", f"external:{tmp_path / 'results'}"]
    metrics = evaluate(Kitti(root, [tiny_kitti.SEQUENCE]), names, Setup())
    level = metrics["levels"]["2"]["methods"]
    assert level["external:results"]["iou_mean"] == pytest.approx(1.0)
    assert level["visible"]["iou_mean"] < 1.0
    assert metrics["files"]["external:results"]["missing"] > 0  # the near car has no results


@pytest.mark.parametrize(
    "names",
    [
        ["oracle:a.safetensors", "oracle:b.safetensors"],
        ["external:nowhere"],
        ["oracle"],
        ["savos:x"],
    ],
)
def test_methods_are_checked_before_anything_runs(fishbowl, names):
    with refused("methods"):
        evaluate(Fishbowl(fishbowl), names, Setup())


def test_weights_that_do_not_exist_are_named_before_anything_runs(fishbowl):
    pytest.importorskip("torch", reason="torch is not installed")
    with fails(WeightsError, "missing", "absent.safetensors"):
        evaluate(Fishbowl(fishbowl), ["oracle:absent.safetensors"], Setup())
