import numpy as np
import pytest

from savos_model.geometry import paste
from savos_model.motion import pair
from savos_model.stream.prediction import Guess, mean_inside, moving_whole
from savos_model.types import Box

BOX = Box(20, 20, 100, 100)
VIEW = Box(-100, 0, 200, 120)


def square():
    """A guess of 40 x 40 px in the middle of a box of 80 x 80 px."""
    values = np.zeros((32, 64, 1), np.float32)
    values[8:24, 16:48] = 1
    return values


def after(guess, frames):
    """The object on the pixels of VIEW after some frames without another prediction."""
    for _ in range(frames):
        box = guess.moved_on()
        values = guess.warped(box)
        guess.held += 1
    return paste(values[..., 0], box, VIEW), box


@pytest.mark.parametrize("speed", [0.45, -0.5, 0.04, 1.3])
def test_held_guess_keeps_its_shape_and_its_pace(speed):
    frames = 1 + int(60 / max(abs(speed), 0.7))
    seen, box = after(moving_whole(square(), BOX, (speed, 0.0)), frames)
    assert abs(box.x0 - BOX.x0 - speed * frames) <= 0.5
    assert seen.sum() == pytest.approx(1600, rel=0.02)
    assert (seen >= 0.5).sum() == pytest.approx(1600, rel=0.04)
    centre = np.average(np.arange(-100, 200) + 0.5, weights=seen.sum(0))
    assert centre == pytest.approx(60 + speed * frames, abs=0.1)


def test_a_guess_with_separate_motion_continues_by_the_mean():
    """Held for a frame more, all has moved by the mean once more: the shape is that of before."""
    motion = np.zeros((2, 32, 64), np.float32) + pair((2.0, -1.0))
    motion[0, :, 32:] += 2  # it unfolds to the right
    guesses = (Guess(square(), motion, BOX, (3.0, -1.0)) for _ in range(2))
    (once, _), (twice, _) = (after(guess, n) for guess, n in zip(guesses, (1, 3), strict=True))
    np.testing.assert_allclose(twice[:-2, 6:], once[2:, :-6], atol=1e-4)


def test_mean_motion_is_that_of_the_masks_pixels():
    rng = np.random.default_rng(0)
    motion = rng.normal(3, 40, (2, 32, 64)).astype(np.float32)
    chance = square()[..., 0] * rng.random((32, 64), np.float32)
    want = [plane[chance > 0.5].astype(float).mean() for plane in motion]
    np.testing.assert_allclose(mean_inside(motion, chance, (9.0, 9.0)), want, rtol=1e-5)
    assert mean_inside(motion, np.zeros_like(chance), (9.0, 8.0)) == (9.0, 8.0)
