# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses

import pytest

pytest.importorskip("torch")

from conftest import ROOT
from tiny_store import tiny_run

from savos_model.settings import SettingError
from training.learn.config import GROUPS, RunConfig, make_run, setting_fields, write_run
from training.train import main

FILES = ROOT / "config" / "training"
# What each ablation changes of the paper's method, full.yaml.
ABLATIONS = {
    "detach": {"loss.detach_motion": True},
    "deocclusion_loss": {"loss.mask": 0.0, "loss.consistency": 0.0, "train.without": "residual"},
    "full": {},
    "forward_only": {"loss.both_directions": False},
    "no_consistency": {"loss.consistency": 0.0},
    "no_flow": {"train.without": "flow"},
    "no_image": {"train.without": "image"},
    "no_memory": {"train.without": "memory"},
    "no_paste": {"augment.paste": 0.0},
    "photometric": {"loss.photometric": 1.0},
    "prior_mask": {"model.prior_mask": True},
    "uniform_motion": {"model.motion_base": "uniform"},
}
# And of the online network, online/full.yaml.
ONLINE = {
    "always_hidden": {"augment.paste": 1.0, "augment.behind": 0.0},
    "clean_colours": {
        "augment.low_resolution": 0.0,
        "augment.motion_blur": 0.0,
        "augment.compression": 0.0,
    },
    "equal_windows": {"data.shares": ()},
    "exact_masks": {"augment.mask_noise": 0.0, "augment.holes": 0.0, "augment.split": 0.0},
    "forward_only": {
        "loss.both_directions": False,
        "train.stages": ("2x128:0.6", "4x64:0.2", "8x32:0.2"),
    },
    "full": {},
    "hide_more": {"augment.hide": 0.3},
    "long_windows": {"train.stages": ("8x32:1:both",)},
    "no_consistency": {"loss.consistency": 0.0},
    "no_flow": {"train.without": "flow"},
    "no_image": {"train.without": "image"},
    "no_memory": {"train.without": "memory"},
    "no_prior": {"train.without": "prior"},
    "no_mirror": {"augment.mirror": 0.0},
    "no_sweeps": {"augment.sweeps": 0.0},
    "no_untold": {"augment.untold": 0.0},
    "objects_only": {"augment.poles": 0.0, "augment.rectangles": 0.0},
    "one_occluder": {"augment.several": 0.0},
    "self_supervised": {"data.supervised": ()},
    "short_windows": {"train.stages": ("2x128:1:both",)},
    "shown_others": {"model.blank_others": False},
}


def flat(run):
    groups = dataclasses.asdict(run).items()
    return {f"{group}.{name}": value for group, fields in groups for name, value in fields.items()}


def difference(run, base):
    before = flat(base)
    return {name: value for name, value in flat(run).items() if value != before[name]}


def write(path, text):
    path.write_text(text)
    return path


def test_an_empty_file_and_no_flags_are_the_defaults(tmp_path):
    assert make_run() == make_run(write(tmp_path / "run.yaml", "")) == RunConfig()


def test_no_setting_stands_in_two_groups():
    assert len(setting_fields()) == sum(len(dataclasses.fields(kind)) for kind in GROUPS.values())


@pytest.mark.parametrize(("folder", "changes"), [(".", ABLATIONS), ("online", ONLINE)])
def test_every_shipped_ablation_changes_what_it_says_and_nothing_else(folder, changes):
    files = FILES / "ablations" / folder
    base = make_run(files / "full.yaml")
    found = {path.stem: path for path in files.glob("*.yaml")}
    assert found.keys() == changes.keys()
    for name, path in found.items():
        assert difference(make_run(path), base) == changes[name], name


def test_ablations_begin_from_the_shipped_runs():
    full = {
        name: make_run(FILES / "ablations" / name) for name in ("full.yaml", "online/full.yaml")
    }
    assert full["online/full.yaml"] == make_run(FILES / "online.yaml")
    paper = {"preset": "paper", "prior_mask": False}
    changed = difference(full["full.yaml"], make_run(FILES / "fishbowl.yaml"))
    assert changed == {f"model.{name}": value for name, value in paper.items()}


def test_shipped_runs():
    assert make_run(FILES / "fishbowl.yaml").data.stores == ("data/fishbowl",)
    assert len(make_run(FILES / "street_and_fishbowl.yaml").data.stores) == 2
    online = make_run(FILES / "online.yaml")
    assert [(s.length, s.batch, s.both) for s in online.train.plan] == [
        (2, 16, False),
        (4, 16, True),
    ]
    assert sum(online.data.store_shares) == pytest.approx(1) and len(online.data.stores) == 3
    gum, paper = (make_run(FILES / f"{name}.yaml") for name in ("chewing_gum", "chewing_gum_paper"))
    assert gum.data.source == paper.data.source == "chewing_gum"
    assert (paper.model.width, paper.model.patch, paper.train.length) == (1.0, (64, 128), 40)


def test_flags_override_a_file_and_a_file_its_base(tmp_path):
    write(tmp_path / "base.yaml", "train: {steps: 5, seed: 1}\ndata: {stores: [a]}\n")
    (tmp_path / "sub").mkdir()
    text = "base: ../base.yaml\ntrain: {seed: 2, learning_rate: 1e-4}\n"
    file = write(tmp_path / "sub" / "run.yaml", text)
    run = make_run(file, {"stores": ["b", "c"], "bf16": "no", "ema": "0.5", "name": "0"})
    expected = {
        "train.steps": 5,
        "train.seed": 2,
        "train.learning_rate": 1e-4,
        "train.bf16": False,
        "train.ema": 0.5,
        "train.name": "0",
        "data.stores": ("b", "c"),
    }
    assert difference(run, RunConfig()) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trian: {steps: 5}", ["trian", "train"]),
        ("train: {step: 5}", ["train.step ", "steps"]),
        ("loss: {steps: 5}", ["loss.steps"]),
        ("steps: 5", ["steps"]),
        ("train: 5", ["train", "5"]),
        ("[train]", ["groups"]),
        ("train: {steps: 0}", ["steps", "at least 1"]),
        ("train: {steps: many}", ["steps", "int", "many"]),
        ("train: {bf16: maybe}", ["bf16", "maybe"]),
        ("train: {batch: 6, group: 4}", ["batch", "group"]),
        ("train: {without: brain}", ["without", "brain"]),
        ("base: run.yaml", ["base", "back"]),
        ("train: {", ["YAML"]),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, text, words):
    with pytest.raises(SettingError) as error:
        make_run(write(tmp_path / "run.yaml", text))
    assert all(word in str(error.value) for word in words), error.value


def test_a_written_run_reads_back_as_it_was(tmp_path):
    run = tiny_run(tmp_path, learning_rate=3e-5)
    write_run(tmp_path / "run.yaml", run)
    assert make_run(tmp_path / "run.yaml") == run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "0"], "steps must be"),
        (["--data", "nowhere"], "stores must hold"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, capsys, arguments, words):
    assert main(["--out", str(tmp_path / "run"), "--device", "cpu", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
