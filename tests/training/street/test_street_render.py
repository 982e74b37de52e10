"""Projection, filling and painter's order, checked against hand calculations and ray casting."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.street.cars import STYLES, build_car, random_car
from training.street.meshes import box
from training.street.noise import tight
from training.street.people import random_person, riding, walking
from training.street.render import (
    NEAR_M,
    Camera,
    Drawing,
    Light,
    clip_near,
    composite,
    draw_hulls,
    draw_mesh,
    far_to_near,
    rasterise,
)

LIGHT = Light(
    np.array([0.3, 0.5, 0.81]),
    np.full(3, 0.6),
    np.full(3, 0.5),
    np.full(3, 0.2),
    np.full(3, 0.8),
    900.0,
)


def render(mesh, position, heading=0.0, camera=None):
    camera = camera or Camera()
    drawing = draw_mesh(mesh, np.array(position, dtype=float), heading, camera, LIGHT, 1.0)
    return rasterise(drawing, camera)


def test_projection_by_hand():
    camera = Camera(x=2.0, y=1.0)
    point = camera.to_camera(np.array([[12.0, 0.0, 0.0]]))
    np.testing.assert_allclose(point, [[1.0, 1.65, 10.0]], atol=1e-12)
    np.testing.assert_allclose(camera.project(point), [[609.6 + 72.15, 172.9 + 119.0475]])
    turned = Camera(yaw=math.pi / 2).to_camera(np.array([[0.0, 5.0, 1.65]]))
    np.testing.assert_allclose(turned, [[0.0, 0.0, 5.0]], atol=1e-12)
    lower = Camera(pitch=0.1).to_camera(np.array([[10.0, 0.0, 1.65]]))
    assert lower[0, 1] == pytest.approx(-10 * math.sin(0.1))


def test_camera_axes_are_a_rotation():
    rotation = Camera(yaw=0.7, pitch=-0.2).rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@pytest.mark.parametrize("distance", [6.0, 20.0, 60.0])
def test_mask_of_a_box_has_the_size_of_its_projection(distance):
    """A box of 2 x 1.2 m seen straight from behind is a rectangle of known size and place."""
    mesh = box((1.0, 2.0, 1.2), (0, 0, 0.6), (100, 100, 100))
    layer = render(mesh, (distance + 0.5, 0, 0))
    scale = 721.5 / distance
    # From above the top shows as well: it ends at the far edge.
    top = (172.9 + (1.65 - 1.2) * 721.5 / (distance + 1.0)) - (172.9 + 1.65 * scale - 1.2 * scale)
    high = 1.2 * scale - top
    low, far = 2 * scale, 2 * 721.5 / (distance + 1.0)
    area = low * 1.2 * scale + -top * (low + far) / 2
    assert layer.mask.sum() == pytest.approx(area, rel=0.012 + 0.5 / high)
    rows, cols = np.flatnonzero(layer.mask.any(axis=1)), np.flatnonzero(layer.mask.any(axis=0))
    assert layer.box.x0 + cols[0] == pytest.approx(609.6 - scale, abs=0.8)
    assert layer.box.x0 + cols[-1] + 1 == pytest.approx(609.6 + scale, abs=0.8)
    assert layer.box.y0 + rows[-1] + 1 == pytest.approx(172.9 + 1.65 * scale, abs=0.8)


@settings(max_examples=12)
@example(27.0, 3.375)
@given(st.floats(3, 40), st.floats(3, 150))
def test_filling_is_unbiased(width, height):
    """Over all sub-pixel places a filled shape has the area it should have.

    The mean of 150 places is known to about a tenth of a pixel of the shorter side.
    """
    rng, areas, places = np.random.default_rng(0), [], []
    for _ in range(150):
        corner = np.array([50, 40]) + rng.uniform(0, 1, 2)
        corners = corner + np.array([[0, 0], [width, 0], [width, height], [0, height]])
        layer = rasterise(Drawing([corners], np.full((1, 3), 90.0), 5.0), Camera())
        areas.append((layer.alpha.sum() / 255, layer.mask.sum()))
        rows, cols = np.nonzero(layer.mask)
        middle = np.array([layer.box.x0 + cols.mean() + 0.5, layer.box.y0 + rows.mean() + 0.5])
        places.append(middle - corner - [width / 2, height / 2])
    share = np.mean(areas, axis=0) / (width * height)
    np.testing.assert_allclose(share, 1, atol=0.01 + 0.25 / min(width, height))
    assert np.abs(np.mean(places, axis=0)).max() < 0.3


def test_clipping_cuts_at_the_near_plane():
    square = np.array([[0.0, 0, -1], [1, 0, -1], [1, 0, 3], [0, 0, 3]])
    cut = clip_near(square, 1.0)
    assert len(cut) == 4 and cut[:, 2].min() == 1.0
    assert len(clip_near(square - [0, 0, 10])) == 0
    np.testing.assert_array_equal(clip_near(square + [0, 0, 5]), square + [0, 0, 5])


@pytest.mark.parametrize("ahead", [4.0, 2.5, 1.2])
def test_car_next_to_the_camera_leaves_through_the_side(ahead):
    """A car that reaches behind the camera keeps to its side, and touches the image border."""
    mesh = build_car(random_car(np.random.default_rng(3), "estate"))
    layer = render(mesh, (ahead, -2.6, 0))
    camera = Camera()
    assert layer.box.x1 == camera.width and layer.mask[:, -1].any()
    assert layer.box.x0 > 609
    box, mask = tight(layer.box, layer.mask)
    assert box.x1 == camera.width and box.y1 == camera.height  # it fills the corner
    assert mask.mean() > 0.3
    assert render(mesh, (-6.0, -2.6, 0)) is None


def test_object_behind_the_camera_draws_nothing():
    figure = walking(random_person(np.random.default_rng(1)), 0.3, 1.0)
    drawing = draw_hulls(figure, np.array([-4.0, 0.5, 0]), 0.0, Camera(), LIGHT, 1.0)
    assert rasterise(drawing, Camera()) is None


@pytest.mark.parametrize("style", list(STYLES))
def test_cars_have_their_measures_and_solid_outlines(style):
    rng = np.random.default_rng(7)
    for heading in np.arange(0, 2 * math.pi, 0.45):
        spec = random_car(rng, style)
        mesh = build_car(spec)
        size = np.ptp(mesh.vertices, axis=0)
        assert size[0] == pytest.approx(spec.length, abs=0.05)
        assert spec.width <= size[1] < spec.width + 0.4  # with mirrors
        assert size[2] == pytest.approx(spec.height, abs=0.06 if not spec.roof_box else 0.4)
        assert 3.5 <= spec.length <= 5.2 and 1.6 <= spec.width <= 1.93 and 1.4 <= spec.height <= 2.1
        assert mesh.vertices[:, 2].min() == pytest.approx(0, abs=0.02)
        layer = render(mesh, (11, 1, 0), heading)
        outside, _ = cv2.findContours(layer.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(np.zeros_like(layer.mask), outside, -1, 1, cv2.FILLED)
        assert max(cv2.contourArea(c) for c in outside) > 0.97 * layer.mask.sum() * 0.9
        # Between mirror and door, or under the floor, the street may show; the body has no hole.
        assert filled.sum() - layer.mask.sum() < 0.02 * layer.mask.sum()


def test_coarse_and_fine_cars_look_alike_from_afar():
    rng = np.random.default_rng(8)
    for _ in range(6):
        spec = random_car(rng)
        masks = []
        for fine in (True, False):
            layer = render(build_car(spec, fine), (30, 2.5, 0), math.pi)
            canvas = np.zeros((375, 1242), np.uint8)
            canvas[layer.box.y0 : layer.box.y1, layer.box.x0 : layer.box.x1] = layer.mask
            masks.append(canvas)
        assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.9


def test_people_stand_on_the_ground_and_have_their_height():
    rng = np.random.default_rng(9)
    for phase in np.arange(0, 6.3, 0.7):
        spec = random_person(rng)
        for figure in (walking(spec, phase, 1.0), walking(spec, phase, 0.0)):
            low = (figure.centres[:, 2] - figure.radii).min()
            high = (figure.centres[:, 2] + figure.radii).max()
            assert abs(low) < 0.03 * spec.height
            assert high - low == pytest.approx(spec.height, rel=0.06)
        rider = riding(spec, phase)
        assert (rider.centres[:, 2] - rider.radii).min() == pytest.approx(-0.02, abs=0.03)


def test_gait_moves_legs_smoothly():
    spec = random_person(np.random.default_rng(2))
    steps = [walking(spec, phase, 1.0).centres for phase in np.linspace(0, 2 * math.pi, 60)]
    moves = [np.abs(b - a).max() for a, b in zip(steps, steps[1:], strict=False)]
    assert 0.01 < max(moves) < 0.12
    np.testing.assert_allclose(steps[0], steps[-1], atol=1e-9)


def test_composite_lays_the_near_object_over_the_far_one():
    image = np.full((375, 1242, 3), 200, np.uint8)
    owner = np.full((375, 1242), -1, np.int16)
    far = render(box((1, 4, 2), (0, 0, 1), (10, 200, 10)), (20, 0, 0))
    near = render(box((0.1, 0.3, 3), (0, 0, 1.5), (10, 10, 200)), (10, 0, 0))
    composite(image, owner, far, 0)
    composite(image, owner, near, 1)
    assert (owner == 1).sum() == near.mask.sum()
    hidden = (owner == 0).sum() / far.mask.sum()
    assert 0.6 < hidden < 1 - 0.3 / 4
    assert tuple(image[5, 5]) == (200, 200, 200)
    # Red in front, green next to it.
    assert image[180, 609, 2] > image[180, 609, 1] and image[180, 640, 1] > image[180, 640, 2]


def rectangle(x, y, length, width, turn):
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [length / 2, width / 2]
    c, s = math.cos(turn), math.sin(turn)
    return corners @ np.array([[c, s], [-s, c]]) + [x, y]


def entry_distance(corners, direction):
    """Distance at which a ray from the origin enters a convex polygon, or None."""
    near, far = 0.0, math.inf
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        normal = np.array([b[1] - a[1], a[0] - b[0]])
        down, gap = normal @ direction, normal @ a
        if abs(down) < 1e-12:
            if gap < 0:
                return None
        elif down < 0:
            near = max(near, gap / down)
        else:
            far = min(far, gap / down)
    return near if near < far else None


cells = st.tuples(
    st.floats(0.3, 0.95), st.floats(0.1, 0.4), st.floats(-math.pi, math.pi), st.floats(-0.1, 0.1)
)


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), cells), min_size=12, max_size=12))
def test_painters_order_agrees_with_ray_casting(grid):
    """Every ray meets disjoint footprints in the reverse of the painting order."""
    prints = []
    for i, cell in enumerate(grid):
        if cell is not None:
            length, width, turn, move = cell
            place = 6 + 4.4 * (i // 3) + move, (i % 3 - 1) * 4.4
            prints.append(rectangle(*place, length * 4, width * 4, turn))
    order = far_to_near(np.array(prints).reshape(-1, 4, 2), np.zeros(2))
    assert sorted(order) == list(range(len(prints)))
    for angle in np.linspace(-0.9, 0.9, 61):
        ray = np.array([math.cos(angle), math.sin(angle)])
        hits = {i: entry_distance(prints[i], ray) for i in range(len(prints))}
        met = [i for i in order if hits[i] is not None]
        distances = [hits[i] for i in met]
        assert distances == sorted(distances, reverse=True)


def test_long_neighbours_are_ordered_by_their_faces_not_their_middles():
    """A long hedge next to the road is nearer in the middle than a car whose rear is close by."""
    car = rectangle(8.0, -3.0, 4.5, 1.8, 0.0)
    hedge = rectangle(16.0, -5.0, 24.0, 0.8, 0.0)
    wall = rectangle(12.0, -1.2, 9.0, 0.3, 0.0)
    assert far_to_near(np.array([car, hedge, wall]), np.zeros(2)) == [1, 0, 2]
    assert NEAR_M > 0
