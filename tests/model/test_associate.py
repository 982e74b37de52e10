"""Ids by association: what keeps one, what gets a new one, and what the work is bounded by."""

import dataclasses

import numpy as np
import pytest

from savos_model.config import AssociationConfig, StreamConfig
from savos_model.stream import associate
from savos_model.stream.associate import NEAREST, Associator, Known, Region
from savos_model.stream.prediction import Guess
from savos_model.stream.stream import AmodalStream
from savos_model.stream.tracks import TrackState
from savos_model.types import Box, Frame, Instance
from tests import tiny_scene
from tests.failing import refused

SHAPE = (100, 300)


def item(x0, y0, x1, y1, class_id="", name="given"):
    return Instance(name, Box(x0, y0, x1, y1), np.ones((y1 - y0, x1 - x0), np.uint8), class_id)


def whole(x0, y0, x1, y1, motion=(0.0, 0.0), missing=0):
    """A track whose predicted amodal mask fills a box and moves as a whole."""
    patch = np.ones((8, 8, 1), np.float32)
    field = np.zeros((2, 8, 8), np.float32)
    guess = Guess(patch, field, Box(x0, y0, x1, y1), motion)
    zeros = np.zeros(4, np.float32)
    seen = item(x0, y0, x1, y1)
    return TrackState(zeros, zeros, seen, seen.box, motion, guess, missing=missing)


def ids(instances):
    return [one.id for one in instances]


def behind_a_bus(config):
    """The left end of a long object, three frames of nothing, then its right end alone."""
    maker = Associator(config)
    states = {}
    given = []
    for masks in ([item(50, 40, 70, 60)], [], [], [], [item(110, 40, 150, 60)]):
        given.append(ids(maker.assign(masks, states, SHAPE)))
        states = {"1": whole(50, 40, 150, 60, missing=len(given) - 1)}
    return given


def test_an_object_that_comes_out_on_the_other_side_keeps_its_id():
    assert behind_a_bus(AssociationConfig()) == [["1"], [], [], [], ["1"]]


def test_the_last_visible_masks_alone_do_not_know_it_again():
    assert behind_a_bus(AssociationConfig(masks="visible")) == [["1"], [], [], [], ["2"]]


def test_what_is_expected_moves_on_while_there_is_no_mask():
    maker = Associator()
    maker.assign([item(0, 40, 40, 60)], {}, SHAPE)
    state = whole(0, 40, 40, 60, motion=(30.0, 0.0))
    for _ in range(3):  # the stream forgets it sooner than the association does
        maker.assign([], {"1": state} if state else {}, SHAPE)
        state = None
    assert maker.known["1"].expected(SHAPE).box == Box(90, 40, 130, 60)
    assert ids(maker.assign([item(121, 40, 161, 60)], {}, SHAPE)) == ["1"]


def test_crossing_objects_keep_their_ids():
    """Two squares pass each other; the far one is covered for some frames."""
    maker, states, found = Associator(AssociationConfig(max_age=9)), {}, set()
    for step in range(16):
        near, far = 10 + 10 * step, 160 - 10 * step
        full = {"near": (near, 30, near + 40, 70), "far": (far, 35, far + 30, 65)}
        shown = {"near": item(*full["near"], name="near")}
        if abs(near + 5 - far) > 40:
            shown["far"] = item(*full["far"], name="far")
        masks = list(shown.values())[:: 1 if step % 2 else -1]  # in any order
        named = maker.assign(masks, states, SHAPE)
        pairs = {(one.id, given.id) for one, given in zip(named, masks, strict=True)}
        found |= pairs
        moves = {"near": (10.0, 0.0), "far": (-10.0, 0.0)}
        states = {one: whole(*full[name], motion=moves[name]) for one, name in pairs}
    assert len(found) == 2 and {name for _, name in found} == {"near", "far"}


def test_new_objects_get_new_ids_whatever_they_came_with():
    maker = Associator()
    first = maker.assign([item(0, 0, 20, 20, name="7"), item(100, 0, 120, 20)], {}, SHAPE)
    second = maker.assign(
        [item(250, 60, 290, 100), item(0, 0, 20, 20, name="8"), item(100, 0, 120, 20)], {}, SHAPE
    )
    assert ids(first) == ["1", "2"]
    assert ids(second) == ["3", "1", "2"]
    assert second[1].box == Box(0, 0, 20, 20) and second[1].mask.all()


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [("car", "car", True), ("car", "person", False), ("car", "", True), ("", "car", True)],
)
def test_classes_must_agree_where_they_are_given(before, after, kept):
    maker = Associator()
    maker.assign([item(0, 0, 20, 20, before)], {}, SHAPE)
    assert ids(maker.assign([item(0, 0, 20, 20, after)], {}, SHAPE)) == ["1" if kept else "2"]


def test_a_small_fast_object_is_known_by_its_nearness_for_two_frames_only():
    maker = Associator()
    maker.assign([item(0, 0, 10, 10)], {}, SHAPE)
    assert ids(maker.assign([item(14, 0, 24, 10)], {}, SHAPE)) == ["1"]
    for _ in range(3):
        maker.assign([], {}, SHAPE)
    assert ids(maker.assign([item(150, 0, 160, 10)], {}, SHAPE)) == ["2"]


def test_ids_are_never_given_twice():
    maker, seen = Associator(AssociationConfig(max_age=2)), set()
    for _ in range(4):
        (one,) = ids(maker.assign([item(0, 0, 20, 20)], {}, SHAPE))
        assert one not in seen
        seen.add(one)
        for _ in range(3):
            maker.assign([], {}, SHAPE)
        assert not maker.known
    maker.assign([item(0, 0, 20, 20)], {}, SHAPE)
    maker.reset()
    assert ids(maker.assign([item(0, 0, 20, 20)], {}, SHAPE)) == ["6"]


def test_an_id_is_kept_for_max_age_frames():
    for missing, kept in ((2, True), (3, False)):
        maker = Associator(AssociationConfig(max_age=2))
        maker.assign([item(0, 0, 20, 20)], {}, SHAPE)
        for _ in range(missing):
            maker.assign([], {}, SHAPE)
        found = ids(maker.assign([item(0, 0, 20, 20)], {}, SHAPE))
        assert found == ["1" if kept else "2"]


def test_the_work_of_a_crowded_frame_is_bounded(monkeypatch):
    """Every mask lies on every other: each is compared with its nearest tracks alone."""
    count, calls = 300, []
    common = Region.common
    monkeypatch.setattr(Region, "common", lambda a, b: calls.append(0) or common(a, b))
    crowd = [item(k % 20, k // 20, 60 + k % 20, 60 + k // 20) for k in range(count)]
    maker = Associator()
    maker.assign(crowd, {}, SHAPE)
    named = maker.assign(crowd, {}, SHAPE)
    assert len(calls) <= 2 * NEAREST * count
    assert ids(named) == [str(k + 1) for k in range(count)]


def test_settings_are_checked():
    with refused("least", "bounds"):
        AssociationConfig(least=2)


def test_a_reach_of_nothing_asks_for_the_expected_place():
    maker = Associator(AssociationConfig(reach=0.0))
    maker.assign([item(0, 0, 20, 20)], {}, SHAPE)
    assert ids(maker.assign([item(0, 0, 20, 20)], {}, SHAPE)) == ["1"]
    assert ids(maker.assign([item(4, 0, 24, 20)], {}, SHAPE)) == ["2"]


def test_of_an_object_that_left_the_image_nothing_is_expected():
    known = Known(item(0, 0, 20, 20), whole=np.ones((4, 4), np.float32), box=Box(-90, 0, -50, 20))
    assert known.expected(SHAPE) is None


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_stream_completes_masks_under_assigned_ids(shuffled):
    stream = AmodalStream(tiny_scene.EchoBackend(), StreamConfig(associate=AssociationConfig()))
    pairs = set()
    for number, given in enumerate(tiny_scene.frames(24)):
        masks = given.instances[:: -1 if shuffled and number % 2 else 1]
        masks = [dataclasses.replace(one, id=f"{number}.{k}") for k, one in enumerate(masks)]
        objects = stream.step(Frame(given.stamp_ns, given.image, masks))
        assert ids(stream.frame.instances) == ids(objects)[: len(masks)]
        pairs |= {(one.id, one.class_id) for one in stream.frame.instances}
    assert sorted(pairs, key=lambda pair: pair[1]) in (
        [("1", "1"), ("2", "2")],
        [("2", "1"), ("1", "2")],
    )
    assert stream.report.timings_ms["associate"] > 0


def test_a_reset_of_the_stream_begins_with_new_ids():
    stream = AmodalStream(tiny_scene.EchoBackend(), StreamConfig(associate=AssociationConfig()))
    given = tiny_scene.frame(0)
    for number, stamp in enumerate((0, 10**8, 10**10)):
        stream.step(Frame(stamp, given.image, given.instances))
        assert ids(stream.frame.instances) == (["1", "2"] if number < 2 else ["3", "4"])
    assert stream.report.reset == "time gap"
    stream.reset()
    stream.step(Frame(10**10 + 1, given.image, given.instances))
    assert ids(stream.frame.instances) == ["5", "6"]


def test_without_association_the_given_ids_stay():
    stream = AmodalStream(tiny_scene.EchoBackend())
    given = tiny_scene.frame(0)
    stream.step(Frame(0, given.image, given.instances))
    assert stream.associator is None
    assert ids(stream.frame.instances) == ["1001", "2001"]
    assert associate.matched(np.array([[0.4, 0.9], [0.8, 0.85]]), 0.5) == {0: 1, 1: 0}
