import numpy as np
import pytest
from tiny_clip import FRAMES, FakeOnline, TruthfulStream, scene, write_clip
from typer.testing import CliRunner

from savos_model.results import read_results
from savos_model.stream.video import Setup
from savos_model.types import Box
from savos_ros.cli.main import app
from training.evaluate import video
from training.evaluate.benchmark import evaluate
from training.evaluate.mask_sets import Fishbowl, scored_ids
from training.evaluate.metrics import method_report
from training.evaluate.settings import Output
from training.evaluate.video import score_videos


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fishbowl")
    for name in ("first", "second"):
        write_clip(folder, name)
    return folder


def test_fishbowl_protocol_end_to_end(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "Online", lambda setup: FakeOnline(TruthfulStream, "truth"))
    out = tmp_path / "out.json"
    methods = ["ours", "visible", "convex"]
    metrics = evaluate(Fishbowl(clips), methods, Setup(), Output(out))
    assert read_results(out)["metrics"] == metrics
    assert metrics["model"] == {"weights": "truth"}
    assert metrics["data"] == {"set": "fishbowl", "clips": ["first", "second"], "frames": 20}
    # The back one is hidden by 10-70 % in frames 5 to 8 of its run; frame 9 is the end of the run.
    rates = [1 - (b & ~f).sum() / b.sum() for f, b in map(scene, range(FRAMES))]
    scored = [frame for frame in range(1, FRAMES - 1) if 0.1 < rates[frame] < 0.7]
    visible, ours = metrics["methods"]["visible"], metrics["methods"]["ours"]
    assert visible["n"] == ours["n"] == 2 * len(scored) > 0
    expected = np.mean([1 - rates[frame] for frame in scored])
    assert visible["full"]["mean"] == pytest.approx(expected)
    assert visible["full"]["ci95"] == [pytest.approx(expected)] * 2  # two equal clips
    assert visible["occluded"]["mean"] == pytest.approx(0, abs=1e-6)
    assert [ours[name]["mean"] for name in ("full", "occluded")] == [pytest.approx(1)] * 2
    assert ours["false_completion"] == 0
    assert metrics["methods"]["convex"]["full"]["mean"] == pytest.approx(expected)
    # The open protocol scores the last frame too, and the square in front in all ten.
    opened = [frame for frame in range(FRAMES) if 0.1 <= rates[frame] <= 0.9]
    assert visible["open_full"]["n"] == 2 * len(opened) > visible["n"]
    assert visible["open_full"]["mean"] == pytest.approx(1 - np.mean([rates[i] for i in opened]))
    assert ours["open_hidden"]["mean"] == pytest.approx(1)
    assert ours["false_area"]["n"] == 2 * (FRAMES + sum(rate < 0.02 for rate in rates))
    assert ours["false_area"]["mean"] == 0
    assert ours["open"]["by_age"]["0"]["n_unhidden"] == 4  # two objects of two clips
    assert list(visible["clips"]) == ["first", "second"]


@pytest.mark.slow
def test_shards_give_the_same_numbers(clips):
    one, two = (
        evaluate(Fishbowl(clips), ["visible", "flow3"], Setup(), Output(processes=count))
        for count in (1, 2)
    )
    assert one == two
    flow, visible = (one["methods"][name]["occluded"]["mean"] for name in ("flow3", "visible"))
    assert flow > visible


def test_every_object_hides_but_only_the_chosen_are_scored():
    whole = [{"a": (Box(0, 0, 30, 30), np.ones((30, 30)))} for _ in range(5)]
    half = [{"a": (Box(0, 0, 30, 15), np.ones((15, 30)))} for _ in range(5)]
    assert scored_ids(half, whole) == [set(), {"a"}, {"a"}, {"a"}, set()]
    assert scored_ids(whole, whole) == [set()] * 5
    half[2] = {}  # a gap ends the first run; its ends are not scored, the later run neither
    assert scored_ids(half, whole) == [set()] * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fishbowl"], "holds no FISHBOWL clips"),
        (["rendered"], "holds no FISHBOWL clips"),
        (["fishbowl", "--mode", "both"], "error: --mode "),
        (["kitti-boxes", "--sequences", "0001", "--methods", "visible"], "does not exist"),
    ],
)
def test_commands_turn_errors_into_one_line(tmp_path, arguments, message):
    result = CliRunner().invoke(app, ["evaluate", *arguments, "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.slow
def test_convex_hull_anchor_on_recorded_clips(shared_data):
    """The paper has 0.776 / 0.464 on the whole set; a clip or two must come out in that region."""
    folder = shared_data / "fishbowl" / "val"
    clip = Fishbowl(folder).open(folder / "fishbowl_0024")
    (result,) = score_videos(clip, ("convex", "visible"), Setup(), lambda count: None)
    report = {name: method_report(scores["paper"]) for name, scores in result.scores.items()}
    assert report["convex"]["n"] == report["visible"]["n"] == 147
    assert 0.80 < report["convex"]["full"]["mean"] < 0.87
    assert 0.44 < report["convex"]["occluded"]["mean"] < 0.52
    assert report["visible"]["occluded"]["mean"] == pytest.approx(0, abs=1e-6)
