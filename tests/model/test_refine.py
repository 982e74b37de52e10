# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses

import numpy as np
import pytest

from tests.failing import refused

torch = pytest.importorskip("torch")

from savos_model.backends.interface import StepOutput
from savos_model.backends.torch import TorchBackend
from savos_model.config import ModelConfig, RefineConfig, StreamConfig
from savos_model.network import geometry_torch
from savos_model.network.layers import ALPHA_SCALE
from savos_model.network.motion_torch import amodal_motion
from savos_model.network.net import SavosNet
from savos_model.network.weights import Weights
from savos_model.stream.record import Observed
from savos_model.stream.refine import WindowRefiner, merge
from savos_model.stream.stream import AmodalStream
from savos_model.types import Source
from tests.model.scenes import crossing
from tests.presets import PAPER_SMALL

MODEL = ModelConfig(width=0.0625, prior_mask=False, **PAPER_SMALL)


@pytest.fixture(scope="module")
def backend():
    torch.manual_seed(3)
    arrays = {k: v.numpy() for k, v in SavosNet(MODEL).state_dict().items()}
    return TorchBackend(Weights("random", MODEL, arrays, {}), "cpu", 1, "test")


class OneByOne(TorchBackend):
    """Runs each track alone: in a batch, sums depend on its size."""

    def step(self, patches, h, c):
        rows = [
            super(OneByOne, self).step(patches[i : i + 1], h[i : i + 1], c[i : i + 1])
            for i in range(len(patches))
        ]
        return StepOutput(*map(np.concatenate, zip(*rows, strict=True)))


def refined(backend, frames, config):
    """All refined frames in the order they come, and how many had come after each frame."""
    stream = AmodalStream(backend, StreamConfig(), records=True)
    refiner = WindowRefiner(backend, StreamConfig(), config)
    done, counts = [], []
    for frame in frames:
        stream.step(frame)
        refiner.push(stream.record)
        if refiner.due:
            done += refiner.refine()
        counts.append(len(done))
    return done + refiner.flush(), counts


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (5, 5), (3, 1), (100, 7)])
def test_each_frame_comes_once_in_order_and_in_time(backend, window, stride):
    frames = crossing(11)
    done, counts = refined(backend, frames, RefineConfig(window=window, stride=stride))
    assert [item.stamp_ns for item in done] == [frame.stamp_ns for frame in frames]
    for item, frame in zip(done, frames, strict=True):
        assert [o.id for o in item.objects] == [i.id for i in frame.instances]
    if window <= len(frames):
        assert counts[window - 2] == 0 and counts[window - 1] == stride
        # No frame waits longer than the window.
        assert all(n + window > given for given, n in enumerate(counts, start=1))


def test_objects_with_a_neighbour_frame_are_refined_and_the_last_frame_is_not(backend):
    done, _ = refined(backend, crossing(6), RefineConfig(window=100, stride=1))
    sources = [[o.source for o in item.objects] for item in done]
    assert all(source == Source.REFINED for frame in sources[:-1] for source in frame)
    assert all(source == Source.FORWARD for source in sources[-1])


def test_whole_window_equals_the_training_code(backend):
    """Network sequence, torch warp and eq. 8 on the recorded patches give the same masks."""
    frames = crossing(7)
    stream = AmodalStream(backend, StreamConfig(), records=True)
    refiner = WindowRefiner(backend, StreamConfig(), RefineConfig(window=100, stride=1))
    for frame in frames:
        stream.step(frame)
        refiner.push(stream.record)
    records = list(refiner.records)
    estimates = refiner.backward.run(refiner.records, refiner.inputs, {"7", "9"})
    net = SavosNet(MODEL)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in backend.weights.arrays.items()})
    for name in ("7", "9"):
        given = [inputs[name] for inputs in list(refiner.inputs)[:0:-1]]  # last frame first
        patches = torch.from_numpy(np.stack([g.patch for g in given]))[None]
        boxes = torch.tensor([list(r.tracks[name].box) for r in records[::-1]], dtype=torch.float32)
        base = torch.tensor([g.cue.base for g in given])[None]
        with torch.no_grad():
            out, _ = net.sequence(patches)
            motion = amodal_motion(out.residual, patches, boxes[None, :-1], base)[0]
            values = torch.stack((out.mask_logits.sigmoid(), out.alpha), 2)[0]
            moved = geometry_torch.warp_patch(values, motion, boxes[:-1], boxes[1:])
        for index, expected in enumerate(moved.flip(0)):
            ours = estimates[index][name].transpose(2, 0, 1)
            error = np.abs(ours - expected.numpy())  # OpenCV interpolates in steps of 1/32
            assert np.quantile(error, 0.95) < 0.02 and error.mean() < 5e-3


def test_merge_trusts_the_larger_alpha_and_stands_without_a_forward_prediction():
    def values(chance, alpha):
        return np.dstack((np.full((2, 3), chance), np.full((2, 3), alpha))).astype(np.float32)

    np.testing.assert_allclose(merge(values(1, 2), values(0, 2)), 0.5)
    np.testing.assert_allclose(merge(values(1, 20), values(0, -20)), 1, atol=1e-6)
    np.testing.assert_allclose(
        merge(values(1, np.log(3) / ALPHA_SCALE), values(0, 0)), 0.75, rtol=1e-5
    )
    np.testing.assert_allclose(merge(None, values(0.3, 5)), 0.3)


def test_a_gap_breaks_the_chain(backend):
    """A track away for a frame: nothing is carried over the gap in either direction."""
    frames = crossing(6)
    frames[3] = type(frames[3])(
        frames[3].stamp_ns, frames[3].image, [i for i in frames[3].instances if i.id != "7"]
    )
    stream = AmodalStream(backend, StreamConfig(), records=True)
    observed: list[dict[str, Observed]] = []
    for frame in frames:
        stream.step(frame)
        observed.append(stream.record.tracks)
    assert [("7" in tracks) for tracks in observed] == [True, True, True, False, True, True]
    assert not observed[4]["7"].linked and observed[5]["7"].linked
    done, _ = refined(backend, frames, RefineConfig(window=100, stride=1))
    by_frame = [{o.id: o.source for o in item.objects} for item in done]
    assert by_frame[2]["7"] == Source.FORWARD  # nothing behind it to come back from
    assert by_frame[3]["7"] == Source.COASTED
    assert by_frame[4]["7"] == Source.REFINED


def recorded(backend, frames, config, pause=lambda: None):
    """A refiner that holds the records of all frames."""
    stream = AmodalStream(backend, StreamConfig(), records=True)
    refiner = WindowRefiner(backend, StreamConfig(), config, pause)
    for frame in frames:
        stream.step(frame)
        refiner.push(stream.record)
    return refiner


def test_young_and_heavily_occluded_tracks_come_first(backend):
    refiner = recorded(backend, crossing(9), RefineConfig(window=9, stride=3))
    assert [record.tracks["7"].age for record in refiner.records] == list(range(9))

    def given(occlusion_7, age_7, occlusion_9, age_9):
        for record in refiner.records:
            for name, hidden, age in (("7", occlusion_7, age_7), ("9", occlusion_9, age_9)):
                item = record.tracks[name]
                item.age = age
                item.object = dataclasses.replace(item.object, occlusion=hidden)
        return refiner.needy(3)

    assert given(0.6, 50, 0.1, 50) == ["7", "9"]
    assert given(0.1, 50, 0.6, 50) == ["9", "7"]
    assert given(0.3, 50, 0.0, 1) == ["9", "7"]
    assert given(0.3, 50, 0.0, 9) == ["7", "9"]
    refiner.records[4].tracks["9"].age = 0  # young only later: that is for the next pass
    assert refiner.needy(3) == ["7", "9"]
    assert refiner.needy(5) == ["9", "7"]


def test_a_track_without_a_later_frame_is_not_offered(backend):
    frames = crossing(5)
    frames[3] = dataclasses.replace(frames[3], instances=frames[3].instances[1:])
    refiner = recorded(backend, frames, RefineConfig(window=5, stride=5))
    for record in list(refiner.records)[:2]:
        record.tracks.pop("7")
    refiner.records[2].tracks["7"].linked = False
    assert refiner.needy(5) == ["9"]


def test_tracks_left_out_keep_what_was_published(backend):
    backend = OneByOne(backend.weights, "cpu", 1, "test")
    config = RefineConfig(window=8, stride=4)
    whole = recorded(backend, crossing(8), config).refine()
    refiner = recorded(backend, crossing(8), config)
    published = [record.objects for record in refiner.records]
    part = refiner.give_out(4, ["7"])
    for full, some, before in zip(whole, part, published, strict=False):
        (first, second), (wanted, _) = some.objects, full.objects
        assert first.source == Source.REFINED
        np.testing.assert_array_equal(first.mask, wanted.mask)
        assert second is before[1]
    assert len(refiner.records) == 4
    assert [item.objects for item in refiner.give_out(4, ())] == published[4:]


def test_a_pass_that_was_stopped_can_be_run_again(backend):
    left = [7]

    def pause():
        left[0] -= 1
        if left[0] == 0:
            raise TimeoutError

    config = RefineConfig(window=6, stride=6)
    refiner = recorded(backend, crossing(6), config, pause)
    with pytest.raises(TimeoutError):
        refiner.refine()
    assert len(refiner.records) == 6
    for again, wanted in zip(
        refiner.refine(), recorded(backend, crossing(6), config).refine(), strict=True
    ):
        assert again.stamp_ns == wanted.stamp_ns
        for ours, theirs in zip(again.objects, wanted.objects, strict=True):
            np.testing.assert_array_equal(ours.mask, theirs.mask)


def test_records_may_begin_while_a_track_is_away(backend):
    """Its held prediction has no alpha then; the backward direction stands alone."""
    frames = crossing(7)
    for index in (2, 3):
        frames[index] = dataclasses.replace(frames[index], instances=frames[index].instances[1:])
    stream = AmodalStream(backend, StreamConfig())
    refiner = WindowRefiner(backend, StreamConfig(), RefineConfig(window=9, stride=1))
    for index, frame in enumerate(frames):
        stream.records = index >= 3
        stream.step(frame)
        assert (stream.record is None) == (index < 3)
        if stream.record is not None:
            refiner.push(stream.record)
    assert refiner.records[1].tracks["7"].forward is None
    assert refiner.records[2].tracks["7"].forward.shape[-1] == 2
    assert [item.objects[0].source for item in refiner.flush()][1] == Source.REFINED


def test_stride_longer_than_the_window_is_refused():
    with refused("stride"):
        RefineConfig(window=4, stride=5)
