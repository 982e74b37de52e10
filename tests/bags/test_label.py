import dataclasses
import functools
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tiny_scene as scene
from pycocotools.coco import COCO
from tiny_weights import save_random
from typer.testing import CliRunner

from savos_model.backends.interface import BackendError
from savos_model.config import BackendConfig, RefineConfig
from savos_model.masks import look_at
from savos_ros.bags import fleet
from savos_ros.bags import label as module
from savos_ros.bags.fleet import label_bags
from savos_ros.bags.label import LABELS, bag_identity, refine_over
from savos_ros.bags.reader import BagFrames
from savos_ros.bags.recording import record
from savos_ros.bags.run import run_bag
from savos_ros.bags.settings import BagError, LabelOptions, RecordOptions, RunOptions
from savos_ros.cli.main import app
from savos_ros.messages.settings import InputConfig
from tests.bags import test_bags_bad_input as pairs
from tests.bags.test_bags_run import results
from tests.failing import fails, refused


@pytest.fixture
def options(tmp_path):
    path = save_random(tmp_path / "w.safetensors")
    return LabelOptions(BackendConfig(str(path), "onnx", threads=1))


def bags(folder, *counts):
    for number, count in enumerate(counts):
        record(scene.frames(count), count, folder / f"bag{number}", RecordOptions(truth=True))
    return [folder / f"bag{number}" for number in range(len(counts))]


def test_frames_without_labels_are_reported(tmp_path, options):
    entries = []
    for stamp in range(1, 7):
        entries.append((pairs.IMAGE, stamp, pairs.image(stamp, (40, 60))))
        if stamp != 3:
            entries.append((pairs.LABELS, stamp, pairs.labels(stamp, (40, 60))))
    bag = pairs.write_pairs(tmp_path / "bag", entries)
    for state in ("labelled", "kept"):
        (done,) = label_bags([bag], tmp_path / "out", options)
        assert (done.state, done.frames, done.text) == (state, 5, "")
        assert done.lost.startswith("5 of 6 frames labelled: no message of")


def labels(folder, name):
    return (folder / name / LABELS).read_bytes()


@pytest.mark.slow
def test_labels_read_by_pycocotools_are_the_refined_masks(tmp_path, options):
    (bag,) = bags(tmp_path, 12)
    (done,) = label_bags([bag], tmp_path / "out", options)
    assert (done.state, done.frames, done.text) == ("labelled", 12, "")
    refine = RefineConfig(enabled=True, window=100, stride=100)
    run_bag(bag, tmp_path / "run", RunOptions(options.backend, refine=refine, video=False))
    wanted = results(tmp_path / "run", "/savos/masks_refined")
    written = results(tmp_path / "out" / "bag0", "/savos/masks_refined")
    coco = COCO(tmp_path / "out" / "bag0" / LABELS)
    with BagFrames(bag) as frames:
        given = [{item.id: item for item in frame.frame.instances} for frame in frames]
    assert len(coco.imgs) == len(wanted) == len(written) == 12
    sources = set()
    for image, message, copy, instances in zip(
        coco.dataset["images"], wanted, written, given, strict=True
    ):
        entries = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert [entry["track_id"] for entry in entries] == [mask.id for mask in message.masks]
        assert [mask.id for mask in copy.masks] == [mask.id for mask in message.masks]
        for entry, mask in zip(entries, message.masks, strict=True):
            x, y, roi = mask.roi.x_offset, mask.roi.y_offset, mask.roi
            whole = np.zeros(scene.SHAPE, bool)
            whole[y : y + roi.height, x : x + roi.width] = (
                mask.mask.data.reshape(roi.height, roi.width) >= 128
            )
            assert np.array_equal(coco.annToMask(entry), whole)
            rows, columns = np.nonzero(whole)
            assert entry["bbox"] == [
                columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1,
            ]  # fmt: skip
            assert entry["area"] == whole.sum()
            visible = coco.annToMask({**entry, "segmentation": entry["visible_segmentation"]})
            if entry["source"] == "coasted":
                assert not visible.any() and entry["occlusion"] is None
            else:
                item = instances[entry["track_id"]]
                seen = look_at((item.box, item.mask), type(item.box)(0, 0, *scene.SHAPE[::-1]))
                assert np.array_equal(visible, seen)
                assert entry["occlusion"] == pytest.approx(mask.occlusion, abs=1e-4)
            assert entry["confidence"] == pytest.approx(mask.confidence, abs=1e-4)
            assert entry["category_id"] == int(mask.class_id)
            sources.add(entry["source"])
    assert "refined" in sources
    assert {c["name"] for c in coco.dataset["categories"]} == {"1", "2"}


@pytest.mark.slow
def test_finished_bags_are_kept_and_half_written_ones_redone(tmp_path, options, monkeypatch):
    first, second = bags(tmp_path, 6, 6)
    out = tmp_path / "out"
    label_bags([first], out, options)
    wanted = labels(out, "bag0")
    half = out / ".bag1.part"
    half.mkdir()
    (half / "labels.json").write_text("cut o")
    done = label_bags([first, second], out, options)
    assert [item.state for item in done] == ["kept", "labelled"]
    assert done[0].frames == 6 and labels(out, "bag0") == wanted
    assert not half.exists() and labels(out, "bag1")


@pytest.mark.slow
def test_labels_are_kept_wherever_bag_weights_and_labels_lie(tmp_path, options, monkeypatch):
    (bag,) = bags(tmp_path, 6)
    monkeypatch.chdir(tmp_path)
    near = BackendConfig("w.safetensors", "onnx", threads=1)
    assert label_bags([bag], Path("out"), LabelOptions(near))[0].state == "labelled"
    (job,) = fleet._jobs([bag], Path("out"), LabelOptions(near))
    assert job.options.backend.weights == str(tmp_path / "w.safetensors")
    (tmp_path / "away").mkdir()
    for name in ("bag0", "out", "w.safetensors"):
        (tmp_path / name).rename(tmp_path / "away" / name)
    far = BackendConfig("away/w.safetensors", "onnx", threads=2, engine_dir="engines")
    (kept,) = label_bags([tmp_path / "away" / "bag0"], tmp_path / "away" / "out", LabelOptions(far))
    assert (kept.state, kept.text) == ("kept", "")


def test_labels_of_another_bag_or_made_otherwise_are_refused(tmp_path, options):
    (bag,), out = bags(tmp_path, 6), tmp_path / "out"
    label_bags([bag], out, options)

    def refused(given, text, **changes):
        (item,) = label_bags([given], out, dataclasses.replace(options, **changes))
        assert item.state == "failed" and f"bag0 holds labels of {text}: remove it" in item.text

    refused(bags(tmp_path / "tuesday", 7)[0], "another bag")
    random = save_random(tmp_path / "w2.safetensors", seed=6)
    other = dataclasses.replace(options.backend, weights=str(random))
    refused(bag, "other weights", backend=other)
    refused(bag, "other settings", input=InputConfig(max_pixels=1_000_000))
    (out / "bag0" / "summary.json").write_text("{}")
    (item,) = label_bags([bag], out, options)
    assert "holds no labels, or those of another version" in item.text


def test_bags_of_one_size_and_time_differ_by_their_content(tmp_path):
    (bag,) = bags(tmp_path, 2)
    known = bag_identity(bag)
    assert bag_identity(next(bag.glob("*.mcap")))["files"] == known["files"]
    file = next(bag.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[len(data) // 4] ^= 1
    file.write_bytes(data)
    assert {**bag_identity(bag), "files": 0} == {**known, "files": 0} != known
    assert bag_identity(bag) != known


@pytest.mark.slow
def test_less_memory_keeps_what_is_finished_and_more_is_said(tmp_path, options):
    (bag,), out = bags(tmp_path, 30), tmp_path / "out"
    small, large = (dataclasses.replace(options, memory_mb=size) for size in (1, 100))
    label_bags([bag], out, small)
    (item,) = label_bags([bag], out, large)
    assert item.state == "failed" and "windows of 13 frames, 31 fit now: remove it" in item.text
    label_bags([bag], tmp_path / "large", large)
    for memory in (large, dataclasses.replace(large, memory_mb=200), small):
        assert label_bags([bag], tmp_path / "large", memory)[0].state == "kept"


def test_a_kept_bag_that_is_damaged_says_how_to_do_it_again(tmp_path, options):
    (bag,), out = bags(tmp_path, 4), tmp_path / "out"
    label_bags([bag], out, options)
    summary = json.loads((out / "bag0" / "summary.json").read_text())
    (out / "bag0" / "summary.json").write_text(json.dumps(summary | {"damage": "cut off"}))
    (kept,) = label_bags([bag], out, options)
    assert kept.text == f"cut off; then remove {out / 'bag0'} and give the command again"


@pytest.mark.slow
def test_a_failing_bag_is_reported_and_the_others_continue(tmp_path, options, monkeypatch):
    good, dying = bags(tmp_path, 6, 6)
    broken, empty = tmp_path / "broken", tmp_path / "empty"
    broken.mkdir()
    record([], 0, empty, RecordOptions())
    real = module.run_bag

    def run(path, *rest, **more):
        if path.name == "bag1":
            raise RuntimeError("the engine died")
        return real(path, *rest, **more)

    monkeypatch.setattr(module, "run_bag", run)
    done = label_bags([broken, dying, empty, good], tmp_path / "out", options)
    assert [item.state for item in done] == ["failed", "failed", "failed", "labelled"]
    assert "holds no data file" in done[0].text and "the engine died" in done[1].text
    assert "no topic for image" in done[2].text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".lock", "bag0"]


def test_an_engine_that_cannot_be_used_is_reported_by_its_text(tmp_path, options, monkeypatch):
    def refuse(*_, **__):
        raise BackendError("model.device cuda: no GPU")

    monkeypatch.setattr(module, "run_bag", refuse)
    (done,) = label_bags(bags(tmp_path, 2), tmp_path / "out", options)
    assert (done.state, done.text) == ("failed", "model.device cuda: no GPU")


@pytest.mark.slow
def test_worker_processes_make_the_same_labels(tmp_path, options):
    given = bags(tmp_path, 8, 5)
    here = label_bags(given, tmp_path / "here", options)
    there = label_bags(given, tmp_path / "there", options, processes=2)
    assert [item.frames for item in here] == [item.frames for item in there] == [8, 5]
    for name in ("bag0", "bag1"):
        assert labels(tmp_path / "here", name) == labels(tmp_path / "there", name)


def test_adapted_weights_are_used_where_they_do_no_worse(tmp_path, options, monkeypatch):
    pytest.importorskip("torch")
    from training.adapt import bag_bursts

    small = functools.partial(bag_bursts.AdaptConfig, batch=4, checked=8, bf16=False)
    monkeypatch.setattr(bag_bursts, "AdaptConfig", small)
    (bag,) = bags(tmp_path, 30)
    (done,) = label_bags([bag], tmp_path / "out", LabelOptions(options.backend, iterations=2))
    assert done.state == "labelled", done.text
    info = json.loads(labels(tmp_path / "out", "bag0"))["info"]
    decision = info["adaptation"].partition(":")[0]
    assert decision in ("accepted", "rejected")
    assert info["model"] == ("random+bag0" if decision == "accepted" else "random")
    (short,) = bags(tmp_path / "short", 5)
    label_bags([short], tmp_path / "short_out", LabelOptions(options.backend, iterations=2))
    info = json.loads(labels(tmp_path / "short_out", "bag0"))["info"]
    assert info["adaptation"].startswith("skipped: no track is seen for 8 frames")


@pytest.mark.slow
def test_a_bag_beyond_the_memory_goes_in_overlapping_windows(tmp_path, options):
    assert refine_over((375, 1242), 400, 2048).stride == refine_over((375, 1242), 400, 2048).window
    long = refine_over((1000, 2000), 400, 100)
    assert (long.window, long.stride) == (10, 5)
    (bag,) = bags(tmp_path, 30)
    (done,) = label_bags([bag], tmp_path / "out", LabelOptions(options.backend, memory_mb=1))
    assert refine_over(scene.SHAPE, 30, 1).window < 30 and done.frames == 30
    stamps = [i["stamp_ns"] for i in json.loads(labels(tmp_path / "out", "bag0"))["images"]]
    assert stamps == [scene.START_NS + n * scene.PERIOD_NS for n in range(30)]


def test_two_bags_of_one_name_and_two_writers_are_refused(tmp_path, options):
    from filelock import FileLock

    (bag,) = bags(tmp_path, 2)
    with fails(BagError, "names"):
        label_bags([bag, bag], tmp_path / "out", options)
    (tmp_path / "out").mkdir(exist_ok=True)
    with FileLock(tmp_path / "out" / ".lock"), fails(BagError, "busy"):
        label_bags([bag], tmp_path / "out", options)
    with refused("memory_mb", "bounds"):
        LabelOptions(memory_mb=0)


@pytest.mark.slow
def test_command_returns_1_when_something_went_wrong(tmp_path, options):
    (bag,) = bags(tmp_path, 4)
    given = ["label", str(bag), "--out", str(tmp_path / "out"), "--no-adapt"]
    given += ["--weights", options.backend.weights, "--threads", "1"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0 and "labelled" in done.output, done.output
    again = CliRunner().invoke(app, [*given, str(tmp_path / "missing")])
    assert again.exit_code == 1 and "kept" in again.output
    assert "missing does not exist" in again.output


def test_a_ray_cluster_makes_the_same_labels(tmp_path, options):
    pytest.importorskip("ray", reason="ray is not installed")
    given = bags(tmp_path, 8, 5)
    label_bags(given, tmp_path / "here", options)
    done = label_bags([*given, tmp_path / "none"], tmp_path / "there", options, ray="local")
    assert [item.state for item in done] == ["labelled", "labelled", "failed"]
    for name in ("bag0", "bag1"):
        assert labels(tmp_path / "here", name) == labels(tmp_path / "there", name)


def test_a_cluster_without_room_is_refused():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 1.0}},
    ]
    fleet._check_room(nodes, {"CPU": 2, "GPU": 0})
    with fails(BagError, "no_room", "none of the 1 ", "4 CPU:", "--threads"):
        fleet._check_room(nodes, {"CPU": 4, "GPU": 0})
    with fails(BagError, "no_room"):
        fleet._check_room(nodes, {"CPU": 1, "GPU": 1})


def test_without_ray_the_error_says_what_to_install(tmp_path, options, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    (bag,) = bags(tmp_path, 2)
    with fails(BagError, "no_ray"):
        label_bags([bag], tmp_path / "out", options, ray="auto")


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_in_one_line(tmp_path, options, monkeypatch):
    given = bags(tmp_path, 3, 3)
    monkeypatch.setattr(fleet, "label_bag", _die)
    with fails(BagError, "worker_ended"):
        label_bags(given, tmp_path / "out", options, processes=2)


def _die(job, tick):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("adapt", ["--no-adapt", "--adapt"])
def test_the_command_gives_ids_with_track(tmp_path, options, adapt):
    (bag,) = bags(tmp_path, 6)
    given = ["label", str(bag), "--out", str(tmp_path / "out"), adapt, "--track"]
    given += ["--weights", options.backend.weights, "--threads", "1"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    document = json.loads(labels(tmp_path / "out", bag.name))
    assert {entry["track_id"] for entry in document["annotations"]} == {"1", "2"}
