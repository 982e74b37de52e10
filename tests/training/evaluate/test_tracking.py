import json

import pytest
from tiny_clip import FRAMES, write_clip
from typer.testing import CliRunner

from savos_model.results import read_results
from savos_model.settings import SettingError
from savos_ros.cli.main import app
from tests.tiny_weights import save_random
from training.evaluate.settings import TrackingOptions
from training.evaluate.tracking import TrackingScore, tracked_set, tracking_score


def test_ids_that_agree_score_one():
    true = [["a", "b"], ["b", "a"], ["a"], ["a", "b"]]
    given = [["1", "2"], ["2", "1"], ["1"], ["1", "2"]]
    found = tracking_score(true, given)
    assert found == TrackingScore(masks=7, agreeing=7, returns=1, kept=1, tracks=2, ids=2)
    assert found.idf1 == 1


def test_a_new_id_after_a_gap_is_one_switch_and_the_longer_half_counts():
    true = [["a"], ["a"], [], ["a"], ["a"], ["a"]]
    given = [["1"], ["1"], [], ["2"], ["2"], ["2"]]
    found = tracking_score(true, given)
    assert found == TrackingScore(5, 3, switches=1, returns=1, kept=0, tracks=1, ids=2)
    assert found.idf1 == pytest.approx(0.6)


def test_swapped_ids_are_two_switches():
    true = [["a", "b"]] * 4
    given = [["1", "2"], ["1", "2"], ["2", "1"], ["2", "1"]]
    found = tracking_score(true, given)
    assert (found.agreeing, found.masks, found.switches) == (4, 8, 2)


def test_one_id_for_two_tracks_agrees_with_one_of_them():
    found = tracking_score([["a"], ["a"], ["b"]], [["1"], ["1"], ["1"]])
    assert (found.agreeing, found.switches, found.tracks, found.ids) == (2, 0, 2, 1)


def test_scores_add_up_and_nothing_has_no_idf1():
    assert tracking_score([[], []], [[], []]) == TrackingScore() and TrackingScore().idf1 is None
    both = TrackingScore(5, 3, 1, 1, 0, 1, 2) + TrackingScore(5, 5, 0, 0, 0, 2, 2)
    assert both == TrackingScore(10, 8, 1, 1, 0, 3, 4) and both.plain()["idf1"] == 0.8


def test_the_command_writes_ids_of_all_methods(tmp_path):
    write_clip(tmp_path, "fishbowl_0001")
    out, weights = tmp_path / "out.json", save_random(tmp_path / "w.safetensors")
    options = ["--set", "fishbowl", "--data", str(tmp_path), "--json", str(out)]
    result = CliRunner().invoke(app, ["evaluate", "tracking", *options, "--weights", str(weights)])
    assert result.exit_code == 0, result.output
    metrics = read_results(out)["metrics"]
    assert metrics["data"] == {"set": "fishbowl", "clips": ["fishbowl_0001"], "frames": FRAMES}
    assert metrics["association"]["masks"] == "amodal"
    given, amodal, visible = (metrics["methods"][n] for n in ("given", "amodal", "visible"))
    assert given["idf1"] == 1 and given["switches"] == 0 and given["ids"] == given["tracks"] == 2
    assert given["masks"] == amodal["masks"] == visible["masks"] > FRAMES
    assert 0.5 < amodal["idf1"] <= 1 and amodal["clips"] == {"fishbowl_0001": amodal["idf1"]}
    assert amodal["association_ms"]["p50"] > 0
    assert given["open_full"]["n"] == amodal["open_full"]["n"] > 0
    assert json.loads(out.read_text())["seed"] == 0


def test_the_set_says_what_it_needs(tmp_path):
    with pytest.raises(SettingError, match="give --data"):
        TrackingOptions(set="kitti")
    assert tracked_set(TrackingOptions(scenes=2, frames=9)).entries() == [(1000, 9), (1001, 9)]
    kinds = {tracked_set(TrackingOptions(set=s, data=tmp_path)).name for s in ("kitti", "rendered")}
    assert kinds == {"kitti_mots", "rendered"}
