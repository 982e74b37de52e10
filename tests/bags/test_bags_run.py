import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_scene as scene
from rosbags.highlevel import AnyReader
from tiny_weights import save_random
from typer.testing import CliRunner

from savos_model.config import BackendConfig, ComposeConfig, RefineConfig, StreamConfig
from savos_model.stream.stream import STAGES
from savos_model.stream.video import Online, Setup
from savos_model.types import Frame, Source
from savos_ros.bags.ids import renamed
from savos_ros.bags.reader import BagFrame
from savos_ros.bags.recording import SourceFrame, record
from savos_ros.bags.run import run_bag
from savos_ros.bags.settings import BagError, RecordOptions, RunOptions
from savos_ros.bags.video import VideoWriter
from savos_ros.cli.main import app
from savos_ros.messages.settings import InputConfig
from tests.failing import fails

WHOLE_RUN = RefineConfig(enabled=True, window=100, stride=4)


def make(path, count=12, **options):
    record(scene.frames(count), count, path, RecordOptions(**({"truth": True} | options)))
    return path


def results(path, topic="/savos/masks"):
    with AnyReader([path / "result"]) as reader:
        return [
            reader.deserialize(raw, connection.msgtype)
            for connection, _, raw in reader.messages()
            if connection.topic == topic
        ]


def stamps(messages):
    return [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in messages]


@pytest.fixture
def bag(tmp_path):
    return make(tmp_path / "bag")


def test_every_frame_is_answered_with_its_header(bag, tmp_path):
    summary = run_bag(bag, tmp_path / "out", RunOptions(), scene.EchoBackend())
    messages = results(tmp_path / "out")
    assert summary["frames_in"] == summary["frames_out"] == len(messages) == 12
    for index, message in enumerate(messages):
        stamp = message.header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == scene.START_NS + index * scene.PERIOD_NS
        assert (message.header.frame_id, message.height, message.width) == ("camera", *scene.SHAPE)
        assert message.model == "echo"
        given = [item.id for item in scene.frame(index).instances]
        assert [item.id for item in message.masks if item.source != 3] == given
        for item in message.masks:
            assert item.mask.data.size == item.roi.width * item.roi.height
            assert set(np.unique(item.mask.data)) <= {0, 254, 255}  # outside, hidden, visible


def test_two_runs_are_equal_to_the_bit(bag, tmp_path):
    for name in ("a", "b"):
        run_bag(bag, tmp_path / name, RunOptions(), scene.EchoBackend())
    for file in ("result/result.mcap", "overlay.mp4"):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("a", "b"))
        assert first == second, file


def test_an_error_while_results_are_written_ends_the_run_and_leaves_none(bag, tmp_path):
    def watch(*_):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        run_bag(bag, tmp_path / "out", RunOptions(), scene.EchoBackend(), watch=watch)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_the_shipped_engine_is_equal_from_run_to_run_too(bag, tmp_path):
    weights = save_random(tmp_path / "w.safetensors")
    options = RunOptions(BackendConfig(str(weights), "onnx"), video=False, refine=WHOLE_RUN)
    for name in ("a", "b"):
        summary = run_bag(bag, tmp_path / name, options)
    assert (summary["backend"], summary["frames_out"]) == ("onnx", 12)
    assert summary["objects_out"]["forward"] > 0
    first, second = ((tmp_path / n / "result" / "result.mcap").read_bytes() for n in ("a", "b"))
    assert first == second


def test_refined_masks_come_once_per_frame_in_order(bag, tmp_path):
    refine = RefineConfig(enabled=True, window=5, stride=2)
    summary = run_bag(bag, tmp_path / "out", RunOptions(refine=refine), scene.EchoBackend())
    messages = results(tmp_path / "out", "/savos/masks_refined")
    assert stamps(messages) == stamps(results(tmp_path / "out"))
    sources = [{item.source for item in message.masks} for message in messages]
    assert sources[:-1] == [{Source.REFINED}] * 11 and Source.REFINED not in sources[-1]
    with AnyReader([tmp_path / "out" / "result"]) as reader:
        came = [(c.topic[-7:], t) for c, t, _ in reader.messages()]
    first = [topic for topic, _ in came].index("refined")
    assert first == 5 and came[first][1] >= came[4][1], "it comes with the frame it waited for"
    assert set(summary["miou"]) == {"ours", "visible", "convex", "refined"}
    plain = run_bag(bag, tmp_path / "plain", RunOptions(), scene.EchoBackend())
    assert plain["miou"]["ours"] == summary["miou"]["ours"], "the forward result is as ever"


def test_refined_masks_do_not_cross_a_restart(tmp_path):
    given = [(5.0, 0), (5.1, 1), (1.0, 2), (1.1, 3)]
    frames = [scene.frame(index) for _, index in given]
    moved = [
        SourceFrame(round(stamp * 1e9), item.image, item.instances)
        for (stamp, _), item in zip(given, frames, strict=True)
    ]
    write_with_log_times(tmp_path / "bag", moved)
    run_bag(tmp_path / "bag", tmp_path / "out", RunOptions(refine=WHOLE_RUN), scene.EchoBackend())
    messages = results(tmp_path / "out", "/savos/masks_refined")
    assert stamps(messages) == [round(stamp * 1e9) for stamp, _ in given]
    sources = [Source.REFINED in {item.source for item in message.masks} for message in messages]
    assert sources == [True, False, True, False]


@pytest.mark.slow
def test_a_window_over_the_whole_bag_equals_the_offline_evaluation(bag, tmp_path):
    weights = BackendConfig(str(save_random(tmp_path / "w.safetensors")), "onnx")
    stream = StreamConfig(compose=ComposeConfig(mask_values="probability"))
    run_bag(bag, tmp_path / "out", RunOptions(weights, stream, WHOLE_RUN, video=False))
    offline = Online(Setup(weights, stream, "bidirectional")).run(
        Frame(item.stamp_ns, item.image, item.instances) for item in scene.frames(12)
    )
    messages = results(tmp_path / "out", "/savos/masks_refined")
    for message, objects in zip(messages, offline, strict=True):
        for mask, wanted in zip(message.masks, objects, strict=True):
            assert (mask.id, mask.source) == (wanted.id, wanted.source)
            values = mask.mask.data.reshape(wanted.mask.shape).astype(int)
            assert np.abs(values - wanted.mask).max() <= 1  # of 255, by rounding
            assert mask.occlusion == pytest.approx(wanted.occlusion, abs=1e-5)


@pytest.mark.slow
def test_bags_need_neither_ros_nor_torch(bag, tmp_path):
    code = """if True:
        import sys
        for name in ("rclpy", "torch"):
            sys.modules[name] = None
        import tiny_scene
        from savos_ros.bags import convert, play
        from savos_ros.bags.run import run_bag
        from savos_ros.bags.settings import RunOptions
        from savos_ros.node.ros_start import RosStartError
        backend = tiny_scene.EchoBackend()
        print(run_bag(sys.argv[1], sys.argv[2], RunOptions(), backend)["frames_out"])
        try:
            play.play(sys.argv[1], play.PlayOptions())
        except RosStartError as error:
            print(error)
    """
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), str(root / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, str(bag), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    frames, error = done.stdout.splitlines()
    assert frames == "12"
    assert "rclpy is missing" in error


@pytest.mark.parametrize(("info", "share"), [({"enlarge": "3.0"}, 1 / 9), ({}, 1 / 4)])
def test_crops_are_as_large_as_the_weights_learned_them(bag, tmp_path, info, share):
    class Seeing(scene.EchoBackend):
        weights = replace(scene.EchoBackend.weights, info=info)
        shares = ()

        def step(self, patches, h, c):
            self.shares += tuple((patches[:, 3] > 0).mean((1, 2)))
            return super().step(patches, h, c)

    backend = Seeing()
    options = RunOptions(video=False, max_frames=2, refine=WHOLE_RUN)
    run_bag(bag, tmp_path / "out", options, backend)
    assert backend.shares and np.allclose(backend.shares, share, atol=0.03)


def test_summary_counts_times_and_scores(bag, tmp_path):
    summary = run_bag(bag, tmp_path / "out", RunOptions(), scene.EchoBackend())
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert summary["masks_in"] == sum(len(item.instances) for item in scene.frames(12))
    assert sum(summary["objects_out"].values()) >= summary["masks_in"]
    assert summary["objects_out"]["visible"] == 2
    assert (summary["refused"], summary["damage"]) == ({}, "")
    assert set(summary["time_ms"]) == {*STAGES, "step"}
    for row in summary["time_ms"].values():
        assert 0 <= row["p50"] <= row["p95"] <= row["p99"]
    miou = summary["miou"]
    assert set(miou) == {"ours", "visible", "convex"}
    assert miou["visible"]["n"] > 0
    # nothing of the visible masks lies in a hidden region; a hull of the cut square stays cut
    assert miou["visible"]["occluded"] < 0.01
    assert 0 < miou["ours"]["full"] <= 1


def test_no_scores_without_truth(tmp_path):
    make(tmp_path / "bag", truth=False)
    summary = run_bag(tmp_path / "bag", tmp_path / "out", RunOptions(), scene.EchoBackend())
    assert summary["miou"] is None


def test_max_frames_and_no_video(bag, tmp_path):
    options = RunOptions(max_frames=5, video=False)
    summary = run_bag(bag, tmp_path / "out", options, scene.EchoBackend())
    assert summary["frames_in"] == summary["frames_out"] == 5
    assert len(results(tmp_path / "out")) == 5
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["result", "summary.json"]


def test_results_are_replaced_only_with_force(bag, tmp_path):
    run_bag(bag, tmp_path / "out", RunOptions(max_frames=2), scene.EchoBackend())
    with fails(BagError, "taken"):
        run_bag(bag, tmp_path / "out", RunOptions(), scene.EchoBackend())
    (tmp_path / "out" / "report.html").write_text("of the earlier run")
    run_bag(bag, tmp_path / "out", RunOptions(force=True), scene.EchoBackend())
    assert len(results(tmp_path / "out")) == 12
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {"result", "overlay.mp4", "summary.json"}
    run_bag(bag, tmp_path / "out", RunOptions(video=False, force=True), scene.EchoBackend())
    assert {path.name for path in (tmp_path / "out").iterdir()} == there - {"overlay.mp4"}


def test_failed_run_leaves_no_results(bag, tmp_path):
    class Broken(scene.EchoBackend):
        def step(self, patches, h, c):
            raise RuntimeError("the engine died")

    with pytest.raises(RuntimeError, match="the engine died"):
        run_bag(bag, tmp_path / "out", RunOptions(), Broken())
    assert list((tmp_path / "out").iterdir()) == []


def test_time_that_falls_back_resets_and_continues(tmp_path):
    stamps = [5.0, 5.1, 1.0, 1.1]
    frames = [scene.frame(index) for index in range(4)]
    with_stamps = [
        SourceFrame(round(stamp * 1e9), item.image, item.instances)
        for stamp, item in zip(stamps, frames, strict=True)
    ]
    write_with_log_times(tmp_path / "bag", with_stamps)
    summary = run_bag(tmp_path / "bag", tmp_path / "out", RunOptions(), scene.EchoBackend())
    got = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in results(tmp_path / "out")]
    assert got == pytest.approx(stamps)
    assert summary["resets"] == {"time went back": 1}


def write_with_log_times(path, frames):
    """Write frames whose stamps do not ascend, at ascending times of the bag."""
    from savos_ros.bags.types import BagKit
    from savos_ros.bags.writer import BagWriter
    from savos_ros.messages import kit as message_kit

    kit = BagKit()
    with BagWriter(path) as bag:
        bag.add_topic("/camera/image_raw", "sensor_msgs/Image")
        bag.add_topic("/tracker/masks", "savos_ros/InstanceMaskArray")
        for number, item in enumerate(frames):
            head = message_kit.header(kit, item.stamp_ns, "camera")
            bag.write("/camera/image_raw", number, message_kit.image(kit, head, item.image, "bgr8"))
            masks = message_kit.instance_array(kit, head, scene.SHAPE, item.instances)
            bag.write("/tracker/masks", number, masks)


def test_image_size_that_changes(tmp_path):
    frames = [
        SourceFrame(
            index * scene.PERIOD_NS, np.full((48 + 16 * (index > 2), 64, 3), 9, np.uint8), []
        )
        for index in range(6)
    ]
    record(frames, 6, tmp_path / "bag", RecordOptions())
    summary = run_bag(tmp_path / "bag", tmp_path / "out", RunOptions(), scene.EchoBackend())
    assert summary["frames_out"] == 6
    assert summary["resets"] == {"image size changed": 1}


def test_video_keeps_the_pace_and_odd_sizes(tmp_path):
    with VideoWriter(tmp_path / "v.mp4") as video:
        for index in range(8):
            image = np.full((37, 51, 3), 30 * index, np.uint8)
            video.write(index * 100_000_000, image)
    assert video.frames == 8
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    levels = []
    while True:
        good, image = capture.read()
        if not good:
            break
        assert image.shape == (38, 52, 3)
        levels.append(image.mean())
    assert np.allclose(levels, 30 * np.arange(8), atol=6)
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10, rel=0.15)


def test_empty_or_failed_video_leaves_no_file(tmp_path):
    with VideoWriter(tmp_path / "none.mp4"):
        pass
    with pytest.raises(ValueError, match="stop"), VideoWriter(tmp_path / "cut.mp4") as video:
        video.write(0, np.zeros((20, 20, 3), np.uint8))
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_names_that_are_no_utf_8_go_through_every_command(tmp_path):
    bag, out = (tmp_path / os.fsdecode(name) for name in (b"bag\xff", b"out\xfe"))
    record(scene.frames(3), 3, bag, RecordOptions())
    weights = save_random(tmp_path / "w.safetensors")
    options = ["--out", str(out), "--weights", str(weights), "--report"]
    start = "import sys; from savos_ros.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", start, "run", str(bag), *options],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        cwd=Path(__file__).resolve().parents[2],
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\\udcfe" in done.stdout
    assert json.loads((out / "summary.json").read_text())["frames_out"] == 3
    assert (out / "report.html").is_file() and (out / "overlay.mp4").is_file()


def test_masks_may_come_without_ids(tmp_path):
    """The ids of every frame mean nothing: those given instead stay, and the truth follows them."""
    given = scene.frames(12)
    for number, one in enumerate(given):
        names = {item.id: str(100 * number + int(item.id) % 999) for item in one.instances}
        change = {
            key: [replace(item, id=names.get(item.id, item.id)) for item in getattr(one, key)]
            for key in ("instances", "truth")
        }
        given[number] = replace(one, **change)
    record(given, 12, tmp_path / "bag", RecordOptions("instance_masks", truth=True))
    options = RunOptions(input=InputConfig(track=True), refine=WHOLE_RUN, video=False)
    summary = run_bag(tmp_path / "bag", tmp_path / "out", options, scene.EchoBackend())
    plain = run_bag(
        make(tmp_path / "known"),
        tmp_path / "with",
        RunOptions(refine=WHOLE_RUN, video=False),
        scene.EchoBackend(),
    )
    for topic in ("/savos/masks", "/savos/masks_refined"):
        for message in results(tmp_path / "out", topic):
            assert {m.id: m.class_id for m in message.masks} == {"1": "1", "2": "2"}
    assert summary["objects_out"] == plain["objects_out"] and not summary["masks_skipped"]
    assert summary["miou"] == plain["miou"] and plain["miou"]["ours"]["n"] > 0


def test_whole_objects_without_a_mask_keep_no_id_of_another():
    seen = scene.frame(3)
    masks = [replace(seen.instances[0], id="2")]
    item = BagFrame(
        Frame(0, seen.image, masks), "camera", [replace(t, id="1") for t in seen.truth[:1]] + masks
    )
    named = renamed(item, replace(item.frame, instances=[replace(masks[0], id="1")]))
    assert [t.id for t in named.truth] == ["unseen 1", "1"]


def test_the_command_gives_ids_with_track(bag, tmp_path):
    weights, out = save_random(tmp_path / "w.safetensors"), tmp_path / "out"
    given = ["run", str(bag), "--out", str(out), "--no-video", "--weights", str(weights)]
    done = CliRunner().invoke(app, [*given, "--max-frames", "3", "--track"])
    assert done.exit_code == 0, done.output
    found = [{m.id: m.class_id for m in message.masks} for message in results(out)]
    assert found == [{"1": "1", "2": "2"}] * 3
