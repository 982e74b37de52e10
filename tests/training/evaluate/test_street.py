import pytest

from savos_model.results import read_results
from savos_model.stream.video import Setup
from tests.failing import refused
from training.evaluate.benchmark import evaluate
from training.evaluate.mask_sets import Street
from training.evaluate.settings import Output


@pytest.mark.slow
def test_scenes_are_scored_by_the_protocol_and_differ_by_seed(tmp_path):
    scenes, out = Street(scenes=2, frames=12), tmp_path / "out.json"
    found = evaluate(scenes, ("visible", "convex"), Setup(), Output(out))
    assert found == read_results(tmp_path / "out.json")["metrics"]
    assert found["data"]["clips"] == ["street_1000", "street_1001"]
    assert found["data"]["frames"] == 24
    visible, convex = (found["methods"][name] for name in ("visible", "convex"))
    assert visible["n"] == convex["n"] > 10
    # 10 to 70 % are hidden, and the visible masks are exact.
    assert 0.3 < visible["full"]["mean"] < 0.9 and visible["occluded"]["mean"] < 1e-6
    assert convex["occluded"]["mean"] > 0.05
    assert convex["open_full"]["n"] > convex["n"] and convex["false_area"]["mean"] > 0
    first, second = (visible["clips"][name]["full"] for name in found["data"]["clips"])
    assert first != second


def test_bad_scenes_are_refused():
    with refused("scenes", "bounds"):
        Street(scenes=0)
