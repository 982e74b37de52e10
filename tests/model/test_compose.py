import numpy as np
import pytest

from savos_model.config import ComposeConfig
from savos_model.instances import occupancy
from savos_model.stream.compose import compose, least_chance
from savos_model.types import Box
from tests.model.scenes import instance, rectangle

SHAPE = (60, 100)


def published(chance, config):
    """Mask on the image of an object seen at 40..60, with another object right of it at 60..80."""
    own = instance("1", rectangle(SHAPE, (40, 20, 60, 40)))
    other = instance("2", rectangle(SHAPE, (60, 20, 80, 40)))
    count = occupancy([own, other], *SHAPE)
    probability = np.full((30, 40), chance, np.float32)
    done = compose(own, probability, Box(20, 15, 80, 45), count, (0.0, 0.0), config)
    canvas = np.zeros(SHAPE, bool)
    x0, y0, x1, y1 = (int(v) for v in done.box)
    canvas[y0:y1, x0:x1] = done.inside
    return canvas


@pytest.mark.parametrize(
    ("chance", "behind", "elsewhere"), [(0.3, 0, 0), (0.5, 1, 0), (0.69, 1, 0), (0.71, 1, 1)]
)
def test_less_evidence_of_an_occluder_asks_for_more_certainty(chance, behind, elsewhere):
    config = ComposeConfig(
        complete_into="anything", threshold=0.4, untracked_threshold=0.7, occluder_margin_px=0
    )
    mask = published(chance, config)
    assert mask[20:40, 40:60].all(), "the visible part always"
    assert mask[20:40, 60:80].mean() == behind
    assert mask[20:40, 20:40].mean() == elsewhere
    assert mask[15:20, 40:60].mean() == elsewhere


def test_others_allows_nothing_elsewhere():
    mask = published(1.0, ComposeConfig(complete_into="others", occluder_margin_px=0))
    assert mask.sum() == 20 * 40 and mask[20:40, 40:80].all()


def test_least_chance_without_an_occluder_is_one_number():
    assert least_chance(None, ComposeConfig(complete_into="others")) > 1
    anything = ComposeConfig(complete_into="anything", untracked_threshold=0.6)
    assert least_chance(None, anything) == 0.6
