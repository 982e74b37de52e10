import pickle

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from savos_model.results import read_results
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Box, Source
from savos_ros.cli.main import app
from training.data.chewing_gum import ChewingGumConfig, Video, videos
from training.evaluate import chewing_gum, video
from training.evaluate.benchmark import evaluate
from training.evaluate.chewing_gum import ChewingGum, opened
from training.evaluate.settings import Output
from training.evaluate.video import score_videos, stream_frames


class TruthfulOnline:
    """Publishes the whole masks of one set of videos."""

    def __init__(self, made):
        self.left, self.model = iter(made), {"weights": "truth"}

    def run(self, frames):
        box = Box(0, 0, 56, 50)
        for frame, full in zip(frames, next(self.left).full, strict=True):
            yield [
                AmodalObject(item.id, "", 1.0, Source.FORWARD, box,
                             full[int(item.id)] * np.uint8(255), full[int(item.id)], 0.0, 1.0,
                             (0.0, 0.0))
                for item in frame.instances
            ]  # fmt: skip


@pytest.fixture
def made(tmp_path):
    some = list(videos(ChewingGumConfig(seed=11), count=3))
    for made in some:
        folder = tmp_path / "gum" / made.name
        folder.mkdir(parents=True)
        colours = [made.frames[made.visible[:, k]][0] for k in range(2)]
        for t, (image, full) in enumerate(zip(made.frames, made.full, strict=True)):
            cv2.imwrite(str(folder / f"{t:05d}.png"), image[..., ::-1])
            record = {"order": made.order, "color": colours, "full_mask": full.astype(np.int64)}
            (folder / f"{t:05d}.pkl").write_bytes(pickle.dumps(record, 3))
    return some


def test_protocol_end_to_end(made, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "Online", lambda setup: TruthfulOnline(made))
    out = tmp_path / "out.json"
    methods = ["ours", "visible", "convex"]
    metrics = evaluate(ChewingGum(tmp_path / "gum"), methods, Setup(), Output(out))
    assert read_results(out)["metrics"] == metrics
    assert metrics["data"] == {
        "set": "chewing_gum", "source": "gum", "videos": 3, "frames": 120
    }  # fmt: skip
    assert metrics["model"] == {"weights": "truth"}
    ours, visible = (metrics["methods"][name]["lower_object"] for name in ("ours", "visible"))
    assert ours["n"] == visible["n"] == 3 * 38  # the two ends of each video are not scored
    assert (ours["full"], ours["occluded"]) == (pytest.approx(1), pytest.approx(1))
    shares = [(v.visible[1:-1, 0].sum((1, 2)) / v.full[0, 0].sum()) for v in made]
    assert visible["full"] == pytest.approx(np.mean(shares))
    assert visible["occluded"] == pytest.approx(0, abs=1e-5)
    everything = metrics["methods"]["visible"]["all_objects"]
    assert everything["n"] == 2 * visible["n"]
    assert everything["full"] == pytest.approx((1 + np.mean(shares)) / 2)
    assert everything["occluded"] == pytest.approx(0.5, abs=1e-5)  # nothing claimed, nothing hidden


@pytest.mark.slow
def test_generated_videos_in_shards_give_the_same_numbers(monkeypatch):
    monkeypatch.setattr(chewing_gum, "BLOCK", 2)
    some = ChewingGum(videos=3, video_seed=11)
    one, two = (
        evaluate(some, ["convex"], Setup(), Output(processes=processes)) for processes in (1, 2)
    )
    assert one == two
    assert one["data"] == {
        "set": "chewing_gum", "source": "generated", "video_seed": 11, "videos": 3, "frames": 120
    }  # fmt: skip


def test_frames_that_show_the_whole_lower_object_do_not_count():
    full = np.zeros((5, 2, 20, 20), bool)
    full[:, 0, 5:15, 5:15] = True
    full[:3, 1, 5:10, 5:15] = True
    full[3:, 1, 16:18, 5:15] = True
    visible = full.copy()
    visible[:, 0] &= ~full[:, 1]
    made = Video("a", np.zeros((5, 20, 20, 3), np.uint8), full, visible, np.array([0, 1]))
    (result,) = score_videos([opened(made)], ("visible",), Setup(), lambda count: None)
    scores = result.scores["visible"]
    assert [(s.frame, s.id, s.full) for s in scores["lower_object"]] == [
        (1, "0", pytest.approx(0.5)), (2, "0", pytest.approx(0.5))
    ]  # fmt: skip
    assert len(scores["all_objects"]) == 6


@pytest.mark.slow
def test_convex_hull_anchor():
    """On polygons that are convex the hull cannot know the hidden part, but is no nonsense either.

    The paper has 0.9264 / 0.3182 for all objects of a frame.
    """
    metrics = evaluate(ChewingGum(videos=40), ["convex"], Setup())
    groups = metrics["methods"]["convex"]
    assert 0.83 < groups["lower_object"]["full"] < 0.89
    assert 0.36 < groups["lower_object"]["occluded"] < 0.50
    assert 0.90 < groups["all_objects"]["full"] < 0.94
    assert 0.21 < groups["all_objects"]["occluded"] < 0.34


def test_exact_flow_reaches_the_stream_both_ways():
    made = next(videos(ChewingGumConfig(seed=2), count=1))
    frames = list(made.clip_frames())
    shown = list(stream_frames(frames, range(len(frames))))
    assert shown[0].flow is None
    for before, frame, given in zip(frames, frames[1:], shown[1:], strict=False):
        assert given.flow is before.flow and given.flow_back is frame.flow_back
        assert abs(given.flow).max() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "flow3"], "error: methods "),
        (["--methods", "visible,visible"], "error: methods "),
        (["--mode", "both"], "error: --mode "),
        (["--data", "nowhere", "--flow", "topic"], "error: --flow "),
        (["--data", "nowhere", "--methods", "visible"], "error: nowhere "),
    ],
)
def test_wrong_arguments_become_one_line(arguments, message):
    result = CliRunner().invoke(app, ["evaluate", "chewing-gum", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_command_writes_results(made, tmp_path):
    out = tmp_path / "o.json"
    arguments = ["--data", tmp_path / "gum", "--json", out, "--methods", "visible,convex"]
    done = CliRunner().invoke(app, ["evaluate", "chewing-gum", *map(str, arguments)])
    assert done.exit_code == 0
    assert set(read_results(out)["metrics"]["methods"]) == {"visible", "convex"}
