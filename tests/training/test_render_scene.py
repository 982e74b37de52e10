"""Geometry, masks and the layout of scenes; nothing here needs OpenGL."""

import numpy as np
import pytest

from tests.tiny_models import block
from training.render.geometry import in_view, look, perspective, place, random_turn, turn_z
from training.render.gl import split_masks
from training.render.meshes import bounds, box, cylinder
from training.render.scene import SCENERY, SceneError, pick, split_scenery
from training.render.street import (
    Crowd,
    StreetScene,
    extent,
    heading,
    is_walker,
    plan_ride,
    populate,
    straight,
)
from training.render.table import is_free, plan_table

SIZE = (200, 100)


def project(point, eye, target, focal):
    """Columns and rows of a point in a picture of SIZE."""
    view = perspective(focal, SIZE, 0.1, 100.0) @ look(eye, target)
    x, y, _, w = view @ [*point, 1]
    return (x / w + 1) / 2 * SIZE[0], (1 - y / w) / 2 * SIZE[1]


def test_a_camera_projects_as_a_pinhole_does():
    eye, target = (0.0, 0.0, 1.0), (10.0, 0.0, 1.0)
    assert project((5, 0, 1), eye, target, 150) == pytest.approx((100, 50), abs=1e-3)
    # 1 m to the left (+y) and 0.5 m up at 5 m: 150 / 5 px a metre.
    assert project((5, 1, 1.5), eye, target, 150) == pytest.approx((70, 35), abs=1e-3)


def test_spheres_outside_the_picture_are_left_out():
    pose, slope = look((0, 0, 0), (1, 0, 0)), (0.5, 0.25)
    assert in_view(pose, slope, np.array([4.0, 0, 0]), 0.1)
    assert not in_view(pose, slope, np.array([-4.0, 0, 0]), 0.1)
    assert not in_view(pose, slope, np.array([4.0, 2.3, 0]), 0.1)
    assert in_view(pose, slope, np.array([4.0, 2.05, 0]), 0.1)
    assert not in_view(pose, slope, np.array([4.0, 0, 1.2]), 0.1)


def test_turns_are_rotations():
    turn = random_turn(np.random.default_rng(0))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(turn_z(np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-9)
    assert place(np.array([1, 2, 3]))[:3, 3].tolist() == [1, 2, 3]


def test_masks_are_taken_apart():
    ids, alone = np.zeros((4, 6), np.uint8), [np.zeros((4, 6, 4), np.uint8) for _ in range(2)]
    alone[0][1:3, 0:4, 0] = 255  # number 7: seen on the left, its right half is hidden by 9
    alone[1][1:3, 2:6, 0] = 255  # number 9, the fifth
    alone[0][0, :, 2] = 255  # number 4: all hidden by scenery
    ids[1:3, 0:2], ids[1:3, 2:6] = 1, 5
    masks = split_masks(ids, alone, [7, 5, 4, 6, 9])
    assert set(masks.full) == {7, 4, 9} and set(masks.visible) == {7, 9}
    assert masks.visible[7].sum() == 4 and masks.full[7].sum() == 8
    assert (masks.full[9] == masks.visible[9]).all()


def test_a_mask_outside_its_whole_is_an_error():
    ids = np.ones((2, 2), np.uint8)
    with pytest.raises(ValueError, match="^object 3 "):
        split_masks(ids, [np.zeros((2, 2, 4), np.uint8)], [3])
    with pytest.raises(ValueError, match="255"):
        split_masks(ids, [], list(range(256)))


@pytest.mark.parametrize("part", [box((1, 2, 3), None), cylinder(1.0, 4.0, None)])
def test_faces_look_outwards(part):
    corners = part.vertices[part.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = np.abs((cross * part.normals[part.faces[:, 0]]).sum(1))
    assert (outward > 0.9 * np.linalg.norm(cross, axis=1)).all()
    assert ((part.normals * part.vertices).sum(1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-6)
    low, high = bounds([part])
    np.testing.assert_allclose(low, -high, atol=1e-6)


def test_models_are_drawn_again_only_when_all_were():
    models = [block(str(i)) for i in range(3)]
    names = [model.name for model in pick(np.random.default_rng(0), models, 7)]
    assert sorted(names[:3]) == sorted(names[3:6]) == ["0", "1", "2"] and len(names) == 7


def test_scenery_is_no_object():
    models = [block("a"), block("b", category="scenery")]
    objects, scenery = split_scenery(models)
    assert [m.name for m in objects] == ["a"] and [m.name for m in scenery] == ["b"]
    with pytest.raises(SceneError, match=repr(SCENERY)):
        split_scenery(scenery)


def test_footprints_do_not_overlap_in_any_frame():
    crowd = Crowd()
    assert crowd.add(straight(0, 0, 0, 0.0, 5), (4, 2))
    assert not crowd.add(straight(3.9, 0, 0, 0.0, 5), (4, 2))
    assert crowd.add(straight(4.1, 0, 0, 0.0, 5), (4, 2))
    # Comes along at 10 m/s and would be inside the second one in the last frame.
    assert not crowd.add(straight(10, 0, np.pi, 10.0, 5), (4, 2))
    np.testing.assert_allclose(extent(np.array([np.pi / 2]), (4, 2)), [[1, 2]], atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_street_is_populated_without_collisions(seed):
    car, man = block("car", (2, 4.5, 1.5)), block("man", (0.5, 0.4, 1.8))
    assert is_walker(man) and not is_walker(car) and heading(car) == pytest.approx(np.pi / 2)
    movers = populate(np.random.default_rng(seed), [car, man], Crowd(), 5.0, 20)
    assert len(movers) > 5 and {mover.model.name for mover in movers} == {"car", "man"}
    boxes = [(m.poses[:, :2], extent(m.poses[:, 2], (4.5, 2))) for m in movers if m.model is car]
    for i, (middle, half) in enumerate(boxes):
        for other, reach in boxes[:i]:
            assert not (np.abs(middle - other) < half + reach).all(1).any()


def test_a_scene_is_fixed_by_its_seed():
    models = [block("car", (4.5, 2, 1.5)), block("man", (0.5, 0.4, 1.8))]
    first, again, other = (StreetScene(models, seed, 5) for seed in (1, 1, 2))
    assert first.parameters == again.parameters != other.parameters
    assert [item.speed for item in first.objects] == [item.speed for item in again.objects]
    ride = plan_ride(np.random.default_rng(3), 7)
    assert ride.poses.shape == (7, 3) and ride.height.shape == (7,)


@pytest.mark.parametrize("size", [0.12, 1.2])
def test_a_table_scene_grows_with_its_objects(size):
    models = [block(size=(size, size / 2, size / 3))]
    plan = plan_table(np.random.default_rng(5), models, 30)
    assert plan.scale == pytest.approx(size / 0.12) and 9 <= plan.count <= 16
    away = np.linalg.norm(plan.eyes - plan.target, axis=1)
    assert plan.eyes.shape == (30, 3) and (plan.eyes[:, 2] > 0).all()
    assert (away > 0.35).all() and (away < 1.2).all()


def test_furniture_leaves_the_view_free():
    plan = plan_table(np.random.default_rng(5), [block()], 30)
    for share in (0.0, 0.5, 0.9):
        between = plan.eyes[7, :2] * (1 - share) + plan.target[:2] * share
        assert not is_free(between, 0.05, plan)
    behind = plan.target[:2] + 3 * (plan.eyes[7, :2] - plan.target[:2])
    assert is_free(behind, 0.3, plan)
