# ruff: noqa: E402  (nothing below imports where torch is absent)
import pytest

torch = pytest.importorskip("torch")
from typer.testing import CliRunner

from savos_model.network.weights import load_weights
from savos_ros.cli.main import app
from tests.model.released import released_state


def test_command_writes_weights_or_says_why_not(tmp_path):
    torch.save({k: torch.from_numpy(a) for k, a in released_state(3).items()}, tmp_path / "best.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    out = tmp_path / "best.safetensors"
    command, target = ["weights", "import"], ["--out", str(out)]
    refused = CliRunner().invoke(app, [*command, str(tmp_path / "model.pt"), *target])
    assert refused.exit_code == 1
    assert "none of its code was run" in refused.output
    assert not out.exists()
    paper = ["--preset", "paper"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "best.pt"), *target, *paper])
    assert done.exit_code == 0, done.output
    assert "134 tensors, preset paper" in done.output
    assert load_weights(str(out)).model.preset == "paper"
