# ruff: noqa: E402  (nothing below imports where torch is absent)
import zipfile

import numpy as np
import pytest
from failing import fails, refused

torch = pytest.importorskip("torch")

from savos_model.network.net import SavosNet
from savos_model.network.released import checkpoint
from savos_model.network.released.checkpoint import import_checkpoint, read_state
from savos_model.network.released.keys import OFFICIAL_MODEL, our_name
from savos_model.network.weights import WeightsError, load_weights
from tests.model.released import released_state
from tests.trap import trap


@pytest.fixture(scope="module")
def state():
    return {f"module.{key}": torch.from_numpy(a) for key, a in released_state(7).items()}


@pytest.mark.parametrize("preset", ["official", "paper"])
def test_state_dict_becomes_our_weights_unchanged(tmp_path, state, preset):
    torch.save(state, tmp_path / "fishbowl.pt")
    out = tmp_path / "new" / "fishbowl.safetensors"
    import_checkpoint(tmp_path / "fishbowl.pt", out, preset)
    weights = load_weights(str(out))
    assert (weights.name, weights.model.preset) == ("fishbowl", preset)
    for key, value in state.items():
        np.testing.assert_array_equal(weights.arrays[our_name(key)], value.numpy(), err_msg=key)
    assert not list(out.parent.glob("*.part"))


def test_older_torch_format_is_read(tmp_path, state):
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read_state(tmp_path / "old.pth").keys() == state.keys()


def test_pickled_model_and_code_are_refused_and_not_run(tmp_path):
    torch.save(SavosNet(OFFICIAL_MODEL), tmp_path / "model.pt")
    torch.save({"trap": trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    for name in ("model.pt", "trap.pt"):
        with fails(WeightsError, "unreadable", name, "state_dict()") as info:
            import_checkpoint(tmp_path / name, tmp_path / "out.safetensors")
        assert "weights_only" not in str(info.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt", "trap.pt"]


@pytest.mark.parametrize(
    ("content", "kind", "found"),
    [
        ([1, 2], "layout", "list"),
        ({"state_dict": {}}, "layout", "'state_dict' is a dict"),
        ({"step": torch.tensor(3)}, "layout", "'step'"),
        ({"backbone.weight": torch.zeros(2)}, "names", "backbone.weight"),
        ({"st_encoder.lstm.bias_ih_l0": torch.zeros(1024)}, "shape", "embed_encoder.linear.bias"),
        ({"st_encoder.lstm.bias_ih_l0": torch.zeros(1).expand(2**30)}, "size", "odd.pt"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path, content, kind, found):
    torch.save(content, tmp_path / "odd.pt")
    with fails(WeightsError, kind, found):
        import_checkpoint(tmp_path / "odd.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_parameter_given_twice_is_refused(tmp_path, state):
    key = "st_encoder.lstm.bias_ih_l0"
    torch.save({key: torch.zeros(1024), f"module.{key}": torch.zeros(1024)}, tmp_path / "twice.pt")
    with fails(WeightsError, "names", "twice.pt", "`module.`"):
        read_state(tmp_path / "twice.pt")


def test_damaged_absent_and_huge_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with fails(WeightsError, "unreadable", "cut.pt"):
        read_state(tmp_path / "cut.pt")
    with fails(WeightsError, "missing", "nowhere.pt"):
        read_state(tmp_path / "nowhere.pt")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/0", bytes(100_000))
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 50_000)
    assert (tmp_path / "bomb.pt").stat().st_size < 50_000
    with fails(WeightsError, "size", "bomb.pt", "100000"):
        read_state(tmp_path / "bomb.pt")


def test_wrong_ending_wrong_preset_and_absent_torch_say_what_to_do(tmp_path, state, monkeypatch):
    torch.save(state, tmp_path / "a.pt")
    with fails(WeightsError, "ending", "--out", ".safetensors"):
        import_checkpoint(tmp_path / "a.pt", tmp_path / "a.pth")
    with refused("preset", "choices"):
        import_checkpoint(tmp_path / "a.pt", tmp_path / "a.safetensors", "offical")
    monkeypatch.setattr(checkpoint, "installed", lambda name: False)
    with fails(WeightsError, "package", "pip install"):
        read_state(tmp_path / "a.pt")
