import json
import sys
import types

import numpy as np
import pytest
from failing import refused
from tiny_clip import FRAMES, write_clip
from typer.testing import CliRunner

from savos_model.config import BackendConfig
from savos_model.results import read_results
from savos_model.stream.video import Setup
from savos_model.types import Box, Frame, Instance
from savos_ros.cli.main import app
from tests.tiny_weights import save_random
from training.evaluate import tracking
from training.evaluate.mask_sets import Fishbowl
from training.evaluate.settings import TrackingOptions
from training.evaluate.tracking import (
    TrackingScore,
    evaluate_tracking,
    tracked_set,
    tracking_score,
)


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


def test_masks_without_an_id_are_missed_detections():
    true = [["a"], ["a", "b"], ["a", "b"]]
    given = [[""], ["1", ""], ["1", "2"]]
    found = tracking_score(true, given)
    assert (found.masks, found.agreeing, found.unnamed, found.switches) == (5, 3, 2, 0)
    assert (found.tracks, found.ids, found.returns) == (2, 2, 0)
    assert found.idf1 == pytest.approx(2 * 3 / (5 + 3))


def test_a_mask_without_an_id_ends_no_identity():
    found = tracking_score([["a"]] * 3, [["1"], [""], ["2"]])
    assert (found.switches, found.agreeing, found.unnamed) == (1, 1, 1)
    assert tracking_score([["a"]] * 2, [[""], [""]]).idf1 == 0


@pytest.fixture
def package(monkeypatch):
    """Install a package of trackers that number boxes from left to right, none in frame 0."""

    class Detections:
        def __init__(self, xyxy, confidence, data):
            self.xyxy, self.confidence, self.data = xyxy, confidence, data

        def __len__(self):
            return len(self.xyxy)

    class Tracker:
        def __init__(self, **options):
            assert options == tracking.OPTIONS
            self.frame = -1

        def update(self, found, frame=None):
            self.frame += 1
            order = np.argsort(-found.xyxy[:, 0])
            found.data = {"place": found.data["place"][order]}
            found.tracker_id = np.argsort(np.argsort(found.xyxy[order, 0]))
            if self.frame == 0:
                found.tracker_id[:] = -1
            assert (found.confidence == 1).all()
            return found

    classes = dict.fromkeys(tracking.CLASSES.values(), Tracker)
    monkeypatch.setitem(sys.modules, "trackers", types.SimpleNamespace(**classes))
    monkeypatch.setitem(sys.modules, "supervision", types.SimpleNamespace(Detections=Detections))
    monkeypatch.setattr(tracking, "absent", lambda: "")
    monkeypatch.setattr(tracking, "version", lambda: "0.0")


def test_an_outside_tracker_gives_ids_in_the_order_of_the_masks(package):
    masks = [Instance(f"x{x}", Box(x, 0, x + 2, 2), np.ones((2, 2), np.uint8)) for x in (6, 0, 3)]
    frame = Frame(0, np.zeros((8, 8, 3), np.uint8), masks)
    ids = tracking.outside_tracker("bytetrack")
    assert ids(frame) == ["", "", ""]
    assert ids(frame) == ["2", "0", "1"]


def test_outside_trackers_are_scored_next_to_ours(tmp_path, package):
    write_clip(tmp_path, "fishbowl_0001")
    setup = Setup(BackendConfig(weights=str(save_random(tmp_path / "w.safetensors"))))
    found = evaluate_tracking(Fishbowl(tmp_path), setup, trackers=("sort",))
    assert found["outside"] == {"trackers": "0.0", "options": tracking.OPTIONS}
    score = found["methods"]["sort"]
    assert score["masks"] == found["methods"]["given"]["masks"]
    assert score["unnamed"] > 0 and 0 < score["idf1"] < 1 and "open_full" not in score


def test_outside_trackers_are_skipped_with_a_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "installed", lambda name: name != "trackers")
    write_clip(tmp_path, "fishbowl_0001")
    setup = Setup(BackendConfig(weights=str(save_random(tmp_path / "w.safetensors"))))
    found = evaluate_tracking(Fishbowl(tmp_path), setup, trackers=("sort",))
    assert "pip install trackers" in found["outside"]["skipped"]
    assert found["methods"].keys() == tracking.METHODS.keys()
    assert "skipped: sort" in capsys.readouterr().out
    with refused("trackers", "choices"):
        TrackingOptions(trackers=("magic",))


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
    with refused("data"):
        TrackingOptions(set="kitti")
    assert tracked_set(TrackingOptions(scenes=2, frames=9)).entries() == [(1000, 9), (1001, 9)]
    kinds = {tracked_set(TrackingOptions(set=s, data=tmp_path)).name for s in ("kitti", "rendered")}
    assert kinds == {"kitti_mots", "rendered"}
