# ruff: noqa: E402  (nothing below imports where torch is absent)
"""Preset online: the published mask is the step of the frame itself."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from savos_model.backends.interface import StepOutput
from savos_model.backends.torch import TorchBackend
from savos_model.config import ComposeConfig, FlowConfig, ModelConfig, RefineConfig, StreamConfig
from savos_model.network.layers import ALPHA_SCALE, FLOW, PRIOR, RGB, UNKNOWN, VISIBLE
from savos_model.network.losses import Targets, merge_estimates, predict
from savos_model.network.net import Prediction
from savos_model.network.presets import make_net
from savos_model.network.weights import Weights
from savos_model.stream.flow import TopicFlow, inverted
from savos_model.stream.refine import WindowRefiner
from savos_model.stream.stream import AmodalStream
from savos_model.types import Box, Frame, Source
from tests.model.scenes import crossing, instance, rectangle, texture

MODEL = ModelConfig(width=0.0625, patch_height=32, patch_width=64)
ANYWHERE = StreamConfig(compose=ComposeConfig(complete_into="anything"))


class MiddleBackend:
    """Says that every object fills the middle of its patch; keeps what it was given."""

    name, reason = "fake", "test"

    def __init__(self, margin=4):
        self.margin = margin  # one part in so many on each side
        self.weights, self.calls = Weights("fake", MODEL, {}, {}), []
        self.model = MODEL

    def step(self, patches, h, c):
        tracks, (rows, cols) = len(patches), MODEL.patch
        self.calls.append((patches, h))
        logits = np.full((tracks, rows, cols), -9, np.float32)
        y, x = rows // self.margin, cols // self.margin
        logits[:, y:-y, x:-x] = 9
        return StepOutput(
            logits, logits, np.zeros((tracks, 2, rows, cols), np.float32), h + 1, c + 1
        )


@pytest.fixture(scope="module")
def backend():
    torch.manual_seed(3)
    net = make_net(MODEL)
    with torch.no_grad():  # so that memory, motion and alpha matter
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
    arrays = {k: v.numpy() for k, v in net.state_dict().items()}
    return TorchBackend(Weights("random", MODEL, arrays, {}), "cpu", 1, "test")


def by_id(objects):
    return {item.id: item for item in objects}


def test_first_frame_of_a_track_is_completed():
    stream = AmodalStream(MiddleBackend(margin=8))
    frame = crossing(5)[4]  # object 7 is half behind object 9
    hidden = by_id(stream.step(frame))["7"]
    assert hidden.source == Source.FORWARD and hidden.occlusion > 0.05
    ((patches, h),) = stream.backend.calls
    assert (patches[:, PRIOR] == UNKNOWN).all() and not h.any()
    assert not patches[:, FLOW].any()  # there is no frame before


def test_one_call_a_frame_sees_that_frame():
    stream = AmodalStream(MiddleBackend())
    frames = crossing(4)
    for count, frame in enumerate(frames, start=1):
        stream.step(frame)
        assert len(stream.backend.calls) == count
    patches, h = stream.backend.calls[-1]
    other = AmodalStream(MiddleBackend())
    other.step(frames[-1])
    alone, _ = other.backend.calls[0]
    np.testing.assert_array_equal(patches[:, VISIBLE], alone[:, VISIBLE])
    np.testing.assert_array_equal(patches[:, RGB], alone[:, RGB])
    assert (h == 3).all()


def test_flow_leads_into_the_frame_before_and_motion_is_that_of_the_object():
    stream = AmodalStream(MiddleBackend())
    for frame in crossing(6, speed=6):
        objects = by_id(stream.step(frame))
    assert objects["9"].motion[0] == pytest.approx(6, abs=0.5)
    patches, _ = stream.backend.calls[-1]
    box = stream.tracks.get("9").box
    seen = patches[1, FLOW][0][patches[1, VISIBLE][0] > 0.5]
    assert np.median(seen) * box.width / MODEL.patch_width == pytest.approx(-6, abs=0.7)


def test_prior_is_the_last_mask_moved_along():
    stream = AmodalStream(MiddleBackend())
    for frame in crossing(6, speed=6):
        stream.step(frame)
    patches, _ = stream.backend.calls[-1]
    state, prior = stream.tracks.get("9"), patches[1, PRIOR][0]
    centre = np.average(np.arange(MODEL.patch_width) + 0.5, weights=prior.sum(0))
    at = state.box.x0 + centre * state.box.width / MODEL.patch_width
    assert at == pytest.approx(40 + 15 + 6 * 5, abs=1.5)


def test_known_occluders_are_blank_in_colours_and_flow():
    stream = AmodalStream(MiddleBackend())
    for frame in crossing(5):
        stream.step(frame)
    patches, _ = stream.backend.calls[-1]
    front = patches[0, VISIBLE][0] == -1
    assert front.sum() > 20
    assert not patches[0, RGB][:, front].any() and not patches[0, FLOW][:, front].any()
    assert patches[0, RGB][:, patches[0, VISIBLE][0] == 1].min() > 0


def test_a_track_that_was_away_continues_with_its_state():
    stream = AmodalStream(MiddleBackend())
    frames = crossing(6)
    for frame in frames[:3]:
        stream.step(frame)
    gone = stream.step(dataclasses.replace(frames[3], instances=frames[3].instances[1:]))
    assert by_id(gone)["7"].source == Source.COASTED
    done = by_id(stream.step(frames[4]))["7"]
    assert done.source == Source.FORWARD
    patches, h = stream.backend.calls[-1]
    assert (h[0] == 3).all() and (patches[0, PRIOR] > 0.9).any()


def test_step_by_step_equals_the_whole_sequence(backend):
    stream, patches = AmodalStream(backend, ANYWHERE), []
    step = backend.step

    def keep(given, h, c):
        out = step(given, h, c)
        patches.append(given[0])
        logits.append(out.mask_logits[0])
        return out

    logits = []
    stream.backend = stream.estimator.backend = type("Kept", (), {
        "step": staticmethod(keep), "model": MODEL, "weights": backend.weights,
    })  # fmt: skip
    for frame in crossing(6):
        stream.step(dataclasses.replace(frame, instances=frame.instances[:1]))
    with torch.no_grad():
        whole, _ = backend.net.sequence(torch.from_numpy(np.stack(patches))[None])
    np.testing.assert_allclose(np.stack(logits), whole.mask_logits[0], atol=1e-5)


def test_refined_whole_video_equals_the_offline_pass(backend):
    """Both directions of the recorded patches by the training code, merged by eq. 8."""
    stream = AmodalStream(backend, StreamConfig(), records=True)
    refiner = WindowRefiner(backend, StreamConfig(), RefineConfig(window=100, stride=1))
    for frame in crossing(7):
        stream.step(frame)
        refiner.push(stream.record)
    records = list(refiner.records)
    estimates = refiner.backward.run(refiner.records, refiner.inputs, {"7", "9"})
    net = make_net(MODEL)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in backend.weights.arrays.items()})
    for name in ("7", "9"):
        inputs = [
            refiner.backward.inputs(known, [r.tracks[name]], r.seen, later.seen if later else None)[
                name
            ]
            for known, r, later in zip(refiner.inputs, records, [*records[1:], None], strict=True)
        ][::-1]
        patches = torch.from_numpy(np.stack([g.patch for g in inputs]))[None, :, : PRIOR.start]
        boxes = torch.tensor([list(g.cue.box) for g in inputs], dtype=torch.float32)[None]
        base = torch.tensor([g.cue.base for g in inputs])[None]
        blank = torch.zeros(patches.shape[:2] + MODEL.patch)
        with torch.no_grad():
            out = predict(net, Targets(patches, blank, blank, boxes, base))
        values = torch.stack((out.mask_logits.sigmoid(), out.alpha), -1)[0].flip(0)
        for index, expected in enumerate(values[:-1]):  # the last frame has no later one
            error = np.abs(estimates[index][name] - expected.numpy())
            # OpenCV interpolates the prior in steps of 1/32.
            assert np.quantile(error, 0.95) < 0.02 and error.mean() < 5e-3
    sources = [{o.source for o in done.objects} for done in refiner.flush()]
    assert sources == [{Source.REFINED}] * 6 + [{Source.FORWARD}]


def test_merge_of_windows_trusts_the_larger_alpha_of_the_same_frame():
    def said(logit, alpha):
        shape = (1, 3, 2, 2)
        first = torch.arange(3.0).view(1, 3, 1, 1).expand(shape)
        return Prediction(first + logit, first * 0 + alpha, torch.zeros(1, 3, 2, 2, 2), None)

    forward, backward = said(0.0, 3 / ALPHA_SCALE), said(5.0, 0.0)
    both = Prediction(*(torch.cat(p) for p in zip(forward[:3], backward[:3], strict=True)), None)
    share = torch.tensor(3.0).sigmoid()
    ahead, back = torch.arange(3.0).sigmoid(), (torch.arange(3.0).flip(0) + 5).sigmoid()
    torch.testing.assert_close(
        merge_estimates(both)[0, :, 0, 0], share * ahead + (1 - share) * back
    )


def test_flow_given_for_the_other_direction_is_inverted():
    """A zoom about a point: forward f(x) = 0.1 (x - c), so backward -0.1 / 1.1 (x - c)."""
    y, x = np.mgrid[:80, :120].astype(np.float32)
    forward = np.dstack((0.1 * (x - 60), 0.1 * (y - 40)))
    box = Box(30, 20, 100, 60)
    back = inverted(forward, box, (0.0, 0.0))
    want = np.dstack((60 - x, 40 - y))[20:60, 30:100] * (0.1 / 1.1)
    np.testing.assert_allclose(back, want, atol=0.02)


def test_topic_flow_of_either_direction_moves_the_track():
    for given in ("flow", "flow_back"):
        stream = AmodalStream(MiddleBackend(), StreamConfig(flow=FlowConfig("topic")))
        for frame in crossing(4):
            flow = np.zeros((*frame.image.shape[:2], 2), np.float32)
            flow[...] = (3, -2) if given == "flow" else (-3, 2)
            objects = stream.step(dataclasses.replace(frame, **{given: flow}))
        assert objects[0].motion == pytest.approx((3, -2), abs=1e-4)


def test_topic_flow_takes_the_direction_that_is_asked_for():
    flow = TopicFlow()
    image = texture(20, 20, 0)
    first, second = (
        Frame(t, image, [], flow=np.full((20, 20, 2), t), flow_back=np.full((20, 20, 2), -t))
        for t in (1, 2)
    )
    flow.use(first, second)
    assert flow.flow[0, 0, 0] == 2 and flow.reverse[0, 0, 0] == -2
    flow.use(second, first)
    assert flow.flow[0, 0, 0] == -2 and flow.reverse[0, 0, 0] == 2


def test_a_speck_keeps_the_shape_seen_before():
    stream = AmodalStream(MiddleBackend(), ANYWHERE)
    frames = crossing(6, speed=0)
    for frame in frames[:3]:
        stream.step(frame)
    before = stream.tracks.get("7").guess
    sliver = instance("7", rectangle((120, 200), (60, 40, 62, 80)))
    hidden = dataclasses.replace(frames[3], instances=[sliver, frames[3].instances[1]])
    done = by_id(stream.step(hidden))["7"]
    assert stream.report.skipped == {"almost all hidden": 1}
    assert done.source == Source.FORWARD and done.occlusion > 0.8
    assert stream.tracks.get("7").guess is before


def test_what_leaves_the_image_leaves_no_shape_behind():
    stream = AmodalStream(MiddleBackend(), ANYWHERE)
    ground, skin = texture(120, 200, 0), texture(120, 80, 1)
    for t, x in enumerate((30, 10, -10, -30, -71)):  # at last it is faster than the motion so far
        mask = rectangle((120, 200), (x, 40, x + 80, 80))
        image = ground.copy()
        image[40:80, max(0, x) : x + 80] = skin[40:80, max(0, -x) :]
        done = by_id(stream.step(Frame(t * 100_000_000, image, [instance("7", mask)])))["7"]
    assert stream.report.skipped == {}
    assert done.box.width <= 2 * 9  # the crop is twice as wide as the 9 px that are visible
    assert stream.tracks.get("7").box.width <= 2 * 9 + 1
