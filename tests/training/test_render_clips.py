"""Clip files, jobs and the command; nothing here needs OpenGL."""

import gzip
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from failing import fails, refused
from typer.testing import CliRunner

from savos_ros.cli.main import app
from tests.tiny_models import CUBE_OBJ, block
from training.data.fishbowl import FishbowlClip, clip_names
from training.data.store import StoreError
from training.render.assets import AssetError, AssetOptions, model_files
from training.render.clip_file import ClipWriter
from training.render.gl import Masks, Renderer
from training.render.jobs import CACHED, RenderJob, is_rendered, models_of
from training.render.physics import hull_points
from training.render.scene import SceneFrame, SceneObject

SIZE = (64, 48)


def shown(*slices):
    mask = np.zeros(SIZE[::-1], bool)
    mask[slices] = True
    return mask


def write_clip(path, frames=3):
    """Two objects, the second one behind the first; a third with too few pixels for a label."""
    near, far, speck = (block(name, category=name[:4]) for name in ("near", "far", "speck"))
    objects = [SceneObject(model, 0.0, (1, 1, 1)) for model in (speck, near, far)]
    with ClipWriter(path, SIZE, 10, objects) as writer:
        for _ in range(frames):
            front, back = shown(slice(10, 30), slice(10, 30)), shown(slice(10, 30), slice(20, 40))
            dot = shown(slice(0, 2), slice(0, 2))
            masks = Masks({0: dot, 1: front, 2: back & ~front}, {0: dot, 1: front, 2: back})
            image = np.full((*SIZE[::-1], 3), (200, 60, 20), np.uint8)
            writer.add(SceneFrame(image, masks, {0: 1.0, 1: 2.0, 2: 5.0}))
        return writer.finish({"seed": 3}, ["speck", "near", "far"])


def test_clips_are_read_as_fishbowl_clips_are(tmp_path):
    assert write_clip(tmp_path / "a") == 2
    clip = FishbowlClip(tmp_path / "a")
    assert (clip.width, clip.height, clip.num_frames, clip.fps) == (*SIZE, 3, 10)
    assert [(item.id, item.category) for item in clip.objects] == [("1", "near"), ("2", "far")]
    visible = {item.id: int(item.mask.sum()) for item in clip.instances(1)}
    full = {item.id: int(item.mask.sum()) for item in clip.truth(1)}
    assert visible == {"1": 400, "2": 200} and full == {"1": 400, "2": 400}
    (first, *_) = clip.frames()
    assert np.abs(first.astype(int).mean((0, 1)) - (20, 60, 200)).max() < 4  # BGR


def test_depth_order_counts_labelled_objects_alone(tmp_path):
    write_clip(tmp_path / "a")
    record = json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes()))
    orders = {item["id"]: item["depth_order"] for item in record["objects"]}
    assert orders == {1: [0, 0, 0], 2: [1, 1, 1]}
    assert record["generator"] == {"seed": 3, "models": {"1": "near", "2": "far"}}


def test_a_clip_cut_off_while_rendering_is_no_clip(tmp_path):
    write_clip(tmp_path / "a")
    writer = ClipWriter(tmp_path / "b", SIZE, 10, [SceneObject(block(), 0.0, (1, 1, 1))])
    image = np.zeros((*SIZE[::-1], 3), np.uint8)
    for _ in range(60):
        writer.add(SceneFrame(image, Masks({}, {}), {0: 1.0}))
    assert len(list(tmp_path.iterdir())) == 3  # as a killed run leaves them
    assert [path.name for path in clip_names(tmp_path)] == ["a"]
    writer.__exit__(None, None, None)


def test_an_error_leaves_no_half_of_a_clip(tmp_path):
    objects = [SceneObject(block(), 0.0, (1, 1, 1))]
    with pytest.raises(KeyError), ClipWriter(tmp_path / "a", SIZE, 10, objects) as writer:
        image = np.zeros((*SIZE[::-1], 3), np.uint8)
        writer.add(SceneFrame(image, Masks({}, {0: shown(slice(5))}), {}))  # without its depth
    assert list(tmp_path.iterdir()) == []


def job(folder, files=("a.obj",), **changes):
    paths = tuple(folder / name for name in files)
    values = {"seed": 1, "frames": 2, "options": AssetOptions(), **changes}
    return RenderJob(folder / "clip", "table", assets=folder, files=paths, **values)


def test_a_clip_made_otherwise_is_not_taken_for_finished(tmp_path):
    assert not is_rendered(job(tmp_path))
    made = {"generator": {**job(tmp_path).origin, "parameters": {}}}
    path = tmp_path / "clip.json.gz"
    path.write_bytes(gzip.compress(json.dumps(made).encode()))
    assert is_rendered(job(tmp_path))
    with fails(StoreError, "other_origin", str(path), "frames"):
        is_rendered(job(tmp_path, frames=3))
    path.write_bytes(b"broken")
    with fails(StoreError, "other_origin", str(path), "all"):
        is_rendered(job(tmp_path))


def test_a_clip_takes_some_of_very_many_models(tmp_path, monkeypatch):
    monkeypatch.setattr("training.render.jobs._model", lambda path, *_: path.stem)
    names = [f"{i:04d}.obj" for i in range(CACHED + 50)]
    some = models_of(job(tmp_path, names))
    assert len(set(some)) == CACHED and some == models_of(job(tmp_path, names))
    assert some != models_of(job(tmp_path, names, seed=2))


def test_folders_without_models_are_refused(tmp_path):
    for folder, kind in ((tmp_path, "count"), (tmp_path / "missing", "missing")):
        with fails(AssetError, kind, str(folder)):
            model_files(folder)
    for name in ("b.obj", "a.GLB", "a_collision.obj", "readme.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in model_files(tmp_path)] == ["a.GLB", "b.obj"]


def test_sizes_that_contradict_are_refused():
    with refused("--size"):
        AssetOptions(scale=0.001, size=0.2)
    with refused("--scale", "bounds"):
        AssetOptions(scale=-1)
    with refused("up", "choices"):
        AssetOptions(up="x")


def test_collision_shapes_have_a_volume():
    flat = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    thick = hull_points(flat)
    np.testing.assert_allclose(np.ptp(thick, axis=0), [1, 1, 0.03])
    ball = np.random.default_rng(0).normal(size=(500, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    inside = np.concatenate((ball, ball * 0.5))
    assert len(hull_points(inside)) <= 500


def test_no_opengl_is_reported_with_what_to_install(monkeypatch):
    def fail(**_):
        raise Exception("libEGL.so.1 not loaded")

    monkeypatch.setitem(sys.modules, "moderngl", SimpleNamespace(create_standalone_context=fail))
    with pytest.raises(OSError, match=r"libEGL.so.1 not loaded.*libegl1"):
        Renderer(SIZE, 0.1, 10.0, 0.001)


def test_the_command_names_what_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "cube.obj").write_text(CUBE_OBJ)

    def run(*more):
        command = ["prepare", "models", "--assets", str(tmp_path), "--out", str(tmp_path / "out")]
        return CliRunner().invoke(app, [*command, *more])

    wrong = run("--kind", "room")
    assert wrong.exit_code == 2 and "kind must be one of table, street" in wrong.output
    monkeypatch.setitem(sys.modules, "trimesh", None)
    missing = run()
    assert missing.exit_code == 2 and "trimesh is not installed: pip install av" in missing.output
