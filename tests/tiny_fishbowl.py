"""A FISHBOWL clip of a few small frames, written by the tests."""

import gzip
import json

import cv2
import numpy as np
from tiny_clip import runs

WIDTH, HEIGHT, FRAMES = 64, 48, 6


def square(x, y, size=12):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + size, x : x + size] = 1
    return mask


def scene(frame):
    """Two squares; number 7 passes behind number 0."""
    front, back = square(20, 10), square(8 + 4 * frame, 12)
    return front, back, back & ~front


def record():
    masks = [scene(frame) for frame in range(FRAMES)]
    near = {"id": 0, "category": "BigFishA", "category_id": 3, "speed": 1.5, "scale": 2.0}
    near |= {"visible": [runs(m[0]) for m in masks], "full": [runs(m[0]) for m in masks]}
    near |= {"depth": [1.0] * FRAMES, "depth_order": [0] * FRAMES}
    far = {"id": 7, "category": "SmallFishA", "category_id": 0, "speed": 1.0, "scale": 1.0}
    far |= {"visible": [runs(m[2]) for m in masks], "full": [runs(m[1]) for m in masks]}
    far |= {"depth": [4.5] * FRAMES, "depth_order": [1] * FRAMES}
    base = {"video": "tiny", "width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "fps": 30}
    return base | {"categories": ["SmallFishA"], "objects": [near, far]}


def write_video(path, frames=FRAMES, size=(WIDTH, HEIGHT)):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, size)
    for frame in range(frames):
        video.write(np.full((size[1], size[0], 3), 30 * frame, np.uint8))
    video.release()


def write_masks(folder, data, name="tiny"):
    with gzip.open(folder / f"{name}.json.gz", "wt") as file:
        json.dump(data, file)


def write_clip(folder, name="tiny"):
    write_masks(folder, record(), name)
    write_video(folder / f"{name}.mp4")
    return folder / name
