"""A scene of drifting ellipses, written to disk the way each of two training designs reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from savos_model.geometry import mask_box
from savos_model.types import Instance
from training.data.flow_files import MAGIC
from training.data.rle import run_lengths
from training.data.store import ClipFrame

MIN_VISIBLE_PX = 200
DRAWS = 200


class Scene(NamedTuple):
    """T frames of K objects; a later object hides the earlier ones.

    images: uint8 [T, H, W, 3], BGR; labels: uint8 [T, H, W], number of the visible object from 1,
    0 where there is none; velocity: float32 [K + 1, 2] (x, y) [px per frame] by label.
    """

    images: np.ndarray
    labels: np.ndarray
    velocity: np.ndarray

    def flow(self, frame: int, sign: int) -> np.ndarray:
        """Motion to the next (sign 1) or the previous (-1) frame, float32 [H, W, 2] [px]."""
        return sign * self.velocity[self.labels[frame]]


def make_scene(size: tuple[int, int], tracks: int, frames: int, seed: int) -> Scene:
    """Draw objects until each shows at least MIN_VISIBLE_PX in every frame.

    Args:
        size: rows and columns of the image [px].
        tracks: objects K, at most 255.
        frames: T.
        seed: of everything random.

    Raises:
        ValueError: so many objects do not fit.
    """
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        labels, velocity = draw_labels(size, tracks, frames, rng)
        areas = [np.bincount(frame.ravel(), minlength=tracks + 1)[1:] for frame in labels]
        if np.min(areas) >= MIN_VISIBLE_PX:
            colours = rng.integers(0, 256, (tracks + 1, 3))
            noise = rng.integers(-20, 21, (*size, 3))
            images = np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)
            return Scene(images, labels, velocity)
    raise ValueError(f"tracks must fit an image of {size[1]}x{size[0]}, got {tracks}: take fewer")


def draw_labels(
    size: tuple[int, int], tracks: int, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Labels [T, H, W] and velocities [K + 1, 2] of ellipses at random places."""
    rows, cols = size
    labels = np.zeros((frames, rows, cols), np.uint8)
    velocity = np.zeros((tracks + 1, 2), np.float32)
    for track in range(1, tracks + 1):
        axes = rng.uniform(0.5, 1.0, 2) * 0.4 * np.sqrt(rows * cols / (np.pi * tracks))
        centre = rng.uniform(axes, (cols, rows) - axes)
        velocity[track] = rng.uniform(-2, 2, 2)
        for frame in range(frames):
            at = centre + velocity[track] * (frame - frames / 2)
            place = [int(round(v)) for v in (*at, *axes)]
            cv2.ellipse(labels[frame], place[:2], place[2:], 0, 0, 360, track, -1)
    return labels, velocity


def clip_frames(scene: Scene) -> Iterator[ClipFrame]:
    """Yield the frames of the scene that this package's clips are built from."""
    for frame, (image, labels) in enumerate(zip(scene.images, scene.labels, strict=True)):
        instances = []
        for track in range(1, len(scene.velocity)):
            box = mask_box(labels == track)
            x0, y0, x1, y1 = (int(v) for v in box)
            mask = (labels[y0:y1, x0:x1] == track).astype(np.uint8)
            instances.append(Instance(str(track), box, mask))
        flows = scene.flow(frame, 1), scene.flow(frame, -1)
        yield ClipFrame(image, instances, flow=flows[0], flow_back=flows[1])


def write_raw(scene: Scene, folder: Path) -> None:
    """Write the scene as the released data sets are laid out.

    A PNG for each frame, a .flo file for each pair of frames and direction, and in masks.json by
    track and frame the visible mask ("visible") and that of all other objects ("others") as run
    lengths of the whole image, with the visible box ("box": x0, y0, x1, y1, half-open).
    """
    for name in ("frames", "flow", "flow_back"):
        (folder / name).mkdir(parents=True)
    last = len(scene.images) - 1
    for frame, image in enumerate(scene.images):
        cv2.imwrite(str(folder / "frames" / f"{frame:04}.png"), image)
        if frame < last:
            write_flo(folder / "flow" / f"{frame:04}.flo", scene.flow(frame, 1))
        if frame > 0:
            write_flo(folder / "flow_back" / f"{frame - 1:04}.flo", scene.flow(frame, -1))
    tracks = [
        [describe(labels, track) for labels in scene.labels]
        for track in range(1, len(scene.velocity))
    ]
    (folder / "masks.json").write_text(json.dumps(tracks), encoding="ascii")


def describe(labels: np.ndarray, track: int) -> dict:
    """One object in one frame, as masks.json has it."""
    own = labels == track
    box = [int(v) for v in mask_box(own)]
    others = (labels != track) & (labels != 0)
    return {"visible": run_lengths(own), "others": run_lengths(others), "box": box}


def write_flo(path: Path, flow: np.ndarray) -> None:
    """Write flow [H, W, 2] as a Middlebury file."""
    with path.open("wb") as file:
        np.float32(MAGIC).tofile(file)
        np.array(flow.shape[1::-1], np.int32).tofile(file)
        flow.astype("<f4").tofile(file)
