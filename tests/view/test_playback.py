"""Bags in the page: recorded masks or those of the model, played, paused and searched."""

import re
import shutil
import threading
import time

import numpy as np
import pytest
import tiny_scene as scene

from savos_ros.bags.recording import record
from savos_ros.bags.run import run_bag
from savos_ros.bags.settings import BagError, RecordOptions, RunOptions
from savos_ros.bags.types import BagKit
from savos_ros.bags.writer import BagWriter
from savos_ros.messages import kit as message_kit
from savos_ros.view.playback import BagSource, Spool
from savos_ros.view.recording import Opener
from savos_ros.view.source import Sink
from tests.failing import fails
from tests.view.fake_source import objects, unpacked

FRAMES = 12


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("view") / "bag"
    record(scene.frames(FRAMES), FRAMES, path, RecordOptions(truth=True))
    return path


def opener(path, **options):
    """An opener whose model needs no weights."""
    made = Opener(path, **options)
    made.__dict__["_backend"] = scene.EchoBackend()
    return made


class Viewer:
    """A source with one page that takes everything."""

    def __init__(self, made, limit=1 << 30, paused=False):
        self._paused = paused
        self.frames, self.came = [], threading.Condition()
        self.source = BagSource(made, Spool(limit))
        self.source.start(Sink(self._take, lambda s: True, lambda: True))

    def _take(self, packet):
        with self.came:
            self.frames.append(unpacked(packet))
            self.came.notify_all()

    def __enter__(self):
        if self._paused:
            self.ask("pause")
        self.source.watch(True)
        return self

    def __exit__(self, *_):
        self.source.close()

    def ask(self, do, **value):
        self.source.ask({"do": do, **value})

    def until(self, condition):
        with self.came:
            assert self.came.wait_for(lambda: condition(self.numbers), 30), self.numbers

    @property
    def numbers(self):
        return [facts["frame"] for facts, _, _ in self.frames]


def write_results(path, count=4, topics=("/savos/masks",), shape=(48, 80), skip=()):
    """A bag with images and recorded masks; `skip` are frames without masks."""
    kit = BagKit()
    with BagWriter(path) as bag:
        bag.add_topic("/camera/image_raw", "sensor_msgs/Image")
        for topic in topics:
            bag.add_topic(topic, "savos_ros/AmodalMaskArray")
        for index in range(count):
            stamp = scene.START_NS + index * scene.PERIOD_NS
            head = message_kit.header(kit, stamp, "camera")
            pixels = np.full((48, 80, 3), 10 * index, np.uint8)
            bag.write("/camera/image_raw", stamp, message_kit.image(kit, head, pixels, "rgb8"))
            for topic in topics if index not in skip else ():
                array = message_kit.amodal_array(kit, head, shape, objects(topic), "recorded")
                bag.write(topic, stamp, array)
    return path


def test_frames_are_those_of_savos_run(bag, tmp_path):
    want = []

    def watch(topic, item, found, times):
        want.append([(o.id, round(o.occlusion, 4), o.source.name.lower()) for o in found])

    run_bag(bag, tmp_path / "out", RunOptions(video=False), scene.EchoBackend(), watch=watch)
    with Viewer(opener(bag)) as viewer:
        viewer.ask("speed", value=10)
        viewer.until(lambda numbers: len(numbers) == FRAMES)
        got = [
            [(t["id"], t["hidden"], t["source"]) for t in facts["tracks"]]
            for facts, _, _ in viewer.frames
        ]
        status = viewer.source.status()
    known = [[o for o in frame if o[2] != "coasted"] for frame in want]
    assert [[t for t in frame if t[2] != "coasted"] for frame in got] == known
    assert status["message"] == "masks computed by echo on echo"
    assert {"latency_ms.step.p50", "latency_ms.draw.p95"} <= status["values"].keys()


def test_it_plays_to_the_end_in_order_stops_there_and_plays_again(bag):
    with Viewer(opener(bag)) as viewer:
        viewer.ask("speed", value=10)
        viewer.until(lambda numbers: numbers == list(range(FRAMES)))
        until(lambda: not viewer.source.status()["playing"])
        assert viewer.source.status()["frames"] == FRAMES
        viewer.ask("play")
        viewer.until(lambda numbers: numbers == 2 * list(range(FRAMES)))


def test_it_keeps_the_pace_of_the_stamps(bag):
    with Viewer(opener(bag)) as viewer:
        viewer.until(lambda numbers: len(numbers) >= 2)
        begun = time.monotonic()
        first = len(viewer.numbers)
        viewer.until(lambda numbers: len(numbers) >= first + 5)
        assert time.monotonic() - begun > 0.3  # five frames of 100 ms, the first of them begun


def test_nothing_is_completed_while_no_one_looks(bag):
    viewer = Viewer(opener(bag))
    try:
        time.sleep(0.3)
        assert viewer.frames == [] and viewer.source.status()["ready"] == 0
        viewer.source.watch(True)
        viewer.until(lambda numbers: len(numbers) >= 1)
        viewer.source.watch(False)
        time.sleep(0.2)
        count = len(viewer.numbers)
        time.sleep(0.4)
        assert len(viewer.numbers) == count
    finally:
        viewer.source.close()


def test_pause_seek_and_step(bag):
    with Viewer(opener(bag), paused=True) as viewer:
        viewer.until(lambda numbers: numbers[-1:] == [0])
        viewer.ask("seek", value=7)
        viewer.until(lambda numbers: numbers[-1:] == [7])
        assert viewer.source.status()["ready"] == 8  # all before it, none behind it
        viewer.ask("step", value=-1)
        viewer.until(lambda numbers: numbers[-1:] == [6])
        viewer.ask("step", value=1)
        viewer.until(lambda numbers: numbers[-1:] == [7])
        viewer.ask("seek", value=10**9)
        viewer.until(lambda numbers: numbers[-1:] == [FRAMES - 1])
        viewer.ask("seek", value=-5)
        viewer.until(lambda numbers: numbers[-1:] == [0])
        assert viewer.numbers == [0, 7, 6, 7, FRAMES - 1, 0]


def test_a_frame_is_the_same_before_and_after_a_seek_and_beyond_the_room_on_disk(bag):
    def frames(limit):
        with Viewer(opener(bag), limit, paused=True) as viewer:
            for number in (3, 8, 3):
                viewer.ask("seek", value=number)
                viewer.until(lambda numbers, n=number: numbers[-1:] == [n])
            spool = viewer.source._spool
            return viewer.frames[-3:], spool.first, spool.end

    (kept, first, end), (redone, limited, _) = frames(1 << 30), frames(60_000)
    assert kept == redone and kept[0] == kept[2]
    assert (first, end) == (0, 9) and limited > 0


def test_the_visible_masks_can_be_compared(bag):
    with Viewer(opener(bag), paused=True) as viewer:
        viewer.ask("seek", value=8)  # half of one square is hidden by then
        viewer.until(lambda numbers: numbers[-1:] == [8])
        _, amodal, visible = viewer.frames[-1]
    assert amodal[:2] == visible[:2] == b"\xff\xd8" and len(visible) > 1000


@pytest.mark.parametrize(
    "said",
    [{"do": "seek"}, {"do": "seek", "value": "1"}, {"do": "seek", "value": True},
     {"do": "speed", "value": 1e9}, {"do": "speed", "value": float("nan")}, {"do": "fly"}, {}],
)  # fmt: skip
def test_nonsense_is_refused(bag, said):
    with (
        Viewer(opener(bag)) as viewer,
        pytest.raises(ValueError, match=re.escape(repr(said.get("do")))),
    ):
        viewer.source.ask(said)


def test_recorded_masks_are_shown_as_they_are_and_losses_are_counted(tmp_path):
    path = write_results(tmp_path / "results", topics=("/a/masks", "/a/masks_refined"), skip={1})
    with Viewer(Opener(path)) as viewer:
        viewer.until(lambda numbers: numbers == [0, 1, 2])
        until(lambda: not viewer.source.status()["playing"])
        status = viewer.source.status()
    facts = [facts for facts, _, _ in viewer.frames]
    assert [item["stamp"] for item in facts] == ["5.000", "5.200", "5.300"]
    assert facts[0]["model"] == "recorded" and facts[0]["tracks"][0]["id"] == "/a/masks"
    assert status["message"] == "masks recorded on /a/masks"
    assert (status["values"]["drops.image_unpaired"], status["frames"]) == ("1", 3)


def test_another_topic_of_recorded_masks_is_shown_on_demand(tmp_path):
    path = write_results(tmp_path / "results", topics=("/a/masks", "/b/masks_refined"))
    with Viewer(Opener(path, "/b/masks_refined")) as viewer:
        viewer.until(lambda numbers: len(numbers) >= 1)
    assert viewer.frames[0][0]["tracks"][0]["id"] == "/b/masks_refined"
    with fails(BagError, "no_topic"):
        Viewer(Opener(path, "/c/masks"))


def test_masks_of_another_image_size_are_no_frames_and_the_page_says_so(tmp_path):
    path = write_results(tmp_path / "results", shape=(50, 80))
    with Viewer(Opener(path)) as viewer:
        until(lambda: viewer.source.status()["state"] == "failed")
        status = viewer.source.status()
    assert status["values"]["drops.size_mismatch"] == "4"
    assert "no frame of this bag can be shown" in status["message"] and status["level"] == 2


@pytest.mark.parametrize("compute", [False, True])
def test_the_page_says_that_messages_of_a_bag_are_missing(tmp_path, bag, compute):
    path = tmp_path / "bag"
    if compute:
        shutil.copytree(bag, path)
    else:
        write_results(path)
    metadata = path / "metadata.yaml"
    counts = re.sub(r"(\s+message_count: )\d+", r"\g<1>99", metadata.read_text())
    metadata.write_text(counts)
    with Viewer(opener(path, compute=compute)) as viewer:
        viewer.ask("speed", value=10)
        until(lambda: not viewer.source.status()["playing"])
        status = viewer.source.status()
    assert status["level"] == 1 and "announces 99 messages" in status["message"]


def test_a_bag_that_cannot_be_shown_ends_the_start(tmp_path):
    with fails(BagError, "missing"):
        Viewer(opener(tmp_path / "nothing"))


def test_a_full_disk_is_named_with_the_remedy(monkeypatch):
    spool = Spool()

    class Full:
        def seek(self, place):
            pass

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "_file", Full())
    with pytest.raises(OSError, match="TMPDIR"):
        spool.append(1, b"a frame")


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
