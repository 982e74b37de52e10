import pytest

from savos_model.config import FlowConfig, StreamConfig
from savos_model.stream.video import cropped_as_trained, refine_config


def test_the_crop_is_that_of_the_weights():
    stream = StreamConfig(flow=FlowConfig("dis_medium"))
    assert cropped_as_trained(stream, {}) == stream
    trained = cropped_as_trained(stream, {"enlarge": "1.25"})
    assert trained.tracks.enlarge == 1.25 and trained.flow == stream.flow
    assert trained.tracks.coast_frames == stream.tracks.coast_frames


def test_modes():
    assert refine_config("forward") is None
    lag = refine_config("lag:5")
    assert (lag.window, lag.stride) == (6, 1)
    with pytest.raises(ValueError, match="--mode must be one of forward"):
        refine_config("lag:0")
