# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses
import json

import pytest
from failing import fails

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file
from tiny_store import tiny_run, write_store

import training.train
from training.learn.checkpoint import CheckpointError, average_into
from training.train import BEST, CHECKPOINT, train


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def straight(store, tmp_path_factory):
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("straight")
    train(tiny_run(store, bf16=True), out)
    return out


def interrupt(monkeypatch, run, out, step):
    """Train until the checkpoint of a step is written, then stop as Ctrl-C does."""
    save = training.train.save_checkpoint

    def save_then_stop(path, learner, reached, settings):
        save(path, learner, reached, settings)
        if reached.step == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.train, "save_checkpoint", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            train(run, out)


def assert_equal_files(a, b):
    first, second = load_file(a), load_file(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("step", [2, 4])
def test_a_resumed_run_ends_bit_by_bit_as_a_straight_one(
    store, straight, tmp_path, monkeypatch, step
):
    run, out = tiny_run(store, bf16=True), tmp_path / "run"
    interrupt(monkeypatch, run, out, step)
    before = load_file(out / CHECKPOINT)
    train(run, out, resume=True)
    assert_equal_files(straight / CHECKPOINT, out / CHECKPOINT)  # weights, average, moments of Adam
    assert_equal_files(straight / BEST, out / BEST)
    after = load_file(out / CHECKPOINT)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_steps_that_are_run_again_are_logged_once(store, straight, tmp_path, monkeypatch):
    run, out = tiny_run(store, bf16=True), tmp_path / "run"
    interrupt(monkeypatch, run, out, 2)
    (out / "log.jsonl").write_text('{"step": 1, "val": 0}\n{"step": 3, "val": 0}\n')
    train(run, out, resume=True)

    def losses(folder):
        lines = (folder / "log.jsonl").read_text().splitlines()
        return [(entry["step"], entry["val"]) for entry in map(json.loads, lines)]

    assert losses(out) == [(1, 0), *losses(straight)]
    assert [step for step, _ in losses(straight)] == [3, 6]


def test_other_settings_are_refused_by_name(store, straight):
    def refused(run, *words):
        with pytest.raises(CheckpointError) as error:
            train(run, straight, resume=True)
        assert all(word in str(error.value) for word in words), error.value

    run = tiny_run(store, bf16=True)
    refused(tiny_run(store, bf16=True, steps=7), "train.steps", "6", "7")
    loss = dataclasses.replace(run.loss, consistency=0.5)
    refused(dataclasses.replace(run, loss=loss), "loss.consistency", "0.1", "0.5")
    data = dataclasses.replace(run.data, min_px=51)
    refused(dataclasses.replace(run, data=data), "data.min_px")


def test_a_level_run_is_lengthened_as_if_it_had_been_so_from_the_start(
    store, tmp_path, monkeypatch
):
    short, long = (tiny_run(store, bf16=True, steps=n, decay=0.5) for n in (4, 6))
    interrupt(monkeypatch, short, tmp_path / "run", 2)
    train(long, tmp_path / "run", resume=True)
    train(long, tmp_path / "whole")
    assert_equal_files(tmp_path / "whole" / CHECKPOINT, tmp_path / "run" / CHECKPOINT)
    with fails(CheckpointError, "settings", "train.steps"):  # its rate has fallen by now
        train(tiny_run(store, bf16=True, steps=8, decay=0.5), tmp_path / "run", resume=True)


def test_a_setting_that_a_checkpoint_does_not_know_has_its_default(store, straight, tmp_path):
    begun = metadata(straight)
    settings = json.loads(begun["settings"])
    del settings["train"]["decay"]
    begun["settings"] = json.dumps(settings)
    run = tmp_path / "run"
    run.mkdir()
    save_file(load_file(straight / CHECKPOINT), run / CHECKPOINT, metadata=begun)
    train(tiny_run(store, bf16=True), run, resume=True)
    with fails(CheckpointError, "settings", "train.decay", "1.0", "0.5"):
        train(tiny_run(store, bf16=True, decay=0.5), run, resume=True)


def test_a_store_that_grew_is_refused(tmp_path, monkeypatch):
    store = write_store(tmp_path / "store", clips=3)
    run = tiny_run(store)
    interrupt(monkeypatch, run, tmp_path / "run", 2)
    write_store(store, clips=4)
    with fails(CheckpointError, "settings", "data.windows"):
        train(run, tmp_path / "run", resume=True)


def test_machine_settings_may_change(store, straight):
    run = tiny_run(store, bf16=True)
    other = dataclasses.replace(run.machine, workers=2, checkpoint_every=100)
    before = metadata(straight)
    assert train(dataclasses.replace(run, machine=other), straight, resume=True) == straight / BEST
    assert metadata(straight) == before, "the run was at its end"


def test_a_run_stays_on_its_kind_of_device(store, straight, tmp_path):
    begun = metadata(straight)
    settings = json.loads(begun["settings"])
    assert settings["machine"] == {"device": "cpu"}
    begun["settings"] = json.dumps(settings | {"machine": {"device": "cuda"}})
    (tmp_path / "run").mkdir()
    save_file(load_file(straight / CHECKPOINT), tmp_path / "run" / CHECKPOINT, metadata=begun)
    with fails(CheckpointError, "settings", "machine.device", "'cuda'", "'cpu'"):
        train(tiny_run(store, bf16=True), tmp_path / "run", resume=True)


def test_a_run_is_not_overwritten_by_mistake(store, straight):
    with pytest.raises(ValueError, match="--resume"):
        train(tiny_run(store, bf16=True), straight)


@pytest.mark.parametrize("fault", ["cut", "shape", "missing", "foreign"])
def test_a_bad_checkpoint_is_refused(store, straight, tmp_path, fault):
    path = tmp_path / "run" / CHECKPOINT
    path.parent.mkdir()
    content = (straight / CHECKPOINT).read_bytes()
    if fault == "cut":
        path.write_bytes(content[:-8])
    else:
        tensors = load_file(straight / CHECKPOINT)
        name = "net/lstm.bias_ih_l0"
        tensors[name] = tensors[name][:-1].clone() if fault == "shape" else tensors[name]
        if fault == "missing":
            del tensors[name]
        save_file(tensors, path, metadata=None if fault == "foreign" else metadata(straight))
    wrong = ("unreadable", "") if fault in ("cut", "foreign") else ("shape", "lstm.bias_ih_l0")
    with fails(CheckpointError, *wrong):
        train(tiny_run(store, bf16=True), tmp_path / "run", resume=True)


@pytest.mark.parametrize("steps", [-1, 10**15, "many", [3]])
def test_a_damaged_number_of_steps_is_refused_at_once(store, straight, tmp_path, steps):
    begun = metadata(straight)
    settings, reached = json.loads(begun["settings"]), json.loads(begun["reached"])
    settings["train"]["steps"] = steps
    begun |= {"settings": json.dumps(settings), "reached": json.dumps(reached | {"step": 10**15})}
    (tmp_path / "run").mkdir()
    save_file(load_file(straight / CHECKPOINT), tmp_path / "run" / CHECKPOINT, metadata=begun)
    with pytest.raises(CheckpointError, match="resume: "):
        train(tiny_run(store, bf16=True), tmp_path / "run", resume=True)


def metadata(folder):
    from safetensors import safe_open

    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        return file.metadata()


def test_averaged_weights_move_by_the_same_share_in_every_tensor():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 5))
    average = {name: torch.zeros_like(value) for name, value in net.state_dict().items()}
    average_into(average, net, 0.75)
    average_into(average, net, 0.75)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(average[name], value * (1 - 0.75**2))
