import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from savos_model.types import AmodalObject, Box, Source
from savos_ros.messages.overlay import color_of, draw
from savos_ros.messages.settings import OverlayConfig

PLAIN = OverlayConfig(outline_px=0, labels=False)


BOX = Box(10, 20, 50, 60)


def thing(track="7", box=BOX, occlusion=0.5):
    """Left half visible, right half hidden."""
    mask = np.full((int(box.height), int(box.width)), 255, np.uint8)
    visible = np.zeros_like(mask)
    visible[:, : mask.shape[1] // 2] = 1
    return AmodalObject(
        track, "car", 1.0, Source.FORWARD, box, mask, visible, occlusion, 0.8, (0.0, 0.0)
    )


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (80, 90, 3), np.uint8)


def test_input_stays_and_pixels_outside_the_object_stay(image):
    before = image.copy()
    image.flags.writeable = False
    out = draw(image, [thing()], PLAIN)
    assert np.array_equal(image, before)
    changed = (out != image).any(axis=2)
    outside = np.ones_like(changed)
    outside[20:60, 10:50] = False
    assert not changed[outside].any()


def test_visible_part_is_filled_and_hidden_part_hatched(image):
    out = draw(image, [thing()], PLAIN).astype(float)
    color = np.array(color_of("7"))
    visible = np.s_[20:60, 10:30]
    wanted = image[visible] * (1 - PLAIN.alpha) + color * PLAIN.alpha
    assert np.abs(out[visible] - wanted).max() <= 1
    lines = (out[20:60, 30:50] != image[20:60, 30:50]).any(axis=2)
    assert lines.mean() == pytest.approx(2 / PLAIN.hatch_px, abs=0.02)


def test_hatch_lies_on_the_image_not_on_the_object(image):
    """A moving object shows moving edges under standing lines."""
    first = draw(image, [thing()], PLAIN)
    second = draw(image, [thing(box=Box(13, 24, 53, 64))], PLAIN)
    both = np.s_[24:60, 33:50]
    assert np.array_equal(first[both] != image[both], second[both] != image[both])


def test_hidden_lines_are_seen_over_an_occluder(image):
    front = thing("front", Box(30, 20, 70, 60), 0.0)
    over = draw(image, [thing(), front], PLAIN)
    alone = draw(image, [front], PLAIN)
    assert (over[20:60, 30:50] != alone[20:60, 30:50]).any()


def test_outline_label_and_grey_images(image):
    grey = image[..., 0]
    out = draw(grey, [thing()], OverlayConfig())
    assert out.shape == (80, 90, 3) and out.dtype == np.uint8 and out.flags.c_contiguous
    assert (out[20, 10:50] == color_of("7")).all(axis=1).mean() > 0.9
    assert not np.array_equal(draw(grey, [thing()], OverlayConfig(labels=False)), out)


@pytest.mark.parametrize(
    "box", [Box(0, 0, 1, 1), Box(89, 79, 90, 80), Box(0, 0, 90, 80), Box(80, 0, 90, 5)]
)
def test_objects_at_the_border(image, box):
    out = draw(image, [thing("a long identifier of some other tracker", box)], OverlayConfig())
    assert out.shape == image.shape


def test_other_layouts_and_probabilities(image):
    fortran = np.asfortranarray(image)
    probable = thing()
    probable.mask[:, 20:] = 127  # below one half: not drawn
    out = draw(fortran[:, ::1], [probable], PLAIN)
    assert np.array_equal(out[20:60, 30:50], image[20:60, 30:50])
    assert np.array_equal(draw(image[:, ::-1], [], PLAIN), image[:, ::-1])
    inside = np.ones_like(probable.mask, bool)  # of a lower threshold
    low = dataclasses.replace(probable, cut=inside)
    assert np.array_equal(
        draw(image, [low], OverlayConfig()), draw(image, [thing()], OverlayConfig())
    )


def test_colours_are_stable_across_runs_and_differ():
    code = "from savos_ros.messages.overlay import color_of; print(color_of('1007'))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == str(color_of("1007"))
    assert len({color_of(str(k)) for k in range(1000, 1100)}) > 95
