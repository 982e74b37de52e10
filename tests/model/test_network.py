# ruff: noqa: E402  (nothing below imports where torch is absent)
import numpy as np
import pytest
from failing import fails

torch = pytest.importorskip("torch")

from savos_model.config import ModelConfig
from savos_model.network.layers import parameter_shapes
from savos_model.network.net import SavosNet
from savos_model.network.presets import make_net
from savos_model.network.released.keys import OFFICIAL_MODEL, our_name
from savos_model.network.weights import WeightsError
from tests.model.released import official_name, reference_arrays, reference_clip, reference_net
from tests.presets import PAPER_SMALL

SMALL = ModelConfig(width=0.125, **PAPER_SMALL)


def test_paper_size_has_the_released_parameter_count():
    net = SavosNet(OFFICIAL_MODEL)
    assert sum(p.numel() for p in net.parameters()) == 17_303_124
    assert len(net.state_dict()) == 134


@pytest.mark.parametrize(
    "config", [SMALL, ModelConfig(), ModelConfig(width=0.125, prior_mask=False), OFFICIAL_MODEL]
)
def test_layer_list_names_every_parameter(config):
    shapes = {key: tuple(p.shape) for key, p in make_net(config).state_dict().items()}
    assert shapes == parameter_shapes(config)


@pytest.mark.parametrize("preset", ["online", "paper"])
@pytest.mark.parametrize("patch", [(32, 64), (64, 128)])
def test_step_by_step_equals_sequence(preset, patch):
    torch.manual_seed(0)
    size = {"patch_height": patch[0], "patch_width": patch[1]}
    net = make_net(ModelConfig(width=0.125, preset=preset, **size, prior_mask=False)).eval()
    patches = torch.rand(3, 5, 6, *patch)
    with torch.inference_mode():
        whole, last = net.sequence(patches)
        state = net.initial_state(3)
        for t in range(5):
            one, state = net.step(patches[:, t], state)
            for name in one._fields:
                torch.testing.assert_close(
                    getattr(one, name), getattr(whole, name)[:, t], atol=1e-5, rtol=1e-5
                )
    torch.testing.assert_close(state.h, last.h, atol=1e-5, rtol=1e-5)
    assert whole.mask_logits.shape == (3, 5, *patch)
    assert whole.residual.shape == (3, 5, 2, *patch)


def test_key_map_is_one_to_one():
    for key in parameter_shapes(OFFICIAL_MODEL):
        assert our_name("module." + official_name(key)) == key


def test_foreign_key_is_refused_by_name():
    with fails(WeightsError, "names", "'backbone.conv1.weight'"):
        our_name("backbone.conv1.weight")


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_meets_the_released_network_on_fixed_weights(shared_data, preset):
    reference = reference_arrays(shared_data)
    net, patches = reference_net(reference, preset), reference_clip(reference).patches[:, :, :6]
    with torch.inference_mode():
        out, _ = net.sequence(patches)
    np.testing.assert_allclose(out.h, reference["h"], atol=1e-4)
    np.testing.assert_allclose(out.residual, reference["residual_flow"], atol=1e-4)
    np.testing.assert_allclose(
        out.mask_logits.sigmoid(), reference[f"{preset}_mask_prob"], atol=1e-4
    )
    np.testing.assert_allclose(out.alpha, reference[f"{preset}_alpha"], atol=1e-4)
