"""Pictures and masks by OpenGL, and whole clips; skipped where there is no OpenGL."""

import dataclasses

import numpy as np
import pytest

from tests.tiny_models import CUBE_OBJ, block, plain

pytest.importorskip("moderngl", reason="moderngl (extra render) is not installed")
from training.data.fishbowl import FishbowlClip
from training.data.prepare import fishbowl_frames
from training.render.assets import AssetOptions, survey
from training.render.geometry import place
from training.render.gl import Camera, Item, Light, Renderer, RenderError
from training.render.jobs import render_jobs, run_render_job
from training.render.meshes import box
from training.render.settings import RenderOptions

SIZE, FOCAL = (120, 80), 100.0
CAMERA = Camera(np.array([0.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]), FOCAL)
LIGHT = Light(np.array([-0.6, 0.0, 0.8]), np.ones(3), np.ones(3) * 0.6, np.ones(3) * 0.3)


@pytest.fixture
def renderer():
    try:
        made = Renderer(SIZE, 0.1, 20.0, 0.001)
    except RenderError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def item(renderer, half, at, colour=(255, 255, 255)):
    return Item(renderer.load(box(half, plain(colour))), place(np.array(at, float)))


def rectangle(y, z, half, front):
    """Pixels whose centre a square sees that faces the camera at distance `front`."""
    columns = (SIZE[0] / 2 - np.arange(SIZE[0]) - 0.5) * front / FOCAL  # y to the left
    rows = (SIZE[1] / 2 - np.arange(SIZE[1]) - 0.5) * front / FOCAL
    return (np.abs(rows - z) < half)[:, None] & (np.abs(columns - y) < half)[None]


def test_masks_are_exact(renderer):
    # Both are seen from the front alone, so that their outlines are those of their front squares.
    objects = {
        3: [item(renderer, (0.01, 0.51, 0.51), (4.01, 0.3, 0.1))],
        8: [item(renderer, (0.01, 0.305, 0.305), (2.01, -0.1, 0.0))],
        9: [item(renderer, (0.1, 0.1, 0.1), (-3.0, 0.0, 0.0))],  # behind the camera
    }
    post = item(renderer, (0.01, 0.05, 2.0), (1.01, 0.2, 0.0))
    masks = renderer.masks([post], objects, CAMERA)
    far, near = rectangle(0.3, 0.1, 0.51, 4.0), rectangle(-0.1, 0.0, 0.305, 2.0)
    pillar = np.abs((SIZE[0] / 2 - np.arange(SIZE[0]) - 0.5) / FOCAL - 0.2) < 0.05
    assert set(masks.full) == {3, 8}
    np.testing.assert_array_equal(masks.full[3], far)
    np.testing.assert_array_equal(masks.full[8], near)
    np.testing.assert_array_equal(masks.visible[8], near & ~pillar)
    np.testing.assert_array_equal(masks.visible[3], far & ~near & ~pillar)


def test_more_objects_than_channels_have_masks_of_their_own(renderer):
    objects = {i: [item(renderer, (0.01, 0.1, 0.1), (4.0, 1.0 - 0.4 * i, 0.0))] for i in range(6)}
    masks = renderer.masks([], objects, CAMERA)
    assert set(masks.full) == set(masks.visible) == set(range(6))
    assert sum(mask.astype(int) for mask in masks.full.values()).max() == 1
    left = [np.flatnonzero(masks.full[i].any(0))[0] for i in range(6)]
    assert left == sorted(left)


def test_holes_of_a_texture_are_holes_of_the_mask(renderer):
    leaf = plain((0, 255, 0))
    leaf[:, :2, 3] = 0
    part = dataclasses.replace(box((0.01, 0.5, 0.5), leaf), cut=True)
    whole = renderer.masks([], {0: [item(renderer, (0.01, 0.5, 0.5), (4, 0, 0))]}, CAMERA)
    cut = renderer.masks([], {0: [Item(renderer.load(part), place(np.array([4.0, 0, 0])))]}, CAMERA)
    share = cut.full[0].sum() / whole.full[0].sum()
    assert 0.35 < share < 0.65


def test_pictures_have_colours_and_shadows(renderer):
    floor = item(renderer, (5, 5, 0.01), (5, 0, -0.5))
    red = item(renderer, (0.2, 0.2, 0.2), (4, 0, -0.3), (255, 0, 0))
    with_it = renderer.picture([floor, red], CAMERA, LIGHT, np.array([4.0, 0, 0]), 4.0)
    without = renderer.picture([floor], CAMERA, LIGHT, np.array([4.0, 0, 0]), 4.0)
    mask = renderer.masks([floor], {0: [red]}, CAMERA).visible[0]
    assert with_it.shape == (SIZE[1], SIZE[0], 3)
    r, g, b = with_it[mask].mean(0)
    assert r > 2 * g and r > 2 * b
    outside = with_it[~mask].astype(int) - without[~mask]
    assert (outside < -20).any(1).sum() > 20  # the block's shadow lies on the floor
    assert np.median(np.abs(outside)) == 0


@pytest.fixture
def cubes(tmp_path):
    """Models of a user: two parts, and one that only occludes."""
    for name, stretch in (("part/cube.obj", 1), ("tool/bar.obj", 3), ("scenery/post.obj", 6)):
        path = tmp_path / "cad" / name
        path.parent.mkdir(parents=True)
        lines = [line.split() for line in CUBE_OBJ.splitlines()]
        path.write_text(
            "\n".join(
                f"v {v[1]} {v[2]} {float(v[3]) * stretch}" if v[0] == "v" else " ".join(v)
                for v in lines
            )
        )
    return tmp_path / "cad"


@pytest.mark.parametrize("kind, scale", [("table", 0.05), ("street", 1.2)])
@pytest.mark.slow
def test_a_folder_of_models_becomes_clips(tmp_path, cubes, renderer, kind, scale):
    if kind == "table":
        pytest.importorskip("mujoco", reason="mujoco (extra render) is not installed")
    options = AssetOptions(scale=scale)
    files = survey(cubes, options).usable
    masks = []
    for out in ("a", "b"):
        wanted = RenderOptions(cubes, tmp_path / out, kind, clips=1, seed=4, frames=3)
        (job,) = render_jobs(wanted, files, options)
        assert run_render_job(job) > 2
        clip = FishbowlClip(job.path)
        assert {item.category for item in clip.objects} <= {"part", "tool"}
        masks.append([[(i.id, i.box, i.mask.sum()) for i in clip.truth(t)] for t in range(3)])
    assert masks[0] == masks[1] and clip.num_frames == 3
    for frame in fishbowl_frames(job.path):
        for seen in frame.instances:
            (x0, y0, x1, y1), whole = frame.full[seen.id]
            x, y = int(seen.box.x0 - x0), int(seen.box.y0 - y0)
            part = whole[y : y + seen.mask.shape[0], x : x + seen.mask.shape[1]]
            assert part.shape == seen.mask.shape and (part >= seen.mask).all()
        hidden = sum(int(mask.sum()) for _, mask in frame.scenery.values())
        assert hidden < sum(int(mask.sum()) for _, mask in frame.full.values())


def test_dropped_bodies_come_to_rest_on_the_table():
    pytest.importorskip("mujoco", reason="mujoco (extra render) is not installed")
    from training.render.physics import Pile, Solid

    cube = block(size=(0.1, 0.1, 0.1)).parts[0].vertices
    pile = Pile([[cube], [cube]], [Solid((0.5, 0.5, 0.02), (0, 0, -0.02))])
    assert pile.is_away(0) and pile.is_away(1)
    pile.put(0, (0.0, 0.0, 0.05), np.eye(3))
    pile.put(1, (0.01, 0.0, 0.2), np.eye(3))
    pile.advance(1.5)
    assert not pile.is_away(0)
    assert pile.pose(0)[2, 3] == pytest.approx(0.0, abs=0.004)  # its axes' origin is at its foot
    assert pile.pose(1)[2, 3] == pytest.approx(0.1, abs=0.006)
