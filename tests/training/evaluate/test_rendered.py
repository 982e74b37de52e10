import pytest
import tiny_fishbowl

from savos_model.results import read_results
from savos_model.stream.video import Setup
from training.evaluate.benchmark import evaluate
from training.evaluate.mask_sets import Rendered
from training.evaluate.settings import Output


@pytest.fixture
def clips(tmp_path, monkeypatch):
    square = tiny_fishbowl.square
    monkeypatch.setattr(tiny_fishbowl, "square", lambda x, y: square(x, y, 24))
    folder = tmp_path / "val"
    folder.mkdir()
    for name in ("rendered_1_street", "rendered_2_table", "rendered_3_table"):
        tiny_fishbowl.write_clip(folder, name)
    return folder


def test_kinds_are_reported_apart_and_together(clips, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    out = tmp_path / "out.json"
    metrics = evaluate(Rendered(clips), ["visible", "convex"], Setup(), Output(out))
    assert read_results(out)["metrics"] == metrics
    assert metrics["data"]["set"] == "rendered" and metrics["data"]["frames"] == 18
    kinds = metrics["kinds"]
    assert {k: len(part["methods"]["visible"]["clips"]) for k, part in kinds.items()} == {
        "street": 1, "table": 2,
    }  # fmt: skip
    for name in ("visible", "convex"):
        together = metrics["methods"][name]
        apart = [kinds[kind]["methods"][name] for kind in ("street", "table")]
        for key in ("open_full", "open_hidden", "false_area"):
            assert together[key]["n"] == sum(report[key]["n"] for report in apart) > 0
            assert together[key]["mean"] == pytest.approx(apart[0][key]["mean"])  # equal clips
        assert together["n"] == 3 * apart[0]["n"]
    assert metrics["methods"]["visible"]["false_area"]["mean"] == 0
    text = capsys.readouterr().out
    assert "Open protocol, table" in text and "1_street" in text
