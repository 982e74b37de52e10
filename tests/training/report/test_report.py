# ruff: noqa: E402  (nothing below imports where matplotlib is absent)
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from savos_model.config import ModelConfig
from savos_model.network.weights import load_weights
from savos_model.results import ResultsError, write_results
from savos_model.stream.video import described
from training.report.build import build_report
from training.report.cells import (
    MODES,
    Comparison,
    Pooled,
    Results,
    Scored,
    Source,
    ablation_file,
    gain,
    lookup,
    setting,
    unseen_file,
)
from training.report.paper import PAPER, TYPES
from training.report.tables import OURS, cells_of

SMALL = {
    "weights": "tiny",
    "engine": "onnx",
    "settings": {"width": 0.25, "patch_height": 32, "patch_width": 64},
    "training": {"step": "900"},
}


@pytest.fixture
def trained(tmp_path):
    """Makes weights as a training leaves them, described as in results files."""
    pytest.importorskip("torch")
    from savos_model.network.losses import LossConfig
    from savos_model.network.presets import make_net
    from training.learn.checkpoint import Reached
    from training.learn.config import DataConfig, RunConfig, TrainConfig
    from training.train import save_best

    def make(both_directions=True, **data):
        settings = {"steps": 1000, "batch": 16, "length": 8, "start": "/srv/runs/a.safetensors"}
        model = ModelConfig(width=0.0625)
        run = RunConfig(
            DataConfig(**data), model, TrainConfig(**settings, name="small"),
            loss=LossConfig(both_directions=both_directions),
        )  # fmt: skip
        average = make_net(model).state_dict()
        save_best(tmp_path / "best.safetensors", run, average, Reached(900, 0.5))
        return described(load_weights(str(tmp_path / "best.safetensors")))

    return make


def method(value, clips=("a", "b")):
    """A method's report whose means are all different, and below 1."""
    return {
        "n": 20, "frames": 10 * len(clips), "full": value, "occluded": value / 2,
        "full_object": value - 0.01, "occluded_object": value / 2 - 0.01,
        "ci95": {"full": [value - 0.1, value + 0.1], "occluded": None},
        "clips": {
            name: {"frames": 10, "full": value + 0.01 * k, "occluded": value / 2 + 0.01 * k}
            for k, name in enumerate(clips)
        },
    }  # fmt: skip


def in_one(report):
    """Return the report as evaluations write it now, each interval with its mean."""
    ci95 = report["ci95"]
    parts = {part: {"mean": report[part], "ci95": ci95[part]} for part in ("full", "occluded")}
    return {**{name: value for name, value in report.items() if name != "ci95"}, **parts}


@pytest.mark.parametrize("form", [dict, in_one])
def test_figures_of_both_forms_of_a_report_are_found(tmp_path, form):
    write(tmp_path, "a.json", {"ours": form(method(0.8))})
    results = Results(tmp_path)
    full = results.figure(Source("a.json", "methods.ours.full"))
    assert (full.value, full.interval) == (0.8, pytest.approx((0.7, 0.9)))
    pooled = results.figure(Pooled(("a.json", "a.json"), "methods.ours.occluded"))
    assert (pooled.value, pooled.interval) == (pytest.approx(0.4), None)


def write(folder, name, methods, model=SMALL, **more):
    metrics = {"protocol": {"mode": "bidirectional"}, "model": model, "methods": methods, **more}
    write_results(folder / name, metrics, seed=7, command=f"measure {name}")


def test_figures_that_the_paper_repeats_agree():
    """Tables that show the same measurement; a digit copied wrongly differs."""
    rows = {key: table.rows for key, table in PAPER.items()}
    main = rows["1"]
    assert rows["S7"]["Self-Deocclusion"] == main["Self-Deocclusion"][:4]
    same = "Self-Deocclusion architecture, Self-Deocclusion loss"
    assert rows["S2"][same] == main["Self-Deocclusion"][:4]
    for name in ("Self-Deocclusion", "SaVos"):
        assert rows["3"][f"{name}, trained on KINS-Video-Car"] == main[name][2:4]
    assert rows["2"]["SaVos trained on all types"][-2:] == main["SaVos"][:2]
    assert rows["S4"]["SaVos"] == main["SaVos"][1:4:2]
    assert rows["S5"]["SaVos, occluded"][0] == main["SaVos"][3]


def test_every_row_has_a_cell_per_column():
    for key, table in PAPER.items():
        assert set(OURS.get(key, {})) <= set(table.rows)
        for row, figures in table.rows.items():
            assert len(figures) == len(cells_of(key, row)) == len(table.columns)


def test_report_without_any_results_names_the_missing_files(tmp_path):
    page = build_report(tmp_path / "none", tmp_path / "out").read_text()
    for table in PAPER.values():
        assert table.title in page
        for figures in table.rows.values():
            assert all(f"paper {value:.4f}" in page for value in figures)
    for name in ("ours", "baselines", "fishbowl_deocclusion", "no_flow"):
        assert f"needs kins_video_car_{name}.json; KINS-Video-Car is not there" in page
    assert "needs fishbowl_val.json" in page and "needs alpha.json" in page
    assert "**0." not in page and "instances_train.json" in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md"]


def test_figures_are_next_to_the_papers(tmp_path):
    write(tmp_path, "fishbowl_bidirectional.json", {"ours": method(0.876543)})
    write(tmp_path, "fishbowl_baselines.json", {"convex": method(0.75), "ours": method(0.8)})
    page = build_report(tmp_path, tmp_path / "out").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| SaVos |"))
    cells = row.split(" | ")
    assert cells[1].startswith("**0.8765** (0.777 to 0.977) <sup>")
    assert re.fullmatch(r"\*\*0\.4383\*\* <sup>\d+r</sup><br>paper 0\.7155", cells[2])
    rules = next(line for line in page.splitlines() if line.startswith("| Convex |"))
    assert re.search(r"\*\*0\.7500\*\* \(0\.650 to 0\.850\) <sup>\d+</sup><br>paper 0\.7761", rules)
    assert "`fishbowl_bidirectional.json`: seed 7" in page
    assert "`measure fishbowl_bidirectional.json`" in page
    assert "reduced: width 0.25, 32x64 patches (paper: width 1, 64x128)" in page
    objects = page[page.index("Supplement, table 8") :]
    assert "**0.8665**" in next(x for x in objects.splitlines() if x.startswith("| SaVos |"))


def test_cells_of_kins_video_car_are_filled_by_the_released_rule(tmp_path):
    ours = {"released": method(0.81), "clean": method(0.7)}
    write(tmp_path, "kins_video_car_ours.json", {"ours": ours})
    both = {"base": {"released": method(0.5)}, "adapted": {"released": method(0.6)}}
    write(tmp_path, "kins_video_car_fishbowl.json", both)
    page = build_report(tmp_path, tmp_path / "out").read_text()
    lines = page.splitlines()
    row = next(line for line in lines if line.startswith("| SaVos |")).split(" | ")
    assert row[3].startswith("**0.8100** (0.710 to 0.910)") and "0.4050" in row[4]
    assert any(x.startswith("| SaVos, FISHBOWL, adapted | **0.6000**") for x in lines)
    absent = next(x for x in lines if "kins_video_car_baselines.json" in x)
    assert absent.endswith("KINS-Video-Car is not there: see [what it takes](#missing-data)")


def test_streets_are_reported_with_and_without_what_nothing_tracked_hides(tmp_path):
    visible = method(0.5) | {"behind_objects": {"full": 0.45, "occluded": 0.0}}
    write(tmp_path, "street_val.json", {"visible": visible}, model={})
    page = build_report(tmp_path, tmp_path / "out").read_text()
    part = page[page.index("### Generated street") :]
    row = next(x for x in part.splitlines() if x.startswith("| visible mask alone |"))
    figures = re.findall(r"\*\*(0\.\d{4})\*\*", row)
    assert figures == ["0.5000", "0.2500", "0.4500", "0.0000"]


def test_types_are_pooled_by_frames(tmp_path):
    for k, name in enumerate(TYPES):
        clips = tuple("abcde"[: k + 1])
        methods = {"base": method(0.5, clips), "adapted": method(0.5 + 0.05 * k, clips)}
        write(tmp_path, unseen_file(name), methods)
    results = Results(tmp_path)
    whole = results.figure(Pooled(tuple(map(unseen_file, TYPES)), "methods.adapted.full"))
    assert whole.value == pytest.approx(sum((k + 1) * (0.5 + 0.05 * k) for k in range(5)) / 15)
    (tmp_path / unseen_file(TYPES[2])).unlink()
    gone = Results(tmp_path).figure(Pooled(tuple(map(unseen_file, TYPES)), "methods.adapted.full"))
    assert gone.value is None and TYPES[2] in gone.note


def test_every_figure_of_a_row_of_types_is_of_the_same_weights():
    for row in PAPER["2"].rows:
        *types, full, occluded = cells_of("2", row)
        assert full.files == occluded.files == tuple(cell.file for cell in types), row


def test_gain_weights_clips_by_frames_and_needs_the_same_frames(tmp_path):
    before, after = method(0.5), method(0.6)
    after["clips"]["b"]["frames"] = before["clips"]["b"]["frames"] = 30
    after["clips"]["b"]["full"] += 0.1
    names = [ablation_file("full", mode) for mode in MODES]
    for name, report in zip(names, (before, after), strict=True):
        write(tmp_path, name, {"ours": report})
    pair = (Scored(names[0]), Scored(names[1]))
    found = gain(Results(tmp_path), Comparison("x", (pair,)), "full")
    assert found.value == pytest.approx((10 * 0.1 + 30 * 0.2) / 40)
    assert found.interval == pytest.approx((0.1, 0.2))
    after["clips"]["b"]["frames"] = 29
    write(tmp_path, names[1], {"ours": after})
    other = gain(Results(tmp_path), Comparison("x", (pair,)), "full")
    assert other.value is None and "different frames" in other.note


def test_broken_files_are_named_not_blank(tmp_path):
    write(tmp_path, "fishbowl_val.json", {"ours": {"full": "high"}})
    with pytest.raises(ResultsError, match="fishbowl_val.json.*'high'"):
        Results(tmp_path).figure(Source("fishbowl_val.json", "methods.ours.full"))
    lacking = Results(tmp_path).figure(Source("fishbowl_val.json", "methods.ours.occluded"))
    assert lacking.value is None and lacking.note.endswith("methods.ours.occluded")


def test_setting_names_what_ran():
    assert setting({"model": {}}) == "rules, nothing learned"
    assert setting({"bins": []}) == "network not stored"
    large = {"width": 1.0, "patch_height": 64, "patch_width": 128}
    text = setting({"mode": "forward", "model": {"weights": "big", "settings": large}})
    assert text == "mode forward; weights big, width 1, 64x128 patches"
    files = {"oracle": {"file": "net.safetensors", "settings": {**large, "width": 0.5}}}
    assert setting({"files": files}).startswith("oracle net.safetensors, reduced: width 0.5")
    adapt = {"batch": 8, "learning_rate": 1e-4, "seed": 0}
    assert setting({"adapt": adapt}) == "adapted to each video: batch 8, learning_rate 0.0001"
    assert lookup({"a": {"b": 1}}, "a.c") is None


def test_weights_name_their_training(trained):
    stores = ("/srv/data/fish32", "data/street", "data/street")
    text = setting({"model": trained(stores=stores)})
    assert text == (
        "weights small, reduced: width 0.0625, 32x64 patches (paper: width 1, 64x128), 900 steps "
        "of 16 windows of 8 frames of fish32, street, begun with other weights"
    )
    text = setting({"model": trained(source="chewing_gum")})
    assert "windows of 8 frames of videos generated on the way" in text and "alpha" not in text
    text = setting({"model": trained(both_directions=False)})
    assert text.endswith("forward alone: shares of a merge (alpha) are untrained")


def test_stages_and_means_of_weights_are_named(trained):
    model = trained(stores=("data/fish32",))
    groups = json.loads(model["training"]["settings"])
    groups["train"]["stages"] = ["2x16:0.7:forward", "4x16:0.3:both"]
    model["training"]["settings"] = json.dumps(groups)
    assert "900 steps of stages 2x16:0.7:forward, 4x16:0.3:both of fish32" in setting(
        {"model": model}
    )
    del model["training"]["step"]
    assert "a mean of weights after steps of stages 2x16" in setting({"model": model})


def test_the_network_s_size_is_found_in_the_settings_of_its_training(trained):
    model = trained(stores=("data/fish32",))
    del model["settings"]
    assert "reduced: width 0.0625, 32x64 patches" in setting({"model": model})


def test_a_network_of_single_frames_names_its_steps():
    pytest.importorskip("torch")
    from training.baselines.train_unet import UNetTraining, describe

    training = describe(700, 0.5, [Path("/srv/data/fish32")], UNetTraining(steps=900, batch=64))
    text = setting({"files": {"oracle": {"file": "best.safetensors", "training": training}}})
    assert "700 steps of 64 frames of fish32" in text
