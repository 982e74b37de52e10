import json

import numpy as np
import pytest
import tiny_kins
from failing import refused
from typer.testing import CliRunner

from savos_model.results import read_results
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Box, Source
from savos_ros.cli.main import app
from tests.tiny_weights import save_random
from training.data.kins_video_car import TruthSource, annotated_drives
from training.data.settings import KinsSource
from training.evaluate import video
from training.evaluate.benchmark import evaluate
from training.evaluate.kins import Kins, given
from training.evaluate.settings import Output
from training.evaluate.video import score_videos

TIMES = sorted(tiny_kins.IMAGE)
# The pedestrian hides 12 of the car's 40 columns in both annotated frames.
SEEN = 0.7


@pytest.fixture
def parts(tmp_path):
    """Options of the commands, built layout."""
    tiny_kins.write_masks(tmp_path / "masks")
    return {
        "raw": tiny_kins.write_raw(tmp_path / "raw"),
        "masks": tmp_path / "masks",
        "kins": tiny_kins.write_kins(tmp_path / "k.json"),
        "mapping": tiny_kins.write_mapping(tmp_path / "mapping"),
    }


def found(parts):
    return annotated_drives(KinsSource(**parts, split="test"))


def all_are_cars(parts):
    path = parts["masks"] / f"{tiny_kins.DRIVE}.txt"
    lines = [line.split() for line in path.read_text().splitlines()]
    path.write_text("\n".join(" ".join([*line[:2], "1", *line[3:]]) for line in lines) + "\n")


def scored(parts, *methods, **more):
    return evaluate(Kins(**parts), methods, Setup(), Output(**more))


def test_scores_of_a_car_behind_an_untracked_pedestrian_by_hand(parts):
    metrics = scored(parts, "visible", "convex")
    assert metrics["data"] == {"set": "kins_video_car", "clips": [tiny_kins.DRIVE], "frames": 6}
    visible, convex = metrics["methods"]["visible"], metrics["methods"]["convex"]
    for rules in (visible, convex):
        assert rules["clean"]["n"] == rules["clean"]["n_occluded"] == len(TIMES)
        # Nothing tracked hides the car: released, all methods keep the visible mask, and the empty
        # hidden region scores exactly 1, which is left out.
        assert rules["released"]["n"] == len(TIMES) and rules["released"]["n_occluded"] == 0
        assert rules["released"]["full"] == pytest.approx(SEEN)
        assert rules["released"]["occluded"] is None
    assert visible["clean"]["full"] == pytest.approx(SEEN)
    assert visible["clean"]["occluded"] == pytest.approx(0, abs=1e-6)
    assert visible["clean"]["false_completion"] is None  # nothing claimed
    assert (convex["clean"]["full"], convex["clean"]["occluded"]) == (1, 1)
    assert convex["clean"]["false_completion"] == 0
    assert convex["clean"]["by_occlusion"]["25-50"]["n"] == len(TIMES)


def test_released_rule_drops_what_is_perfect_and_the_clean_one_does_not(parts):
    all_are_cars(parts)
    metrics = scored(parts, "visible", "convex")
    visible, convex = metrics["methods"]["visible"], metrics["methods"]["convex"]
    # The pedestrian in front is whole: 1 in both means, so only the car is left.
    assert visible["released"]["n"] == visible["released"]["n_occluded"] == len(TIMES)
    assert visible["released"]["full"] == pytest.approx(SEEN)
    assert visible["released"]["occluded"] == pytest.approx(0, abs=1e-6)
    assert visible["clean"]["n"] == 2 * len(TIMES)
    assert visible["clean"]["n_occluded"] == len(TIMES)
    assert visible["clean"]["full"] == pytest.approx((1 + SEEN) / 2)
    # A car that is completed perfectly is dropped as well.
    assert convex["released"]["n"] == 0 and convex["released"]["full"] is None
    assert (convex["clean"]["full"], convex["clean"]["occluded"]) == (1, 1)


def test_an_intruding_claim_counts_by_both_rules(parts, tmp_path):
    """Results of another program: the car whole, the pedestrian with 2 columns of the car."""
    all_are_cars(parts)
    frames = {}
    for t in TIMES:
        wide = tiny_kins.walker(t)
        wide[20:40, 38:40] = 1
        masks = {"1": tiny_kins.car(t), "7": wide}
        frames[str(t)] = {name: tiny_kins.runs(mask) for name, mask in masks.items()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"{tiny_kins.DRIVE}.json").write_text(json.dumps({"frames": frames}))
    metrics = scored(parts, f"external:{tmp_path / 'other'}")
    rules = metrics["methods"]["external:other"]
    assert metrics["files"]["external:other"]["missing"] == 0
    walker = int(tiny_kins.walker(0).sum())
    assert rules["released"]["n"] == len(TIMES)  # the pedestrians; the cars are perfect
    assert rules["released"]["full"] == pytest.approx(walker / (walker + 40))
    assert rules["released"]["occluded"] == pytest.approx(0, abs=1e-6)
    assert rules["clean"]["occluded"] == 1 and rules["clean"]["n_occluded"] == len(TIMES)
    assert rules["clean"]["false_completion"] == pytest.approx(40 / (40 + 240))


class Truthful:
    """Publishes the whole car in every frame."""

    model = {"weights": "truth"}

    def __init__(self, setup):
        pass

    def run(self, frames):
        for t, frame in enumerate(frames):
            car = tiny_kins.car(t)
            box = Box(0, 0, tiny_kins.SHAPE[1], tiny_kins.SHAPE[0])
            yield [
                AmodalObject(item.id, "", 1.0, Source.FORWARD, box, car * 255, car, 0.0, 1.0,
                             (0.0, 0.0))
                for item in frame.instances if not item.id.startswith("untracked")
            ]  # fmt: skip


@pytest.mark.parametrize("layout", ["built", "released"])
@pytest.mark.slow
def test_our_method_and_processes_in_both_layouts(parts, tmp_path, monkeypatch, layout):
    if layout == "released":
        parts = {
            "released": tiny_kins.write_released(tmp_path / "released"),
            "kins": parts["kins"],
            "mapping": parts["mapping"],
        }
    with monkeypatch.context() as patch:
        patch.setattr(video, "Online", Truthful)
        metrics = scored(parts, "ours", "flow3")
    assert metrics["model"] == {"weights": "truth"}
    clean = metrics["methods"]["ours"]["clean"]
    assert (clean["n"], clean["full"], clean["occluded"]) == (len(TIMES), 1, 1)
    assert metrics["methods"]["flow3"]["clean"]["full"] >= SEEN
    one, two = (scored(parts, "visible", processes=count) for count in (1, 2))
    assert one == two and one["methods"]["visible"]["clean"]["full"] == pytest.approx(SEEN)


def test_frames_keep_the_trackers_ids_and_the_frame_numbers(parts):
    (drive,) = found(parts)
    (opened,) = Kins().open(drive)
    frames = list(opened.frames())
    assert [item.id for item in frames[0].instances] == ["1", "untracked/2/7"]
    assert np.diff([frame.stamp_ns for frame in frames]).tolist() == [100_000_000] * 5
    image = parts["raw"] / tiny_kins.DATE / tiny_kins.DRIVE / "image_02" / "data"
    (image / "0000000002.png").unlink()
    (drive,) = found(parts)
    assert drive.numbers == (0, 1, 3, 4, 5)
    assert [item.id for item in given(list(drive.frames())[3])] == ["1", "untracked/2/7"]
    (result,) = score_videos(Kins().open(drive), ("visible",), Setup(), lambda _: None)
    scores = result.scores["visible"]["clean"]
    assert [(score.frame, score.id) for score in scores] == [(1, "1"), (4, "1")]


def test_drives_without_truth_are_left_out(parts):
    other = "2011_09_26_drive_0001_sync"
    tiny_kins.write_raw(parts["raw"], drive=other)
    tiny_kins.write_masks(parts["masks"], drive=other)
    assert [drive.name for drive in found(parts)] == [tiny_kins.DRIVE]
    (parts["masks"] / f"{tiny_kins.DRIVE}.txt").unlink()
    with refused("kins"):
        found(parts)
    assert TruthSource(parts["kins"], parts["mapping"]).of(other, 0, [], tiny_kins.SHAPE) is None


def savos(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def options(parts):
    return [word for name, path in parts.items() for word in (f"--{name}", path)]


def test_command_scores(parts, tmp_path):
    out, weights = tmp_path / "out.json", save_random(tmp_path / "w.safetensors", width=0.0625)
    result = savos("evaluate", "kins-video-car", *options(parts), "--weights", weights,
                   "--json", out, "--methods", "ours,visible",
                   "--mode", "lag:2")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "as released:" in result.output and "clean: hidden" in result.output
    metrics = read_results(out)["metrics"]
    assert metrics["protocol"]["mode"] == "lag:2" and "clean" in metrics["protocol"]
    assert metrics["methods"]["ours"]["clean"]["n"] == len(TIMES)


def test_command_adapts(parts, tmp_path):
    pytest.importorskip("torch")
    from savos_model.network.weights import load_weights

    out, weights = tmp_path / "out.json", save_random(tmp_path / "w.safetensors", width=0.0625)
    result = savos("adapt", "kins-video-car", *options(parts), "--weights", weights,
                   "--json", out, "--out", tmp_path / "kept", "--iterations", "2", "--batch", "2",
                   "--length", "3")  # fmt: skip
    assert result.exit_code == 0, result.output
    metrics = read_results(out)["metrics"]
    base, adapted = (metrics["methods"][name]["clean"] for name in ("base", "adapted"))
    for field, row in metrics["gain"].items():
        assert row["mean"] == pytest.approx(adapted[field] - base[field])
    assert metrics["videos"][tiny_kins.DRIVE]["iterations"] == 2
    kept = load_weights(str(tmp_path / "kept" / f"{tiny_kins.DRIVE}.safetensors"))
    assert "CC BY-NC-SA" in kept.info["licence"]


@pytest.mark.parametrize("command", ["evaluate", pytest.param("adapt", marks=pytest.mark.torch)])
@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("kins", "--kins is missing: KINS annotations"),
        ("mapping", "--mapping is missing: the mapping of KITTI object images"),
        ("raw", "--released "),
    ],
)
def test_missing_data_are_named_in_one_line(parts, command, gone, message):
    parts.pop(gone)
    result = savos(command, "kins-video-car", *options(parts))
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert message in result.stderr
    if gone != "raw":
        assert "; from " in result.stderr and "; licence: " in result.stderr
