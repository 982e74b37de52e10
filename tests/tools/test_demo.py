import json

import cv2
import numpy as np
import pytest
from failing import fails, refused
from typer.testing import CliRunner

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("av", reason="PyAV is not installed")
import av

from savos_model.config import ModelConfig
from savos_model.network.weights import Weights, parameter_shapes, save_weights
from savos_model.types import Frame
from savos_ros.bags import review
from savos_ros.bags.reader import BagFrame
from savos_ros.bags.settings import BagError
from savos_ros.bags.storage import open_bag
from savos_ros.cli.main import app
from savos_ros.tools import demo
from savos_ros.tools.demo import Findings, run_demo, summary
from savos_ros.tools.settings import DemoOptions
from tests.tiny_scene import frame

FRAMES = 12
LAST = 33  # then the far square has left the picture


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """The demo sets its own domain; the other tests keep theirs."""
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
        monkeypatch.setenv(name, "")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    model = ModelConfig(width=0.0625)
    rng = np.random.default_rng(0)
    arrays = {
        name: (0.05 * rng.normal(size=shape)).astype(np.float32)
        for name, shape in parameter_shapes(model).items()
    }
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, Weights("tiny", model, arrays, {}))
    return str(path)


class PatientDemo(DemoOptions):
    """Has frames wait where those of a camera would be dropped: a busy machine loses none."""

    @property
    def parameters(self):
        return super().parameters | {"input.queue_depth": "100"}


def test_the_whole_demo(tmp_path, weights, capsys):
    out = tmp_path / "demo"
    result = run_demo(out, PatientDemo(FRAMES, 3, weights))
    assert result == json.loads((out / "summary.json").read_text())
    assert set(result) == {"frames_in", "frames_out", "dropped", "latency_ms", "miou"}
    assert result["frames_in"] == FRAMES
    assert result["frames_out"] + result["dropped"] == FRAMES
    assert result["frames_out"] >= FRAMES - 2
    latency = result["latency_ms"]
    assert set(latency) == {"p50", "p95", "p99", "stages"}
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] < 10_000
    assert {"queue", "decode", "flow", "network", "compose", "publish"} <= set(latency["stages"])
    assert set(result["miou"]) == {"ours", "visible", "convex"}
    for row in result["miou"].values():
        assert set(row) == {"full", "occluded"}
        assert all(0 <= value <= 1 for value in row.values())
    assert f"{FRAMES} in" in (out / "table.txt").read_text()
    assert "image stamp to masks" in capsys.readouterr().out

    with av.open(str(out / "overlay.mp4")) as movie:
        assert sum(1 for _ in movie.decode(video=0)) == result["frames_out"]
    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet.shape[1] > 2500 and sheet.std() > 20
    with open_bag(out / "result") as result_bag, open_bag(out / "street") as street:
        assert result_bag.topics["/savos/masks"].msgcount == result["frames_out"]
        stamps = {stamp for _, stamp, _ in street.messages(set(street.topics))}
        assert {stamp for _, stamp, _ in result_bag.messages(set(result_bag.topics))} <= stamps


def test_a_failure_is_one_text_and_leaves_no_old_summary(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    wrong = ("--frames", "2", "--weights", "/nowhere/none.safetensors")
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path), *wrong])
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert "cannot configure: model.weights" in result.output
    assert not (tmp_path / "summary.json").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "street").mkdir()
    (tmp_path / "street" / "thesis.txt").write_text("precious")
    with fails(BagError, "taken"):
        run_demo(tmp_path, DemoOptions(2))
    assert (tmp_path / "street" / "thesis.txt").read_text() == "precious"


def test_options_are_checked():
    with refused("frames", "bounds"):
        DemoOptions(frames=0)
    assert DemoOptions(weights="w", backend="onnx").parameters == {
        "model.weights": "w",
        "model.backend": "onnx",
    }
    assert DemoOptions().parameters == {}


def test_summary_takes_latency_apart():
    parts = ("p50", "p95", "p99")
    values = {f"latency_ms.{stage}.{p}": "1.5" for stage in ("stamp", "flow") for p in parts}
    result = summary(10, Findings(answered=9), values | {"drops.queue_full": "1"})
    assert result["dropped"] == 1
    assert result["latency_ms"]["p99"] == 1.5
    assert result["latency_ms"]["stages"] == {"flow": dict.fromkeys(parts, 1.5)}
    nothing = dict.fromkeys(parts) | {"stages": {}}
    assert summary(1, Findings(), {})["latency_ms"] == nothing


def bag_frame(index):
    made = frame(index)
    shown = Frame(made.stamp_ns, made.image, made.instances)
    return BagFrame(shown, "camera", made.truth)


def hidden(item):
    return review.hidden_px(review.true_objects(item))


def test_the_sheet_shows_the_frames_in_which_most_is_hidden():
    rows = []
    for index in range(LAST):
        item = bag_frame(index)
        review.keep_best(rows, review.Row(hidden(item), item, []), demo.SHEET_ROWS)
    assert 1 < len(rows) <= demo.SHEET_ROWS
    stamps = sorted(row.item.frame.stamp_ns for row in rows)
    assert all(b - a >= 1_000_000_000 for a, b in zip(stamps, stamps[1:], strict=False))
    most = max(hidden(bag_frame(index)) for index in range(LAST))
    assert max(row.hidden_px for row in rows) == most > 0
    sheet = demo.contact_sheet(rows)
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 4 * 646 + 6
