import dataclasses

import cv2
import numpy as np
import pytest

from savos_model.backends.interface import StepOutput
from savos_model.config import ComposeConfig, StreamConfig
from savos_model.stream.stream import AmodalStream
from savos_model.types import Source
from tests.model.scenes import crossing
from tests.model.test_stream import FullBoxBackend


class SoftBackend(FullBoxBackend):
    """Says that every object fills the middle of its patch, less and less surely outwards."""

    def step(self, patches, h, c):
        out = super().step(patches, h, c)
        soft = [cv2.GaussianBlur(logits, (0, 0), 6) for logits in out.mask_logits]
        return StepOutput(np.stack(soft) - 0.5, *out[1:])


def answers(mask_values, into="others"):
    """A clip in which the hidden object is lost for a while: the objects by frame, the inputs."""
    compose = ComposeConfig(mask_values=mask_values, complete_into=into)
    stream = AmodalStream(SoftBackend(), StreamConfig(compose=compose))
    frames = crossing(12)
    for frame in frames:
        lost = 600_000_000 <= frame.stamp_ns < 900_000_000
        items = [item for item in frame.instances if not (lost and item.id == "7")]
        yield stream.step(dataclasses.replace(frame, instances=items)), stream.backend.calls[-1:]


def whole(item, inside):
    canvas = np.zeros((120, 200), bool)
    x0, y0, x1, y1 = (int(edge) for edge in item.box)
    canvas[y0:y1, x0:x1] = inside
    return canvas


@pytest.mark.parametrize("into", ["others", "hull", "anything"])
def test_what_is_published_changes_no_prediction(into):
    sources, faint = set(), 0
    for (hard, given), (soft, same) in zip(
        answers("binary", into), answers("probability", into), strict=True
    ):
        np.testing.assert_array_equal(given, same)
        assert [item.id for item in hard] == [item.id for item in soft]
        for a, b in zip(hard, soft, strict=True):
            np.testing.assert_array_equal(whole(a, a.mask == 255), whole(b, b.inside))
            np.testing.assert_array_equal(a.inside, a.mask == 255)
            assert (a.source, a.occlusion, a.confidence) == (b.source, b.occlusion, b.confidence)
            sources.add(b.source)
            faint += int(np.count_nonzero((b.mask > 0) & ~b.inside))
    assert sources == {Source.VISIBLE, Source.FORWARD, Source.COASTED}
    assert faint > 1000, "probabilities below the threshold are published too"
