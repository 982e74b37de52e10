"""Reads a user's 3D models (glTF, OBJ, PLY, STL) in metres, upright, and of bounded size."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from savos_model.files import FileError
from training.render.meshes import Model, Part, bounds, make_part
from training.render.settings import AssetOptions

if TYPE_CHECKING:
    import trimesh

GLTF = (".glb", ".gltf")
SUFFIXES = (*GLTF, ".obj", ".ply", ".stl")
COLLISION = "_collision"  # suffix of the file with the convex pieces of a model
MAX_FILES = 2000
MAX_BYTES = 256 << 20  # of one file
MAX_FACES = 4_000_000  # of one file; more are not even simplified: they take about 1 kB each
KEPT_FACES = 150_000  # of one model; finer ones are simplified
MAX_TEXTURE = 1024  # sides of a texture [px]; larger ones are reduced
MAX_PIECES = 64
Y_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)


class AssetError(FileError):
    """A model cannot be used; the text names the file, the rule and the value found."""


class Survey(NamedTuple):
    """Models of a folder: usable files, and the others with the reason."""

    usable: list[Path]
    skipped: list[str]


def model_files(folder: Path) -> list[Path]:
    """Return all files of models below a folder, sorted; collision shapes are no models.

    Raises AssetError: the folder is missing, holds no model or more than MAX_FILES.
    """
    if not folder.is_dir():
        raise AssetError(f"--assets must be a folder of 3D models, {folder} is none", "missing")
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.stem.endswith(COLLISION)
    ]
    if not 0 < len(files) <= MAX_FILES:
        raise AssetError(
            f"{folder} must hold 1 to {MAX_FILES} 3D models ({', '.join(SUFFIXES)}), got "
            f"{len(files)}: give the folder of your models",
            "count",
        )
    return files


def survey(folder: Path, options: AssetOptions) -> Survey:
    """Read every model below a folder once and return which ones can be used.

    Raises AssetError: as model_files, or no model can be used.
    """
    usable, skipped = [], []
    for path in model_files(folder):
        try:
            read_model(path, folder, options)
        except AssetError as error:
            skipped.append(str(error))
        else:
            usable.append(path)
    if not usable:
        reasons = "; ".join(skipped[:3])
        text = f"none of {len(skipped)} models in {folder} can be used: {reasons}"
        raise AssetError(text, "none_usable")
    return Survey(usable, skipped)


def read_model(path: Path, folder: Path, options: AssetOptions) -> Model:
    """Read a model and bring it to metres, upright on z = 0, its box centred on the z axis.

    The first folder below `folder`, the assets' one, is its category.

    Raises AssetError: the file is broken, too large, without faces, or of an incredible size.
    """
    scene = _load(path)
    upright = options.up == "z" or (options.up == "auto" and path.suffix.lower() not in GLTF)
    turn = np.eye(3) if upright else Y_UP
    parts, painted = _parts(scene, path)
    low, high = bounds(parts)
    longest = float((high - low).max())
    if not 0 < longest < np.inf:
        raise AssetError(f"{path} must have a positive finite size, got {longest}", "length")
    scale = options.scale if options.size is None else options.size / longest
    least, most = options.allowed
    if not least <= longest * scale <= most:
        raise AssetError(
            f"{path} must be {least:g} to {most:g} m long, got {longest * scale:.4g} m: give "
            "--scale (0.001 for millimetres), or --size to bring all models to one length",
            "length",
        )
    low, high = bounds([part.moved(turn, np.zeros(3), scale) for part in parts])
    shift = -np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    category = path.relative_to(folder).parts[0] if path.parent != folder else "object"
    pieces = [(piece @ turn.T * scale + shift).astype(np.float32) for piece in _collision(path)]
    moved = tuple(part.moved(turn, shift, scale) for part in parts)
    return Model(path.stem, category, moved, painted, tuple(pieces))


def _load(path: Path) -> trimesh.Scene:
    """Parse a file whose size is checked first; whatever the parsers raise is an AssetError."""
    import trimesh

    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # the error below says it
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            text = f"{path} must be at most {MAX_BYTES >> 20} MiB, got {size >> 20} MiB"
            raise AssetError(text, "size")
        return trimesh.load_scene(path, process=False)
    except AssetError:
        raise
    except ModuleNotFoundError:
        raise
    except Exception as error:  # parsers of four formats raise anything on a broken file
        text = f"{path} cannot be read as a 3D model: {error!r}"
        raise AssetError(text, "unreadable") from None


def _parts(scene: trimesh.Scene, path: Path) -> tuple[list[Part], bool]:
    """Return the triangles of a scene, simplified to KEPT_FACES, and whether they have colours."""
    placed = []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh = scene.geometry[name]
        if getattr(mesh, "faces", None) is not None and len(mesh.faces):
            placed.append((mesh, np.asarray(matrix, float)))
    count = sum(len(mesh.faces) for mesh, _ in placed)
    if not 0 < count <= MAX_FACES:
        raise AssetError(f"{path} must have 1 to {MAX_FACES} triangles, got {count}", "triangles")
    share = min(1.0, KEPT_FACES / count)
    try:
        parts = [_part(mesh, matrix, share) for mesh, matrix in placed]
    except ModuleNotFoundError:
        raise
    except Exception as error:  # indices and materials of a broken file fail anywhere
        raise AssetError(f"{path} has a broken mesh: {error!r}", "mesh") from None
    return parts, any(_is_painted(mesh) for mesh, _ in placed)


def _is_painted(mesh: trimesh.Trimesh) -> bool:
    visual = mesh.visual
    return bool(visual.defined) and (
        visual.kind in ("vertex", "face") or _image(mesh) is not None or _factor(mesh) is not None
    )


def _part(mesh: trimesh.Trimesh, matrix: np.ndarray, share: float) -> Part:
    """Return one mesh of a file in the file's axes, with about `share` of its faces."""
    if not np.isfinite(mesh.vertices).all() or not np.isfinite(matrix).all():
        raise ValueError("coordinates must be finite")
    vertices = np.asarray(mesh.vertices, float) @ matrix[:3, :3].T + matrix[:3, 3]
    faces, image = np.asarray(mesh.faces), _image(mesh)
    uv = getattr(mesh.visual, "uv", None)
    if uv is None or len(uv) != len(vertices):
        uv, image = np.zeros((len(vertices), 2)), None
    colours = np.asarray(_colours(mesh, len(vertices)))
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"faces name vertex {faces.max()} of {len(vertices)}")
    if share < 1:
        vertices, faces, kept = simplify(vertices, faces, share)
        uv, colours = np.asarray(uv)[kept], colours[kept]
    normals = vertex_normals(vertices, faces)
    cut = getattr(getattr(mesh.visual, "material", None), "alphaMode", None) == "MASK"
    return make_part(
        vertices, normals, uv, faces, colour=colours, texture=image, cut=cut, gloss=0.15
    )


def simplify(
    vertices: np.ndarray, faces: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simplify a mesh to about `share` of its faces; vertices at one place become one.

    Returns vertices [V', 3], faces [F', 3], and for each vertex the index of the nearest old one,
    whose colour and place in the texture it takes.
    """
    import fast_simplification
    import trimesh
    from scipy.spatial import cKDTree

    # Files such as STL repeat the corners of every face: its edges would count as borders.
    first, joined = trimesh.grouping.unique_rows(vertices)
    points, left = fast_simplification.simplify(
        np.asarray(vertices[first], np.float32),
        joined[faces].astype(np.int32),
        target_reduction=1 - share,
    )
    return points.astype(float), left, cKDTree(vertices).query(points)[1]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return unit normals [V, 3], the mean of the faces around each vertex weighted by area."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, faces[:, corner], normal)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _image(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """Return the texture of a mesh, uint8 RGBA; None where it is missing or cannot be decoded."""
    material = getattr(mesh.visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if image is None:
        return None
    try:
        if max(image.size) > MAX_TEXTURE:
            image.thumbnail((MAX_TEXTURE, MAX_TEXTURE))
        pixels = np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError):  # Pillow on broken pictures
        return None
    return np.ascontiguousarray(cv2.flip(pixels, 0))  # uv count from the lower left corner


def _factor(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """Return the plain colour [3] in 0..1 of a material, None where it has none."""
    material = getattr(mesh.visual, "material", None)
    colour: Any = getattr(material, "baseColorFactor", None)
    if colour is None and material is not None and hasattr(material, "diffuse"):
        colour = material.diffuse
    if colour is None:
        return None
    colour = np.asarray(colour, float)[:3]
    return colour / 255 if colour.max() > 1 else colour


def _colours(mesh: trimesh.Trimesh, count: int) -> np.ndarray:
    if mesh.visual.kind in ("vertex", "face"):
        return np.asarray(mesh.visual.vertex_colors, float)[:, :3] / 255
    factor = _factor(mesh)
    return np.broadcast_to(np.ones(3) if factor is None else factor, (count, 3))


def _collision(path: Path) -> list[np.ndarray]:
    """Return the vertices of a model's convex pieces from their file, if it exists."""
    for suffix in SUFFIXES:
        parts = path.with_name(f"{path.stem}{COLLISION}{suffix}")
        if parts.is_file():
            whole = _load(parts).to_mesh()
            pieces = whole.split(only_watertight=False)
            if 0 < len(pieces) <= MAX_PIECES:
                return [np.asarray(piece.vertices, float) for piece in pieces]
            return [np.asarray(whole.vertices, float)]
    return []
