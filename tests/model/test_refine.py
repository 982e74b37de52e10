# ruff: noqa: E402  (nothing below imports where torch is absent)
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from savos_model import geometry_torch
from savos_model.backends.torch import TorchBackend
from savos_model.config import ModelConfig, RefineConfig, StreamConfig
from savos_model.motion_torch import amodal_motion
from savos_model.network import SavosNet
from savos_model.record import Observed
from savos_model.refine import WindowRefiner, merge
from savos_model.settings import SettingError
from savos_model.stream import AmodalStream
from savos_model.types import Source
from savos_model.weights import Weights
from tests.model.scenes import crossing

MODEL = ModelConfig(width=0.0625)


@pytest.fixture(scope="module")
def backend():
    torch.manual_seed(3)
    arrays = {k: v.numpy() for k, v in SavosNet(MODEL).state_dict().items()}
    return TorchBackend(Weights("random", MODEL, arrays, {}), "cpu", 1, "test")


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
    estimates = refiner.backward_pass()
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
    np.testing.assert_allclose(merge(values(1, np.log(3)), values(0, 0)), 0.75, rtol=1e-6)
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


def test_stride_longer_than_the_window_is_refused():
    with pytest.raises(SettingError, match="stride must be at most window"):
        RefineConfig(window=4, stride=5)
