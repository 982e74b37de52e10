import dataclasses

import numpy as np
import pytest

from savos_model.config import FlowConfig, StreamConfig
from savos_model.stream.stream import AmodalStream
from tests.model.scenes import crossing
from tests.model.test_stream import FullBoxBackend


def test_topic_flow_moves_the_track():
    stream = AmodalStream(FullBoxBackend(), StreamConfig(flow=FlowConfig("topic")))
    for frame in crossing(4):
        flow = np.zeros((*frame.image.shape[:2], 2), np.float32)
        flow[...] = (3, -2)
        objects = stream.step(dataclasses.replace(frame, flow=flow))
    assert objects[0].motion == pytest.approx((3, -2))


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -1e30])
def test_unknown_pixels_of_an_outside_flow_are_filled_with_the_expected_motion(unknown):
    def run(damage):
        stream = AmodalStream(FullBoxBackend(), StreamConfig(flow=FlowConfig("topic")))
        for frame in crossing(5):
            flow = np.full((*frame.image.shape[:2], 2), (3, -2), np.float32)
            if damage and frame.stamp_ns > 100_000_000:  # the motion is known by then
                flow[40:60, 30:150] = unknown
            objects = stream.step(dataclasses.replace(frame, flow=flow))
        return stream, objects

    stream, objects = run(True)
    clean, expected = run(False)
    for got, want in zip(stream.backend.calls, clean.backend.calls, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    for got, want in zip(objects, expected, strict=True):
        assert got.box == want.box and got.motion == pytest.approx(want.motion)
