import numpy as np
import pytest
from tiny_clip import write_clip

from savos_model.config import BackendConfig, StreamConfig
from savos_model.masks import BoxedMask
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject, Box, Source
from tests.tiny_weights import save_random
from training.evaluate.compare import (
    OPTIONS,
    Published,
    evaluate_options,
    hidden_report,
    overlap,
    with_option,
)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_row_changes_only_what_it_names(option):
    stream = with_option(StreamConfig(), option)
    assert (stream == StreamConfig()) == (option == "defaults")
    for group, values in OPTIONS[option].items():
        for name, value in values.items():
            assert getattr(getattr(stream, group), name) == value


def test_hidden_objects_are_scored_by_the_time_they_are_gone():
    report = hidden_report([(1, 0.5), (5, 0.0), (6, 0.8)])
    assert report["1-5"] == {"n": 2, "answered": 0.5, "iou": 0.25}
    assert report["6-20"]["iou"] == 0.8 and "21+" not in report


def test_overlap_of_a_coasted_mask():
    on = np.full((4, 4), 255, np.uint8)
    found = AmodalObject(
        "a", "", 1.0, Source.COASTED, Box(2, 0, 6, 4), on, on * 0, 1.0, 0.5, (0.0, 0.0)
    )
    assert overlap(found, BoxedMask(Box(0, 0, 4, 4), on > 0)) == pytest.approx(8 / 24, abs=1e-6)
    assert overlap(None, BoxedMask(Box(0, 0, 4, 4), on > 0)) == 0.0


@pytest.mark.slow
def test_all_rows_score_the_same_objects(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    write_clip(clips, "first")
    ours = Setup(BackendConfig(weights=str(save_random(tmp_path / "w.safetensors"))))
    rows = evaluate_options(Published(clips), ours)["options"]
    assert len({row["n"] for row in rows.values()}) == 1 and rows["defaults"]["n"] > 0
    assert rows["defaults"]["gain"]["mean"] == 0.0
    assert rows["no occluder rim"]["full"] != rows["rim of 6 px"]["full"]
