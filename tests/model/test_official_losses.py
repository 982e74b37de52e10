# ruff: noqa: E402  (nothing below imports where torch is absent)
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.model.released import reference_arrays, reference_clip, reference_net, reference_tensor
from tests.model.released_geometry import both_passes
from tests.model.released_losses import mask_loss, official_loss, pass_consistency


def test_meets_the_released_losses(shared_data):
    reference = reference_arrays(shared_data)
    clip = reference_clip(reference)
    with torch.inference_mode():
        passes = both_passes(reference_net(reference), clip)
        # The stored `loss_mask` is W, 1 where supervised, as the released model is handed it.
        losses = official_loss(*passes, clip, reference_tensor(reference, "loss_mask"))
    keys = ("loss_rec", "loss_consist", "loss_total")
    np.testing.assert_allclose([float(x) for x in losses], [reference[k] for k in keys], rtol=1e-4)


def test_mask_loss_counts_supervised_pixels_of_real_frames_only():
    merged = torch.full((1, 5, 2, 3), 0.25)
    visible, weight = torch.zeros(1, 5, 2, 3), torch.zeros(1, 5, 2, 3)
    visible[:, 1], weight[:, 1] = 1, 1
    weight[:, 1, 0, 0] = 0
    weight[:, 2] = 1
    counts = torch.tensor([[1.0, 1, 1, 0, 0]])
    want = (5 * -np.log(0.25) + 6 * -np.log(0.75)) / 2
    np.testing.assert_allclose(mask_loss(merged, visible, weight, counts), want, rtol=1e-4)


def test_consistency_weighs_the_first_pair_most_and_trains_no_motion():
    merged = torch.ones(1, 5, 4, 4)
    merged[:, 0] = 0  # only the first of four pairs disagrees
    flow = torch.zeros(1, 5, 2, 4, 4, requires_grad=True)
    merged.requires_grad_()
    loss = pass_consistency(merged, flow, torch.ones(1, 5))
    assert float(loss.detach()) == pytest.approx(4)
    loss.backward()
    assert flow.grad is None
    assert merged.grad.abs().sum() > 0
    late = pass_consistency(merged.flip(1), flow, torch.ones(1, 5))
    assert float(late.detach()) == pytest.approx(1)
