"""Faults of camera and tracker on a frame's way, without DDS: what comes in is accounted for."""

import numpy as np
import pytest

from savos_model.stream.stream import AmodalStream
from savos_model.types import Box, Instance, Source
from savos_ros.bags.types import BagKit
from savos_ros.messages import settings
from savos_ros.messages.conversions import stamp_ns
from savos_ros.messages.kit import header, image, instance_array
from savos_ros.node.engine import Engine
from savos_ros.node.pipeline import Frameline
from savos_ros.node.sync import StampJoiner
from tests.tiny_scene import EchoBackend

PERIOD_NS, START_NS = 100_000_000, 10**12
SHAPE = (96, 160)
CHANNELS = ("image", "instances")
KIT = BagKit()


class RememberingBackend(EchoBackend):
    """Its recurrent state counts the steps of a track."""

    def step(self, patches, h, c):
        return super().step(patches, h + 1, c)


class Plant:
    """Joiner, worker and pipeline as the node connects them; the test is the executor."""

    def __init__(self, **parameters):
        it = settings.build(parameters)
        self.stream = AmodalStream(RememberingBackend(), it.stream)
        self.answers, self.lines, self.sent = {}, [], 0
        self.closed, self.extras = False, lambda: None
        self.joiner = StampJoiner(CHANNELS, it.input.pair_buffer)
        self.line = Frameline.build(Engine(self.stream, "echo", "for tests"), it, self, self)
        self.line.start()
        self.health, self.idle = self.line.health, self.line.idle

    def publish_masks(self, head, shape, model, objects, period_s):
        if self.closed:
            raise RuntimeError("publisher's context is invalid")
        self.answers[(stamp_ns(head) - START_NS) // PERIOD_NS] = (shape, objects)

    def publish_extras(self, head, pixels, order, objects):
        self.extras()

    def publish_refined(self, head, shape, model, objects, period_s):
        raise AssertionError("refinement is off")

    def open(self):
        return not self.closed

    def warning(self, text):
        self.lines.append(text)

    error = info = warning

    def put(self, channel, index, pixels, encoding):
        """One image comes in; an answer that it allows is waited for."""
        self.send(channel, index, lambda head: image(KIT, head, pixels, encoding))

    def masks(self, index, instances):
        """An InstanceMaskArray comes in."""
        self.send("instances", index, lambda head: instance_array(KIT, head, SHAPE, instances))

    def send(self, channel, index, make):
        self.sent += 1
        head = header(KIT, START_NS + index * PERIOD_NS, "camera")
        joined = self.joiner.add(channel, stamp_ns(head), make(head))
        if joined is not None:
            self.line.put(joined)
            assert self.idle.wait(30)

    def image(self, index, shape=SHAPE, encoding="bgr8"):
        channels = () if encoding.startswith("mono") else (3,)
        self.put("image", index, picture((*shape, *channels), encoding), encoding)

    def labels(self, index, labels=None, encoding="16UC1"):
        self.put("instances", index, one_object() if labels is None else labels, encoding)

    def frame(self, index, labels=None, encoding="bgr8"):
        labels = one_object() if labels is None else labels
        self.image(index, labels.shape, encoding)
        self.labels(index, labels)

    def close(self):
        """End, and see that every message was answered, dropped or left over with a count."""
        assert self.line.stop()
        self.joiner.clear()
        health = self.health
        lost = sum(n for reason, n in health.drops.items() if reason != "extras_failed")
        assert health.frames_in == health.frames_out + lost
        assert self.sent == 2 * health.frames_in + sum(self.joiner.losses.values())
        assert health.frames_out == len(self.answers)


def picture(shape, encoding):
    kind = np.uint16 if encoding == "mono16" else np.uint8
    return np.random.default_rng(0).integers(0, 255, shape, kind)


def one_object(label=1001, left=20, shape=SHAPE):
    labels = np.zeros(shape, np.uint16)
    labels[30:70, left : left + 40] = label
    return labels


@pytest.fixture
def plant():
    made = []

    def make(**parameters):
        made.append(Plant(**parameters))
        return made[-1]

    yield make
    for item in made:
        item.close()


def sources(plant, index):
    return {item.id: item.source for item in plant.answers[index][1]}


def test_a_camera_that_drops_out_costs_its_frames_and_no_track(plant):
    it = plant()
    for index in range(12):
        if index not in (3, 4, 8):
            it.image(index)
        it.labels(index)
    assert sorted(it.answers) == [0, 1, 2, 5, 6, 7, 9, 10, 11]
    assert it.joiner.losses == {"instances_unpaired": 3}
    assert sources(it, 5) == {"1001": Source.FORWARD}, "300 ms are bridged"
    assert it.health.stream_resets == 0


@pytest.mark.parametrize("jump", [40, 36_000, -300, -36_000], ids=str)
def test_pauses_and_jumps_of_the_clock_restart_the_tracks(plant, jump):
    it = plant()
    for index in (0, 1, 2, 3 + jump, 4 + jump, 5 + jump):
        it.frame(index)
    assert list(it.answers) == [0, 1, 2, 3 + jump, 4 + jump, 5 + jump]
    assert sources(it, 2) == sources(it, 5 + jump) == {"1001": Source.FORWARD}
    assert it.stream.tracks.get("1001").age == 2, "frames after the first one since the jump"
    assert it.health.stream_resets == 1
    assert it.joiner.restarts == (jump < 0) and not it.joiner.losses


def test_size_and_encoding_change_in_flight(plant):
    it = plant()
    small = (48, 80)
    for index, encoding in enumerate(("bgr8", "rgb8", "bgra8", "mono8", "mono16", "bgr8")):
        channels = {"bgra8": (4,), "mono8": (), "mono16": ()}.get(encoding, (3,))
        it.put("image", index, picture((*SHAPE, *channels), encoding), encoding)
        it.labels(index)
        assert index == 0 or sources(it, index) == {"1001": Source.FORWARD}
    it.labels(6, one_object().astype(np.int32), "32SC1")
    it.image(6)
    it.image(7, small)  # the tracker still sends the old size
    it.labels(7)
    it.frame(8, one_object(shape=small))
    it.frame(9, one_object(shape=small))
    assert 7 not in it.answers and it.health.drops == {"size_mismatch": 1}
    assert it.answers[8][0] == small and it.health.stream_resets == 1
    assert sources(it, 9) == {"1001": Source.FORWARD}


def test_extras_that_fail_are_counted_and_cost_no_track(plant):
    it = plant()
    it.frame(0)
    it.extras = lambda: [][0]
    it.frame(1)
    it.extras = lambda: None
    it.frame(2)
    assert sources(it, 2) == {"1001": Source.FORWARD} and it.health.frames_out == 3
    assert it.health.drops == {"extras_failed": 1}
    assert it.lines[0].startswith("extras_failed: ")


def test_a_signal_during_a_frame_logs_nothing():
    it = Plant()
    it.frame(0)
    it.closed = True  # rclpy shuts the context down before the node can stop its worker
    it.frame(1)
    assert it.line.stop() and not it.lines and not it.health.drops


def test_three_hundred_ids_are_all_published(plant):
    labels = np.zeros((240, 320), np.uint16)
    for k in range(300):
        y, x = divmod(k, 20)
        labels[16 * y : 16 * y + 15, 16 * x : 16 * x + 15] = k + 1
    it = plant()
    for index in range(3):
        it.frame(index, labels)
    assert [len(objects) for _, objects in it.answers.values()] == [300] * 3
    found = list(sources(it, 2).values())
    limit = settings.NodeSettings().tracks.max_tracks
    assert found.count(Source.FORWARD) == limit and found.count(Source.VISIBLE) == 300 - limit
    assert int(it.health.report(0, {}, False)[2]["masks.over max_tracks"]) == 3 * (300 - limit)


def test_an_id_that_another_object_gets_later_restarts(plant):
    it = plant()
    gone = np.zeros(SHAPE, np.uint16)
    for index in range(4):
        it.frame(index)
    for index in range(4, 12):  # longer than tracks.coast_frames
        it.frame(index, gone)
    assert sources(it, 11) == {}
    it.frame(12, one_object(left=100))
    it.frame(13, one_object(left=100))
    (other,) = it.answers[12][1]
    assert (other.box.x0, other.box.x1) == (100, 140)
    assert it.stream.tracks.get("1001").age == 1, "frames after its first one"


def test_frames_of_a_4k_camera(plant):
    it = plant()
    labels = np.zeros((2160, 3840), np.uint16)
    labels[700:1500, 1000:2400] = 1001
    for index in range(2):
        it.frame(index, labels)
    (done,) = it.answers[1][1]
    assert it.answers[1][0] == (2160, 3840) and done.source == Source.FORWARD
    assert done.box == (1000, 700, 2400, 1500)


def test_a_tracker_one_second_late_costs_no_frame(plant):
    it = plant()
    for index in range(30 + 10):
        if index < 30:
            it.image(index)
        if index >= 10:
            it.labels(index - 10)
    assert list(it.answers) == list(range(30)) and not it.joiner.losses
    assert sources(it, 29) == {"1001": Source.FORWARD}


def test_a_tracker_later_than_the_buffer_is_counted_and_recovers(plant):
    it = plant(**{"input.pair_buffer": 5})
    for index in range(20):
        it.image(index)
        if index >= 8:
            it.labels(index - 8)
    assert not it.answers and it.joiner.losses["image_unpaired"] == 15
    for index in range(20, 30):
        it.frame(index)
    assert list(it.answers) == list(range(20, 30))


def block(left, name="", width=40):
    """A visible mask of 40 rows."""
    box = Box(left, 30, left + width, 70)
    return Instance(name, box, np.ones((40, width), np.uint8), "car", 0.9)


def test_masks_without_ids_get_ids_where_the_node_tracks(plant):
    it = plant(**{"input.mask_source": "instance_masks", "input.track": True})
    for index in range(6):
        it.image(index)
        # Both ends of what a post covers come under one empty id each, in changing order.
        masks = [block(10 + 2 * index), block(100 - 2 * index, width=30)]
        it.masks(index, masks[:: 1 if index % 2 else -1])
    for index in range(6):
        shape, objects = it.answers[index]
        widths = {item.id: int(item.visible.any(0).sum()) for item in objects}
        assert widths == {"1": 30, "2": 40} and shape == SHAPE
        assert [item.class_id for item in objects] == ["car", "car"]
    assert it.stream.tracks.get("2").age == 5, "one track, observed in every frame"
    assert not it.lines, "nothing was left out"


def test_masks_without_ids_are_left_out_with_a_remedy_where_it_does_not(plant):
    it = plant(**{"input.mask_source": "instance_masks"})
    it.image(0)
    it.masks(0, [block(10), block(100, "7")])
    assert [item.id for item in it.answers[0][1]] == ["7"]
    assert "1 mask_without_id" in it.lines[-1]
    assert "or set input.track: true" in it.lines[-1]


def test_ids_of_a_label_image_may_be_per_frame_where_the_node_tracks(plant):
    it = plant(**{"input.track": True})
    for index in range(4):
        it.frame(index, one_object(label=1001 + 7 * index, left=20 + index))
    assert [sources(it, index).keys() for index in range(4)] == [{"1"}] * 4
    it.frame(4, one_object(label=2001, left=24))
    found = sources(it, 4)
    assert found.keys() == {"1", "2"} and found["1"] == Source.COASTED, "another class is no match"
