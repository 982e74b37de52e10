"""A FISHBOWL clip of two rectangles, and streams of known answers, for the tests of evaluations."""

import gzip
import json

import cv2
import numpy as np
from pycocotools import mask as coco

from savos_model.types import AmodalObject, Box, Source

WIDTH, HEIGHT, FRAMES = 96, 64, 10


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y0:y1, max(x0, 0) : x1] = 1
    return mask


def scene(frame):
    """Whole masks: a standing square in front, a rectangle that passes 4 px a frame behind it."""
    return rectangle(50, 20, 70, 50), rectangle(4 * frame, 24, 4 * frame + 36, 48)


def runs(mask):
    if not mask.any():
        return None
    encoded = coco.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def write_clip(folder, name):
    front, back = zip(*(scene(frame) for frame in range(FRAMES)), strict=True)
    seen = [b & ~f for f, b in zip(front, back, strict=True)]
    objects = [
        {
            "id": number, "category": "BigFishA", "category_id": 3, "speed": 1.0, "scale": 1.0,
            "full": [runs(m) for m in full], "visible": [runs(m) for m in visible],
            "depth": [1.0 + number] * FRAMES, "depth_order": [number] * FRAMES,
        }
        for number, (full, visible) in enumerate([(front, front), (back, seen)])
    ]  # fmt: skip
    record = {
        "video": name, "width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "fps": 30,
        "categories": ["BigFishA"], "objects": objects,
    }  # fmt: skip
    with gzip.open(folder / f"{name}.json.gz", "wt") as file:
        json.dump(record, file)
    texture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    path = str(folder / f"{name}.mp4")
    video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 30, (WIDTH, HEIGHT))
    for frame in range(FRAMES):
        video.write(np.where(scene(frame)[1][..., None], np.roll(texture, 4 * frame, 1), 90))
    video.release()


class FakeOnline:
    """Replaces our method: a stream of known results for each video."""

    def __init__(self, stream, name):
        self.stream, self.model = stream, {"weights": name}

    def run(self, frames):
        return map(self.stream().step, frames)


class TruthfulStream:
    """Publishes the whole masks of the tiny scenes."""

    def __init__(self):
        self.seen = 0

    def step(self, frame):
        whole = dict(zip(("0", "1"), scene(self.seen), strict=True))
        self.seen += 1
        box = Box(0, 0, WIDTH, HEIGHT)
        return [
            AmodalObject(item.id, "", 1.0, Source.FORWARD, box, whole[item.id] * 255,
                         whole[item.id], 0.0, 1.0, (0.0, 0.0))
            for item in frame.instances
        ]  # fmt: skip
