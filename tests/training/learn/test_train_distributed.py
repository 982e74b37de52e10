# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses
import json
import os
import subprocess
import sys

import pytest
from failing import refused

torch = pytest.importorskip("torch")

from conftest import ROOT
from safetensors.torch import load_file
from tiny_store import tiny_run, write_store

from training.learn.config import write_run
from training.learn.distributed import Ranks, choose_device, has_bf16, joined, share
from training.train import CHECKPOINT, check_share, train

CPU = torch.device("cpu")


def run_torchrun(processes, *arguments):
    """The command that a user types, with `processes` processes on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", str(processes), "-m", "training.train", *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
    )


def gradients(folder):
    """Adam's first moments of a run: sums of its gradients, each clipped to a norm of at most 1."""
    tensors = load_file(folder / CHECKPOINT)
    return torch.cat([tensors[name].flatten() for name in sorted(tensors) if "/exp_avg/" in name])


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    # At a rate of zero all gradients are those of one set of weights. A step would magnify their
    # rounding: Adam divides by the size of a gradient, also of one that is all rounding.
    run = tiny_run(write_store(tmp_path / "store"), steps=4, validate_every=2, learning_rate=0.0)
    write_run(tmp_path / "run.yaml", run)
    arguments = ("--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "two"))
    done = run_torchrun(2, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("2 x cpu") == 1, "one process speaks for all"

    train(run, tmp_path / "one")
    half = dataclasses.replace(run, train=dataclasses.replace(run.train, batch=run.train.group))
    train(half, tmp_path / "half")  # the groups of the first of the two processes
    one, two, alone = (gradients(tmp_path / name) for name in ("one", "two", "half"))
    assert one.shape == two.shape and one.norm() > 0.1
    assert (one - two).norm() < 1e-4 * one.norm(), "float32 sums of some thousand terms"
    assert (one - alone).norm() > 1e-2 * one.norm(), "far more than the tolerance"

    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    for a, b in zip(*(map(json.loads, lines) for lines in logs), strict=True):
        assert a["step"] == b["step"]
        assert a["val"] == pytest.approx(b["val"], rel=1e-4)
        assert a["train"] == pytest.approx(b["train"], rel=1e-4)


def test_groups_are_shared_out_evenly_or_refused(tmp_path):
    ranks = [Ranks(i, 3, CPU) for i in range(3)]
    assert sorted(n for r in ranks for n in share(6, r)) == list(range(6))
    config = tiny_run(tmp_path, batch=8, group=2).train
    check_share(config, Ranks(0, 4, CPU))
    with refused("batch"):
        check_share(config, ranks[0])


def test_one_process_needs_no_group():
    with joined("cpu") as ranks:
        assert ranks == Ranks(0, 1, CPU) and ranks.first
    assert not torch.distributed.is_initialized()


def test_every_process_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cpu") == CPU
    monkeypatch.setenv("LOCAL_RANK", "2")
    with refused("device"):
        choose_device("auto")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == CPU


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx2": True}, False)],
)
def test_bf16_is_used_where_the_processor_has_it(monkeypatch, found, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bf16(CPU) is expected
