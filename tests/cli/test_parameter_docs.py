from pathlib import Path

import pytest
import yaml

from savos_ros.cli.docs import parameters, results
from savos_ros.cli.main import app
from savos_ros.messages import settings
from tests.failing import refused
from training.report import tables
from training.report.cells import Results

ROOT = Path(__file__).parents[2]


def test_parameter_file_is_the_generated_one():
    text = (ROOT / "config" / "amodal.yaml").read_text(encoding="utf-8")
    assert text == parameters.yaml_text(), "run `savos params --write`"


def test_parameter_file_holds_every_default_with_its_type():
    tree = yaml.safe_load(parameters.yaml_text())["/**"]["ros__parameters"]
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{leaf}": inner for leaf, inner in value.items()}
        else:
            flat[key] = value
    defaults = settings.values(settings.NodeSettings())
    del defaults["autostart"]  # a file that is passed along must not switch it off
    assert flat == defaults
    assert {name: type(value) for name, value in flat.items()} == {
        name: type(value) for name, value in defaults.items()
    }
    assert settings.build(flat) == settings.NodeSettings()


@pytest.mark.torch
def test_the_generated_documents_are_up_to_date():
    for name, text in parameters.pages(app).items():
        there = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert there == text, f"docs/{name}: run `savos params --write`"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = results.markdown_text(ROOT / "docs" / "results")
    assert wanted in readme and results.BEGIN in readme, "run `savos params --write`"
    card = (ROOT / parameters.CARD).read_text(encoding="utf-8")
    wanted = results.markdown_text(ROOT / "docs" / "results", results.OF_WEIGHTS)
    assert wanted in card and "KITTI" in wanted, "run `savos params --write`"


def test_the_readme_scores_the_same_chewing_gum_objects_as_the_report():
    found = Results(ROOT / "docs" / "results")
    full, occluded = (found.figure(cell).value for cell in tables.gum(tables.GUM))
    text = results.markdown_text(found.folder, [Path(tables.GUM).stem])
    assert "lower object" in text and f"{full:.3f}/{occluded:.3f}" in text


def test_every_setting_has_a_text_and_the_table_a_row_for_it():
    table = parameters.markdown_text()
    for name, field in settings.fields():
        assert len(field.metadata["text"]) > 5
        assert table.count(f"| `{name}` |") == 1


@pytest.mark.torch  # which some options of training need
def test_pages_name_every_field_of_the_messages_and_every_option_of_a_command():
    pages = parameters.pages(app)
    assert (
        "| `occlusion` | `float32` | hidden share of the amodal area, 0..1; NaN with COASTED"
        in pages["messages.md"]
    )
    assert "| `COASTED` | 3 |" in pages["messages.md"]
    assert pages["messages.md"].count("\n## ") == len(list((ROOT / "msg").glob("*.msg")))
    commands = pages["commands.md"]
    for heading in ("## savos run", "## savos bench", "### savos bench node", "## savos train"):
        assert f"{heading}\n" in commands
    assert "| `BAG` | required | folder of a bag" in commands
    assert "| `--video`, `--no-video` | `--video` |" in commands
    assert "| `--learning-rate` | `0.001` | train: peak learning rate of Adam" in commands
    assert "| `--max-frames` | `0` | stop after so many" in commands, "a default of 0 is a default"


@pytest.mark.torch  # which some options of training need
def test_update_writes_file_and_table_once(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text(f"top\n{results.BEGIN}\nold\n{results.END}\nrest\n")
    assert len(parameters.update(tmp_path, app)) == 2 + len(parameters.pages(app))
    assert readme.read_text().startswith("top\n") and readme.read_text().endswith("\nrest\n")
    assert "old" not in readme.read_text()
    assert (tmp_path / "docs" / "parameters.md").read_text() == parameters.markdown_text()
    assert parameters.update(tmp_path, app) == []


def test_changes_are_built_and_checked_as_a_set():
    changed = settings.build({"compose.threshold": 0.25, "input.queue_depth": 7, "autostart": True})
    assert changed.stream.compose.threshold == 0.25
    assert changed.input.queue_depth == 7 and changed.autostart
    assert settings.build(settings.values(changed)) == changed


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("compose.threshold", 2.0, "bounds"),
        ("compose.threshold", "high", "type"),
        ("compose.threshold", float("nan"), "finite"),
        ("input.mask_source", "magic", "choices"),
        ("compose.treshold", 0.5, "rule"),
        ("autostart", 1, "type"),
        ("adapt.device", "banana", "rule"),
        ("model.device", "gpu", "rule"),
        ("model.precision", "fp16", "rule"),
        ("refine.stride", 99, "rule"),
    ],
)
def test_bad_values_name_parameter_rule_and_value(name, value, kind):
    with refused(name, kind) as info:
        settings.build({name: value})
    assert "got" not in str(info.value) or str(value) in str(info.value)
