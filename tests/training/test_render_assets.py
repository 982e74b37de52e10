"""Reading of 3D models by trimesh."""

import numpy as np
import pytest
from failing import fails
from PIL import Image

from tests.tiny_models import CUBE_OBJ
from training.render import assets
from training.render.assets import AssetError, AssetOptions, read_model, survey

trimesh = pytest.importorskip("trimesh", reason="trimesh (extra render) is not installed")


def cube(folder, name="cube.obj", scale=1.0, text=CUBE_OBJ):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (line.split() for line in text.splitlines())
    path.write_text(
        "\n".join(
            " ".join([kind, *(f"{float(v) * scale:g}" if kind == "v" else v for v in rest)])
            for kind, *rest in lines
        )
    )
    return path


def test_a_model_stands_centred_on_the_ground(tmp_path):
    model = read_model(cube(tmp_path, "part/cube.obj", 20), tmp_path, AssetOptions(scale=0.01))
    (part,) = model.parts
    np.testing.assert_allclose(part.vertices.min(0), [-0.1, -0.1, 0], atol=1e-6)
    np.testing.assert_allclose(model.size, [0.2, 0.2, 0.2], atol=1e-6)
    assert (model.name, model.category, model.painted) == ("cube", "part", False)
    np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-5)


def test_sizes_are_converted_or_brought_to_one_length(tmp_path):
    path = cube(tmp_path, scale=200)  # in millimetres
    with fails(AssetError, "length", str(path), "0.01 to 30 m", "200 m", "--scale"):
        read_model(path, tmp_path, AssetOptions())
    assert read_model(path, tmp_path, AssetOptions(scale=0.001)).size[0] == pytest.approx(0.2)
    assert read_model(path, tmp_path, AssetOptions(size=0.5)).size[0] == pytest.approx(0.5)


def test_the_axis_that_points_up_is_turned(tmp_path):
    mesh = trimesh.creation.box((1, 2, 3))
    for name, up, height in (
        ("a.glb", "auto", 2),
        ("a.glb", "z", 3),
        ("a.stl", "auto", 3),
        ("a.stl", "y", 2),
    ):
        mesh.export(tmp_path / name)
        size = read_model(tmp_path / name, tmp_path, AssetOptions(up=up)).size
        assert size[2] == pytest.approx(height), (name, up)


def test_textures_and_plain_colours_are_kept(tmp_path):
    image = Image.new("RGB", (2048, 8), (10, 200, 30))
    mesh = trimesh.creation.box((1, 1, 1))
    uv = np.zeros((len(mesh.vertices), 2))
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, image=image)
    mesh.export(tmp_path / "textured.glb")
    model = read_model(tmp_path / "textured.glb", tmp_path, AssetOptions())
    texture = model.parts[0].texture
    assert model.painted and max(texture.shape) == assets.MAX_TEXTURE
    assert texture[0, 0].tolist() == [10, 200, 30, 255]
    coloured = trimesh.creation.box((1, 1, 1))
    coloured.visual.vertex_colors = [255, 0, 51, 255]
    coloured.export(tmp_path / "coloured.ply")
    model = read_model(tmp_path / "coloured.ply", tmp_path, AssetOptions())
    assert model.painted and model.parts[0].texture is None
    np.testing.assert_allclose(model.parts[0].colours[0], [1, 0, 0.2], atol=1e-6)


def test_a_missing_texture_or_material_leaves_the_shape(tmp_path):
    text = "mtllib gone.mtl\nusemtl paint\n"
    (tmp_path / "cube.obj").write_text(text + CUBE_OBJ)
    (tmp_path / "lost.mtl").write_text("newmtl paint\nKd 1 0 0\nmap_Kd gone.png\n")
    (tmp_path / "lost.obj").write_text(text.replace("gone", "lost") + CUBE_OBJ)
    found = survey(tmp_path, AssetOptions())
    assert [path.name for path in found.usable] == ["cube.obj", "lost.obj"] and not found.skipped
    model = read_model(tmp_path / "lost.obj", tmp_path, AssetOptions())
    assert model.parts[0].texture is None


BROKEN = {
    "empty.obj": "",
    "points.obj": "v 0 0 0\nv 1 1 1\n",
    "infinite.obj": "v 0 0 0\nv inf 0 0\nv 0 1 0\nf 1 2 3\n",
    "outside.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
    "dot.obj": "v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n",
    "cut.glb": "glTF\x02\0\0\0",
    "text.stl": "solid nothing",
    "half.gltf": '{"asset": {"version": "2.0"}, "meshes": [{}]}',
}


def test_broken_files_are_skipped_with_their_reason(tmp_path):
    cube(tmp_path)
    for name, text in BROKEN.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    found = survey(tmp_path, AssetOptions())
    assert [path.name for path in found.usable] == ["cube.obj"]
    assert len(found.skipped) == len(BROKEN)
    for name in BROKEN:
        assert any(str(tmp_path / name) in reason for reason in found.skipped), name
    (tmp_path / "cube.obj").unlink()
    with fails(AssetError, "none_usable", str(tmp_path), str(len(BROKEN))):
        survey(tmp_path, AssetOptions())


def test_fine_meshes_are_simplified_and_keep_their_size(tmp_path, monkeypatch):
    pytest.importorskip("fast_simplification", reason="fast-simplification is not installed")
    ball = trimesh.creation.icosphere(5)  # 20,480 faces
    ball.visual.vertex_colors = [0, 255, 0, 255]
    ball.export(tmp_path / "ball.ply")
    monkeypatch.setattr(assets, "KEPT_FACES", 2000)
    model = read_model(tmp_path / "ball.ply", tmp_path, AssetOptions())
    assert len(model.parts[0].faces) <= 2000
    np.testing.assert_allclose(model.size, 2, atol=0.05)
    np.testing.assert_allclose(model.parts[0].colours, [[0, 1, 0]] * len(model.parts[0].vertices))
    np.testing.assert_allclose(
        np.linalg.norm(model.parts[0].vertices - [0, 0, 1], axis=1), 1, atol=0.05
    )
    ball.export(tmp_path / "ball.stl")  # repeats every corner
    (part,) = read_model(tmp_path / "ball.stl", tmp_path, AssetOptions()).parts
    assert len(part.faces) <= 2000 and trimesh.Trimesh(part.vertices, part.faces).is_watertight
    monkeypatch.setattr(assets, "MAX_FACES", 1000)
    with fails(AssetError, "triangles", "ball.ply", "1000", "20480"):
        read_model(tmp_path / "ball.ply", tmp_path, AssetOptions())


def test_files_over_the_limit_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "MAX_BYTES", 10)
    with fails(AssetError, "size"):
        read_model(cube(tmp_path), tmp_path, AssetOptions())


def test_a_collision_shape_next_to_a_model_is_taken_in_pieces(tmp_path):
    path = cube(tmp_path)
    parts = [trimesh.creation.box((0.2, 0.2, 1)).apply_translation([x, 0, 0.5]) for x in (0, 1)]
    trimesh.util.concatenate(parts).export(tmp_path / "cube_collision.obj")
    model = read_model(path, tmp_path, AssetOptions(scale=0.5))
    assert len(model.collision) == 2
    np.testing.assert_allclose(
        [np.ptp(piece, axis=0) for piece in model.collision], [[0.1, 0.1, 0.5]] * 2, atol=1e-6
    )
