import dataclasses

import numpy as np
import pytest

from savos_model.backends.interface import StepOutput
from savos_model.config import ComposeConfig, ModelConfig, StreamConfig, TracksConfig
from savos_model.instances import InstanceError
from savos_model.network.weights import Weights
from savos_model.stream.prediction import calibrated
from savos_model.stream.stream import AmodalStream
from savos_model.types import Box, Frame, Instance, Source
from tests.model.scenes import crossing, instance, rectangle, texture
from tests.presets import PAPER_SMALL


class FullBoxBackend:
    """Says that every object fills the middle of its patch; counts its calls."""

    name, reason = "fake", "test"

    def __init__(self):
        self.weights = Weights("fake", ModelConfig(width=0.125, **PAPER_SMALL), {}, {})
        self.calls = []

    @property
    def model(self):
        return self.weights.model

    def step(self, patches, h, c):
        tracks, (rows, cols) = len(patches), self.model.patch
        self.calls.append(patches)
        logits = np.full((tracks, rows, cols), -9, np.float32)
        logits[:, rows // 4 : -(rows // 4), cols // 4 : -(cols // 4)] = 9
        zeros = np.zeros((tracks, 2, rows, cols), np.float32)
        return StepOutput(logits, logits, zeros, h + 1, c + 1)


@pytest.fixture
def stream():
    return AmodalStream(FullBoxBackend())


def by_id(objects):
    return {item.id: item for item in objects}


def test_first_frame_copies_the_visible_masks(stream):
    frame = crossing(1)[0]
    objects = stream.step(frame)
    assert [o.id for o in objects] == ["7", "9"]
    for done, given in zip(objects, frame.instances, strict=True):
        assert done.source == Source.VISIBLE
        np.testing.assert_array_equal(done.mask, given.mask * 255)
        assert done.occlusion == 0


def test_hidden_part_is_completed_behind_the_occluder_only(stream):
    for frame in crossing(8):  # from frame 5 on it is visible on both sides of its occluder
        objects = by_id(stream.step(frame))
    hidden, front = objects["7"], objects["9"]
    assert hidden.source == front.source == Source.FORWARD
    np.testing.assert_allclose(
        hidden.box, (60, 40, 140, 80), atol=1
    )  # the fake patch is that coarse
    assert (hidden.mask > 0).mean() > 0.97
    width = 30
    assert hidden.occlusion == pytest.approx(width / 80, abs=0.03)
    assert 0.9 < hidden.confidence <= 1


def test_visible_pixels_are_always_kept(stream):
    for frame in crossing(6):
        for done, given in zip(stream.step(frame), frame.instances, strict=True):
            canvas = np.zeros(frame.image.shape[:2], np.uint8)
            x0, y0, x1, y1 = (int(v) for v in done.box)
            canvas[y0:y1, x0:x1] = done.mask
            gx0, gy0, gx1, gy1 = (int(v) for v in given.box)
            assert (canvas[gy0:gy1, gx0:gx1][given.mask > 0] == 255).all()
            assert int((done.visible > 0).sum()) == int(given.mask.sum())


def test_motion_is_that_of_the_object(stream):
    for frame in crossing(5, speed=6):
        objects = by_id(stream.step(frame))
    assert objects["9"].motion[0] == pytest.approx(6, abs=0.5)
    assert objects["9"].motion[1] == pytest.approx(0, abs=0.5)


def test_same_input_gives_bit_equal_output():
    runs = []
    for _ in range(2):
        stream = AmodalStream(FullBoxBackend())
        runs.append([stream.step(frame) for frame in crossing(6)])
    for one, two in zip(*runs, strict=True):
        for a, b in zip(one, two, strict=True):
            assert a.box == b.box
            np.testing.assert_array_equal(a.mask, b.mask)


def test_lost_track_coasts_with_falling_confidence_and_expires():
    stream = AmodalStream(FullBoxBackend(), StreamConfig(tracks=TracksConfig(coast_frames=2)))
    frames = crossing(7)
    for frame in frames[:3]:
        stream.step(frame)
    seen = []
    for frame in frames[3:]:
        only = dataclasses.replace(frame, instances=[i for i in frame.instances if i.id == "9"])
        seen.append(by_id(stream.step(only)).get("7"))
    assert [None if s is None else s.source for s in seen] == [
        Source.COASTED,
        Source.COASTED,
        None,
        None,
    ]
    assert seen[0].confidence > seen[1].confidence
    assert not seen[0].visible.any()
    assert stream.report.tracks == 1


def test_almost_hidden_object_keeps_the_shape_seen_before():
    config = StreamConfig(
        tracks=TracksConfig(coast_frames=2), compose=ComposeConfig(complete_into="anything")
    )
    stream = AmodalStream(FullBoxBackend(), config)
    frames = crossing(10, speed=0)
    for frame in frames[:3]:
        stream.step(frame)
    sliver = instance("7", rectangle((120, 200), (60, 40, 64, 80)))  # 6 % of the whole
    for frame in frames[3:8]:  # longer than a track without a mask would last
        hidden = dataclasses.replace(frame, instances=[sliver, frame.instances[1]])
        done = by_id(stream.step(hidden))["7"]
        assert stream.report.skipped == {"almost all hidden": 1}
        assert done.source == Source.FORWARD and done.occlusion > 0.85
        assert abs(done.box.width - 80) <= 1
    back = by_id(stream.step(frames[8]))["7"]
    assert stream.report.skipped == {} and back.source == Source.FORWARD
    assert stream.tracks.get("7").age == 3


def test_object_that_left_the_image_does_not_coast():
    stream = AmodalStream(FullBoxBackend())
    frames = crossing(18, speed=9)  # the front object is cut by the right border in the last frames
    for frame in frames[:-1]:
        objects = stream.step(frame)
    assert [o.id for o in objects] == ["7", "9"]
    gone = dataclasses.replace(frames[-1], instances=frames[-1].instances[:1])
    assert [o.id for o in stream.step(gone)] == ["7"]


def test_returning_id_continues_with_its_state():
    stream = AmodalStream(FullBoxBackend())
    frames = crossing(6)
    for frame in frames[:3]:
        stream.step(frame)
    stream.step(dataclasses.replace(frames[3], instances=frames[3].instances[1:]))
    state = stream.tracks.get("7").h.copy()
    assert state[0] == 3
    done = by_id(stream.step(frames[4]))["7"]
    assert done.source == Source.FORWARD
    assert stream.tracks.get("7").missing == 0


def test_jumping_id_starts_afresh(stream):
    frames = crossing(4)
    for frame in frames[:3]:
        stream.step(frame)
    far = instance("7", rectangle((120, 200), (2, 2, 22, 12)))
    done = by_id(stream.step(dataclasses.replace(frames[3], instances=[far])))["7"]
    assert done.source == Source.VISIBLE
    assert stream.report.skipped == {"id jumped": 1}
    assert not stream.tracks.get("7").h.any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stamp_ns": 5}, "time went back"),
        ({"stamp_ns": 10**10}, "time gap"),
        ({"image": texture(100, 100, 3), "instances": []}, "image size changed"),
    ],
)
def test_stream_forgets_tracks_when_they_cannot_continue(stream, change, reason):
    frames = crossing(3)
    for frame in frames:
        stream.step(frame)
    odd = dataclasses.replace(frames[2], **change)
    assert all(o.source == Source.VISIBLE for o in stream.step(odd))
    assert stream.report.reset == reason
    again = dataclasses.replace(frames[0], stamp_ns=odd.stamp_ns + 1, instances=[])
    stream.step(again)  # and it continues


def test_empty_frame_gives_an_empty_list(stream):
    frame = crossing(1)[0]
    assert stream.step(dataclasses.replace(frame, instances=[])) == []
    assert stream.step(dataclasses.replace(frame, instances=[])) == []


def test_small_masks_and_tracks_over_the_cap_are_passed_on_and_counted():
    stream = AmodalStream(FullBoxBackend(), StreamConfig(tracks=TracksConfig(max_tracks=1)))
    frame = crossing(1)[0]
    speck = instance("1", rectangle((120, 200), (5, 5, 7, 7)))
    frame = dataclasses.replace(frame, instances=[speck, *frame.instances])
    objects = stream.step(frame)
    assert [o.id for o in objects] == ["1", "7", "9"]
    assert all(o.source == Source.VISIBLE for o in objects)
    assert stream.report.skipped == {"below min_mask_px": 1, "over max_tracks": 1}
    assert len(stream.tracks) == 1


def test_track_with_a_mask_too_small_to_observe_moves_on():
    config = StreamConfig(tracks=TracksConfig(min_mask_px=50))
    stream = AmodalStream(FullBoxBackend(), config)
    frames = crossing(8, speed=6)
    for frame in frames[:4]:
        stream.step(frame)
    for frame in frames[4:]:
        x0, y0, _, _ = (int(v) for v in frame.instances[-1].box)
        speck = instance("9", rectangle((120, 200), (x0, y0, x0 + 5, y0 + 5)))
        done = by_id(stream.step(dataclasses.replace(frame, instances=[speck])))["9"]
        assert done.source == Source.FORWARD
    guess = stream.tracks.get("9").guess
    centre = np.average(np.arange(64) + 0.5, weights=guess.probability.sum(0)) / 64
    moved = guess.box.x0 + guess.drift[0] + centre * guess.box.width
    # Four frames at 6 px a frame from where the object was seen last, 18 px into its run.
    assert moved == pytest.approx(40 + 15 + 6 * 7, abs=4)


def test_misfitting_instance_is_refused_and_tracks_stay(stream):
    frame = crossing(1)[0]
    stream.step(frame)
    wrong = Instance("3", Box(150, 0, 260, 10), np.ones((10, 110), np.uint8))
    with pytest.raises(InstanceError, match="instance 3"):
        stream.step(dataclasses.replace(frame, instances=[wrong]))
    assert len(stream.tracks) == 2


def test_probability_values_and_threshold_are_live(stream):
    frames = crossing(6)
    for frame in frames[:5]:
        stream.step(frame)
    stream.set_compose(ComposeConfig(mask_values="probability"))
    values = by_id(stream.step(frames[5]))["7"].mask
    assert ((values > 0) & (values < 255)).any()
    assert (values == 255).any()


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_network_sees_rgb_whatever_the_order(order):
    stream = AmodalStream(FullBoxBackend())
    for frame in crossing(2):
        image = frame.image if order == "bgr" else np.ascontiguousarray(frame.image[..., ::-1])
        stream.step(Frame(frame.stamp_ns, image, frame.instances, order))
    other = AmodalStream(FullBoxBackend())
    for frame in crossing(2):
        other.step(frame)
    np.testing.assert_allclose(stream.backend.calls[0], other.backend.calls[0], atol=1 / 255)


def test_grey_images_work(stream):
    for frame in crossing(3):
        stream.step(dataclasses.replace(frame, image=np.ascontiguousarray(frame.image[..., 0])))
    assert stream.backend.calls


def test_hundreds_of_ids_and_border_masks_survive(stream):
    image = texture(120, 400, 5)
    for t in range(3):
        masks = []
        for k in range(200):
            x, y = (k % 40) * 10, (k // 40) * 24
            masks.append(instance(str(k), rectangle((120, 400), (x, y, x + 9, y + 22))))
        objects = stream.step(Frame(t * 100_000_000, image, masks))
        assert len(objects) == 200
    assert stream.report.skipped == {"over max_tracks": 136}


def test_calibration_divides_the_logit_and_keeps_one_half():
    logits = np.linspace(-6, 6, 25, dtype=np.float32)
    chance = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(calibrated(chance, 1.7), 1 / (1 + np.exp(-logits / 1.7)), rtol=1e-4)
    assert calibrated(chance, 1.0) is chance
    assert calibrated(np.array([0.0, 0.5, 1.0], np.float32), 0.6).tolist() == [0, 0.5, 1]
