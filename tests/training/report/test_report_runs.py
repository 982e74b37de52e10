import dataclasses
import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from savos_model.config import ModelConfig
from savos_model.results import ResultsError, write_results
from training.learn.config import RunConfig, TrainConfig, write_run
from training.report.build import build_report
from training.report.runs import runs_metrics, runs_table

RUN = RunConfig(
    model=ModelConfig(width=0.125),
    train=TrainConfig(steps=40, stages=("2x16:0.5", "4x8:0.5"), name="a"),
)
TERMS = {"mask": 0.1, "direct": 0.2, "merged": 0.3, "consistency": 0.4}


@pytest.fixture
def runs(tmp_path):
    """Return folders of two runs; the second one has no flow and a wider network."""
    train = dataclasses.replace(RUN.train, without="flow", name="b")
    other = dataclasses.replace(RUN, train=train, model=ModelConfig(width=0.25))
    folders = []
    for name, run, losses in (("full", RUN, (0.5, 0.4)), ("no_flow", other, (0.6, 0.55))):
        folder = tmp_path / name
        folder.mkdir()
        write_run(folder / "run.yaml", run)
        rows = [{"step": 20 * (i + 1), "val": loss, **TERMS} for i, loss in enumerate(losses)]
        (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        folders.append(folder)
    return folders


def test_runs_show_what_differs_and_what_they_saw(runs):
    full, other = runs_metrics(runs)["runs"].values()

    assert full["changes"] == {}
    assert other["changes"] == {"width": "0.25", "without": "flow"}
    assert [row["object_frames"] for row in full["curve"]] == [20 * 32, 20 * 32 + 20 * 32]
    assert [row["val"] for row in other["curve"]] == [0.6, 0.55]
    assert other["parameters"] > full["parameters"] and other["mflop"] > full["mflop"]


def test_stages_of_unequal_size_are_counted(runs):
    train = dataclasses.replace(RUN.train, stages=("2x64:0.5", "4x8:0.5"))
    write_run(runs[0] / "run.yaml", dataclasses.replace(RUN, train=train))

    curve = runs_metrics(runs[:1])["runs"]["full"]["curve"]

    assert [row["object_frames"] for row in curve] == [20 * 128, 20 * 128 + 20 * 32]


def test_the_report_holds_table_and_plot(runs, tmp_path):
    metrics = runs_metrics(runs)
    (tmp_path / "results").mkdir()
    write_results(tmp_path / "results" / "runs_parts.json", metrics, seed=0)

    text = build_report(tmp_path / "results", tmp_path / "out").read_text()

    assert "## Training runs" in text
    assert "| no_flow | width 0.25, without flow |" in text
    assert (tmp_path / "out" / "runs_parts.png").stat().st_size > 1000
    assert [row[-5] for row in runs_table(metrics).rows] == ["0.4000", "0.5500"]


def test_the_table_compares_at_equal_object_frames(runs):
    log = runs[1] / "log.jsonl"
    log.write_text(log.read_text().splitlines()[0])  # the second run ended earlier

    rows = runs_table(runs_metrics(runs)).rows

    assert [row[-5] for row in rows] == ["0.5000", "0.6000"]


def test_without_compared_runs_the_report_has_no_heading_for_them(tmp_path):
    (tmp_path / "results").mkdir()
    assert "## Training runs" not in build_report(tmp_path / "results", tmp_path).read_text()


@pytest.mark.parametrize("content", ["", "no json\n", '{"step": 3}\n'])
def test_a_log_without_validations_is_refused(runs, content):
    (runs[1] / "log.jsonl").write_text(content)

    with pytest.raises(ResultsError, match="no_flow"):
        runs_metrics(runs)


def test_a_folder_without_run_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=tmp_path.name):
        runs_metrics([tmp_path])


def test_two_runs_of_one_name_are_refused(runs):
    with pytest.raises(ResultsError, match="full"):
        runs_metrics([runs[0], runs[0]])
