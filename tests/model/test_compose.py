import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savos_model.config import ComposeConfig
from savos_model.geometry import intersect, move, paste
from savos_model.instances import occupancy
from savos_model.masks import slices
from savos_model.stream.compose import compose, may_be_hidden, reach
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
        complete_into="anything",
        threshold=0.4,
        peak=0.4,
        untracked_threshold=0.7,
        untracked_peak=0.7,
        occluder_margin_px=0,
    )
    mask = published(chance, config)
    assert mask[20:40, 40:60].all(), "the visible part always"
    assert mask[20:40, 60:80].mean() == behind
    assert mask[20:40, 20:40].mean() == elsewhere
    assert mask[15:20, 40:60].mean() == elsewhere


def two_regions(patch, box):
    """Paint what lies behind an object and what lies elsewhere; each is 10 x 10 px or more."""
    own = instance("1", rectangle(SHAPE, (40, 20, 60, 40)))
    other = instance("2", rectangle(SHAPE, (60, 20, 80, 40)))
    chance = rectangle(SHAPE, (40, 20, 60, 40)).astype(np.float32)
    chance[20:40, 60:75] = patch[0]
    chance[20:40, 25:40] = patch[1]
    x0, y0, x1, y1 = (int(v) for v in box)
    done = compose(
        own,
        chance[y0:y1, x0:x1],
        box,
        occupancy([own, other], *SHAPE),
        (0.0, 0.0),
        ComposeConfig(
            threshold=0.3,
            peak=0.6,
            untracked_threshold=0.4,
            untracked_peak=0.8,
            min_hidden=0.0,
            occluder_margin_px=0,
        ),
    )
    canvas = np.zeros(SHAPE, bool)
    canvas[slices(done.box)] = done.inside
    assert canvas[20:40, 40:60].all(), "the visible part always"
    return canvas, done


@pytest.mark.parametrize("box", [Box(0, 0, 100, 60), Box(20, 10, 80, 50)])
@pytest.mark.parametrize(("behind", "elsewhere"), [(0.5, 0.5), (0.7, 0.7), (0.7, 0.9), (0.2, 0.9)])
def test_a_region_needs_its_peak(behind, elsewhere, box):
    canvas, _ = two_regions((behind, elsewhere), box)
    assert canvas[20:40, 61:74].all() == canvas[20:40, 61:74].any() == (behind >= 0.6)
    assert canvas[20:40, 26:39].all() == canvas[20:40, 26:39].any() == (elsewhere >= 0.8)
    expected = 20 * 20 + 20 * 15 * ((behind >= 0.6) + (elsewhere >= 0.8))
    assert canvas.sum() == expected, "no rim between visible mask and dropped region"


def test_one_peak_keeps_its_region_down_to_the_threshold():
    patch = np.full((20, 15), 0.35, np.float32)
    patch[10, 7] = 0.65
    canvas, _ = two_regions((patch, 0.5), Box(0, 0, 100, 60))
    assert canvas[20:40, 60:75].all() and not canvas[:, :40].any()


def test_the_next_crop_shows_what_is_likely_only():
    patch = np.full((20, 15), 0.35, np.float32)
    patch[:, :5] = 0.9
    canvas, done = two_regions((patch, 0.9), Box(0, 0, 100, 60))
    assert canvas[20:40, 60:75].all() and done.box == Box(25, 20, 75, 40)
    assert done.extent is not None and done.extent.x0 == 25 and 65 <= done.extent.x1 <= 66


@pytest.mark.parametrize("values", ["binary", "probability"])
@pytest.mark.parametrize(("cols", "kept"), [(1, False), (2, True)])
def test_little_hidden_area_is_left_out(cols, kept, values):
    """One column is 0.05 of the visible square, two are 0.1."""
    own = instance("1", rectangle(SHAPE, (40, 20, 60, 40)))
    other = instance("2", rectangle(SHAPE, (60, 20, 80, 40)))
    probability = rectangle(SHAPE, (40, 20, 60 + cols, 40)).astype(np.float32)
    config = ComposeConfig(min_hidden=0.07, mask_values=values)

    done = compose(
        own, probability, Box(0, 0, 100, 60), occupancy([own, other], *SHAPE), (0, 0), config
    )

    assert done.inside.sum() == 20 * 20 + 20 * cols * kept
    assert done.occlusion == pytest.approx(cols / (20 + cols) * kept)
    assert done.confidence == 1


def test_others_allows_nothing_elsewhere():
    mask = published(1.0, ComposeConfig(complete_into="others", occluder_margin_px=0))
    assert mask.sum() == 20 * 40 and mask[20:40, 40:80].all()


def test_without_an_occluder_nothing_is_hidden_but_by_great_certainty():
    chance = np.array([[0.5, 0.65, 1.0]], np.float32)
    assert not may_be_hidden(chance, None, ComposeConfig(complete_into="others")).any()
    anything = ComposeConfig(complete_into="anything", untracked_threshold=0.6)
    assert may_be_hidden(chance, None, anything).tolist() == [[False, True, True]]


@given(
    st.integers(0, 99),
    st.tuples(st.integers(-20, 20), st.integers(-20, 20), st.integers(16, 90), st.integers(16, 90)),
    st.sampled_from([0.002, 0.1, 0.4, 0.9]),
)
def test_reach_holds_all_pixels_of_enough_probability(seed, place, least):
    x, y, width, height = place
    box = Box(x, y, x + width, y + height)
    patch = np.random.default_rng(seed).random((12, 20), np.float32) ** 12
    around = reach(patch, box, least)
    kept = np.zeros((height, width), bool)
    if around is not None:
        assert intersect(around, box) == around
        kept[slices(move(around, -x, -y))] = True
    assert not ((paste(patch, box, box) >= least) & ~kept).any()


@pytest.mark.parametrize("values", ["binary", "probability"])
@pytest.mark.parametrize("into", ["others", "hull", "anything"])
def test_a_mask_does_not_depend_on_how_far_its_box_reaches(values, into):
    config = ComposeConfig(mask_values=values, complete_into=into)
    own = instance("1", rectangle(SHAPE, (40, 20, 60, 40)))
    other = instance("2", rectangle(SHAPE, (60, 20, 80, 40)))
    count = occupancy([own, other], *SHAPE)
    probability = np.zeros((60, 100), np.float32)
    probability[18:45, 35:77] = np.linspace(0.2, 0.9, 42, dtype=np.float32)
    image = Box(0, 0, 100, 60)
    whole = compose(own, probability, image, count, (0.0, 0.0), config)
    near = compose(own, probability[15:50, 30:80], Box(30, 15, 80, 50), count, (0.0, 0.0), config)
    assert whole.box == near.box and whole.occlusion == near.occlusion
    assert (whole.occlusion > 0) == (into != "hull")  # a square fills its hull
    for name in ("mask", "visible", "inside"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(near, name))
