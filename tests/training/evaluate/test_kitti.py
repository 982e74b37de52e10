import numpy as np
import pytest
import tiny_kitti
from failing import refused
from tiny_clip import FakeOnline
from typer.testing import CliRunner

from savos_model.masks import match
from savos_model.results import read_results
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Box, Instance, Source
from savos_ros.cli.main import app
from training.evaluate import video
from training.evaluate.benchmark import evaluate
from training.evaluate.kitti import Kitti, box_overlap, grown, shrunk
from training.evaluate.settings import Output
from training.evaluate.video import METHODS


class WideStream:
    """Publishes each visible mask with the whole label box of the far car added; drops id 1003."""

    def step(self, frame):
        mask = np.zeros(tiny_kitti.SHAPE, np.uint8)
        mask[15:36, 30:61] = 255
        box = Box(0, 0, tiny_kitti.SHAPE[1], tiny_kitti.SHAPE[0])
        return [
            AmodalObject(
                item.id, "", 1.0, Source.FORWARD, box, mask, mask // 255, 0.0, 1.0, (0.0, 0.0)
            )
            for item in frame.instances
            if item.id != "1003"
        ]


def test_box_overlap_by_hand():
    assert box_overlap(Box(0, 0, 10, 10), Box(5, 0, 15, 10)) == pytest.approx((1 / 3, 0.5))
    assert box_overlap(Box(0, 0, 5, 5), Box(9, 9, 12, 12)) == (0, 0)
    assert box_overlap(Box(0, 0, 0, 0), Box(9, 9, 12, 12)) == (0, 0)


def test_growth_leaves_holes_out():
    car = np.zeros((20, 30), np.uint8)
    car[5:15, 5:25] = 1
    car[7:9, 8:12] = 0  # a window
    whole = car.copy()
    whole[5:15, 5:25] = 1
    whole[15:17, 5:25] = 1
    box = Box(0, 0, 30, 20)
    outside, in_holes = grown((box, whole), (box, car))
    assert (outside, in_holes) == (pytest.approx(40 / 192), pytest.approx(8 / 192))
    assert grown((box, car), (box, car)) == (0, 0)


def test_masks_shrink_on_every_side():
    items = [
        Instance("1", Box(0, 10, 6, 16), np.ones((6, 6), np.uint8), "car"),
        Instance("2", Box(20, 0, 24, 4), np.ones((4, 4), np.uint8)),
    ]
    (kept,) = shrunk(items, 2)
    assert (kept.id, kept.class_id, kept.box) == ("1", "car", Box(2, 12, 4, 14))
    assert kept.mask.shape == (2, 2) and kept.mask.all()
    assert shrunk(items, 0) == items


def test_tracker_masks_match_the_best_truth():
    def instance(name, x0, x1):
        return Instance(name, Box(x0, 0, x1, 10), np.ones((10, x1 - x0), np.uint8))

    truth = [instance("t1", 0, 20), instance("t2", 30, 50), instance("t3", 60, 80)]
    given = [instance("g1", 6, 20), instance("g2", 2, 20), instance("g3", 30, 62)]
    assert match(given, truth) == {"t1": "g2", "t2": "g3"}
    assert match([], truth) == {}


def test_kitti_boxes_end_to_end(tmp_path, monkeypatch):
    root = tiny_kitti.write_tracking(tmp_path)
    monkeypatch.setattr(video, "Online", lambda setup: FakeOnline(WideStream, "wide"))
    out = tmp_path / "out.json"
    clips = Kitti(root, [tiny_kitti.SEQUENCE])
    metrics = evaluate(clips, METHODS, Setup(), Output(out))
    assert read_results(out)["metrics"] == metrics
    far = [tiny_kitti.masks(frame)["1017"] for frame in tiny_kitti.FRAMES]
    given = sum(1 + mask.any() for mask in far)
    level = metrics["levels"]["2"]
    assert level["n"] == sum(mask.any() for mask in far) > 0
    assert level["methods"]["ours"]["iou_mean"] == pytest.approx(1.0)
    assert level["methods"]["ours"]["coverage_median"] == pytest.approx(1.0)
    assert level["methods"]["visible"]["iou_mean"] < 1.0
    gain = level["methods"]["ours"]["gain_over_visible"]["mean"]
    assert gain == pytest.approx(1 - level["methods"]["visible"]["iou_mean"])
    # The label box was published as a whole; the far car's mask has no hole.
    areas = [mask.sum() for mask in far if mask.any()]
    growth = np.mean([21 * 31 / area - 1 for area in areas])
    assert level["methods"]["ours"]["growth_mean"] == pytest.approx(growth)
    assert level["methods"]["ours"]["in_holes_mean"] == 0
    assert level["methods"]["visible"]["growth_mean"] == 0
    assert metrics["levels"]["0"] == {"n": 0, "tracks": 0, "methods": {}}
    assert metrics["answered"]["frames_with_masks"] == len(tiny_kitti.FRAMES)
    assert metrics["answered"]["objects"] == given
    assert metrics["answered"]["objects_answered"] == level["n"]  # id 1003 was dropped
    assert metrics["answered"]["frames_answered"] == 0
    assert metrics["answered"]["unlabelled"] == len(tiny_kitti.FRAMES)


@pytest.mark.parametrize("command", ["evaluate", pytest.param("adapt", marks=pytest.mark.torch)])
def test_kitti_without_labels_is_refused_instead_of_an_empty_table(tmp_path, command):
    root = tiny_kitti.write_tracking(tmp_path)
    (root / "training" / "label_02" / f"{tiny_kitti.SEQUENCE}.txt").unlink()
    arguments = ["kitti-boxes", "--data", str(root), "--sequences", tiny_kitti.SEQUENCE]
    result = CliRunner().invoke(app, [command, *arguments])
    assert result.exit_code == 2
    assert "no labels of sequence 0042" in result.stderr and result.stderr.count("\n") == 1


def test_kitti_with_tracker_masks(tmp_path):
    root = tiny_kitti.write_tracking(tmp_path)
    clips = Kitti(root, [tiny_kitti.SEQUENCE], "tracker")
    metrics = evaluate(clips, ["visible"], Setup())
    assert metrics["answered"]["objects"] == 2 * len(tiny_kitti.FRAMES)
    assert metrics["answered"]["unmatched"] > 0  # the tracker never saw the far car
    assert metrics["levels"]["2"]["n"] == 0


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"masks": "guess"}, "choices"),
        ({"shrink": -1}, "bounds"),
        ({"methods": ["flow3"]}, "rule"),
        ({"sequences": []}, "rule"),
    ],
)
def test_kitti_arguments_are_checked(tmp_path, changes, kind):
    root = tiny_kitti.write_tracking(tmp_path)
    options = {"sequences": [tiny_kitti.SEQUENCE], "methods": ["visible"]} | changes
    methods = options.pop("methods")
    with refused(*changes, kind):
        evaluate(Kitti(root, **options), methods, Setup())
