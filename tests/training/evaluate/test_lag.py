import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest
from tiny_clip import write_clip

from savos_model.config import BackendConfig, ComposeConfig, StreamConfig
from savos_model.results import write_results
from savos_model.stream.video import Setup
from tests.tiny_weights import save_random
from training.evaluate.compare import compare_modes, evaluate_lag
from training.evaluate.mask_sets import Fishbowl
from training.evaluate.metrics import ObjectScore
from training.evaluate.settings import Output
from training.evaluate.video import VideoResult


def score(frame, name, occluded):
    return ObjectScore(
        "a", frame, name, 1000, 500, 300, 0.5, 30.0, 0.9, occluded, 300, 50, 1.0, 0.9
    )


def lag_result(clip, scores):
    return VideoResult(clip, 40, {"ours": {"paper": scores}}, {}, Counter(), Counter(), {"p": 0})


def test_gains_are_paired_and_split_by_age():
    early = {"forward": 0.2, "lag:2": 0.3, "bidirectional": 0.4}
    results = {
        mode: [lag_result("a", [score(1, "p", value), score(30, "p", 0.6)])]
        for mode, value in early.items()
    }
    report = compare_modes(results, 0)
    assert report["lag:2"]["gain"]["occluded"]["mean"] == pytest.approx(0.05)
    assert report["lag:2"]["share_of_gain"] is None  # one clip has no interval
    by_age = report["bidirectional"]["by_age"]
    assert by_age["1-4"]["gain"]["mean"] == pytest.approx(0.2) and by_age["1-4"]["n"] == 1
    assert by_age["20-39"]["gain"]["mean"] == pytest.approx(0.0)
    assert by_age["80+"]["gain"]["mean"] is None


@pytest.mark.parametrize(("other", "share"), [(0.4, 0.5), (0.1, None)])
def test_a_share_is_only_reported_for_a_proven_gain(other, share, tmp_path):
    pytest.importorskip("matplotlib")
    from training.report.build import build_report

    modes = {
        "forward": (0.2, 0.2),
        "lag:2": (0.3, (0.2 + other) / 2),
        "bidirectional": (0.4, other),
    }
    results = {
        mode: [
            lag_result(clip, [dataclasses.replace(score(1, "p", value), clip=clip)])
            for clip, value in zip("ab", values, strict=True)
        ]
        for mode, values in modes.items()
    }
    report = compare_modes(results, 0)
    assert report["bidirectional"]["gain"]["occluded"]["mean"] > 0
    assert report["lag:2"]["share_of_gain"] == (share and pytest.approx(share))
    report["lag:2"]["share_of_gain"] = 0.5  # as files have it that were written before this rule
    write_results(tmp_path / "fishbowl_lag.json", {"modes": report}, seed=0)
    page = build_report(tmp_path, tmp_path / "out").read_text()
    assert ("lag:2 50%" in page) is (share is not None)
    assert ("no shares" in page) is (share is None)


def test_every_mode_scores_the_same_objects(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    write_clip(clips, "first")
    # Random weights are as certain everywhere: a low threshold would publish the whole crop.
    compose = ComposeConfig(threshold=0.46, peak=0.46, complete_into="others")
    stream = StreamConfig(compose=compose)
    ours = Setup(BackendConfig(weights=str(save_random(tmp_path / "w.safetensors"))), stream)
    out = tmp_path / "lag.json"
    evaluate_lag(Fishbowl(clips), ours, ("forward", "lag:2"), Output(out))
    modes = json.loads(Path(out).read_text())["metrics"]["modes"]
    assert modes["forward"]["n"] == modes["lag:2"]["n"] > 0
    assert modes["forward"]["gain"]["full"] == {"mean": 0.0, "ci95": None}
    assert modes["lag:2"]["full"] != modes["forward"]["full"]  # the backward pass took part
