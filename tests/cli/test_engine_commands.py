import onnx
import pytest
from typer.testing import CliRunner

from savos_model.backends import tensorrt_build
from savos_model.network.layers import PRIOR, VISIBLE
from savos_ros.cli import engines
from savos_ros.cli.main import app
from tests.full_disk import full_disk
from tests.tiny_weights import save_random


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_export_compares_with_patches_of_a_street(tmp_path, monkeypatch):
    taken, street = [], engines.street_inputs
    monkeypatch.setattr(
        engines, "street_inputs", lambda weights: taken.extend(street(weights)) or taken
    )
    out = tmp_path / "step.onnx"
    result = run("export", save_random(tmp_path / "w.safetensors"), "--out", out)
    assert result.exit_code == 0, result.output
    assert '"real_batches": 4' in result.output
    patches, h, c = taken[-1]
    assert len(patches) > 2
    assert (patches[:, VISIBLE] > 0).any(axis=(1, 2, 3)).all(), "each patch shows its object"
    assert patches[:, PRIOR].std() > 0
    assert abs(h).max() > 0
    assert "commit" in {entry.key for entry in onnx.load(out).metadata_props}


def test_wrong_words_are_answered_in_one_line(tmp_path):
    result = run("export", "--out", tmp_path / "a.onnx", "--precision", "int8")
    assert result.exit_code == 2
    assert "precision must be one of fp32, fp16, bf16, got 'int8'" in result.output
    result = run("export", "nothing", "--out", tmp_path / "a.onnx")
    assert result.exit_code == 1
    assert "no weights 'nothing'" in result.output


def test_build_engine_fills_the_nodes_folder(tmp_path, monkeypatch):
    """The engine's build itself is tested in tests/model, where TensorRT is installed."""
    asked = []

    def build(graph, capability):
        asked.append(capability)
        return b"engine"

    monkeypatch.setattr(tensorrt_build, "engine_key", lambda *a: {"gpu": a[2], "for": a[3]})
    monkeypatch.setattr(tensorrt_build, "build_engine", build)
    weights = save_random(tmp_path / "w.safetensors")
    arguments = ("build-engine", weights, "--compute-capability", "8.9", "--engine-dir", tmp_path)
    for _ in range(2):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert "building for any GPU, compute capability 8.9: done" in result.output
    assert asked == ["8.9"], "the second call finds the first one's engine"
    assert len(list(tmp_path.glob("*.engine"))) == 1


def test_build_engine_without_room_for_it_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt_build, "engine_key", lambda *a: {"gpu": a[2]})
    monkeypatch.setattr(tensorrt_build, "build_engine", lambda *a, **b: bytes(5000))
    weights = save_random(tmp_path / "w.safetensors")
    with full_disk(1000):
        result = run(
            "build-engine", weights, "--compute-capability", "8.9", "--engine-dir", tmp_path
        )
    assert result.exit_code == 1 and "could not be written: see the warning" in result.output
    assert not [*tmp_path.glob("*.engine"), *tmp_path.glob("*.part")]


def test_build_engine_names_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("savos_model.backends.choose.installed", lambda module: False)
    monkeypatch.setattr(tensorrt_build, "installed", lambda module: False)
    tensorrt_build.tensorrt.cache_clear()
    for extra in ((), ("--compute-capability", "8.9")):
        result = run("build-engine", "--engine-dir", tmp_path, *extra)
        assert result.exit_code == 1
        assert "pip install cuda-bindings tensorrt_rtx" in result.output
