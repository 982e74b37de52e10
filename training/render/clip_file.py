"""Write clips in the layout of FISHBOWL: NAME.mp4 and NAME.json.gz."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from savos_model.files import atomic, write_file
from training.data.rle import run_lengths
from training.render.scene import SceneFrame, SceneObject

MIN_VISIBLE = 100  # px over the clip; objects with fewer get no label
QUALITY = {"crf": "18", "preset": "veryfast", "bf": "0"}  # B frames made x264 differ between runs


class ClipWriter:
    """Collects the frames of a clip; the mask file appears last, so that a clip with one is whole.

    Use it as a context: after an error no file is left.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], fps: int, objects: Sequence[SceneObject]
    ) -> None:
        """Open the temporary video of a clip, `path` without ending; `size` must be even."""
        self.path, self.size, self.fps, self.frames = path, size, fps, 0
        self.categories = sorted({item.model.category for item in objects})
        self._seen = [0] * len(objects)
        self._records = [self._record(i, item) for i, item in enumerate(objects)]
        self._opened = ExitStack()
        part = self._opened.enter_context(atomic(path.with_name(f"{path.name}.mp4")))
        self._video = self._opened.enter_context(av.open(str(part), "w", format="mp4"))
        self._stream = self._video.add_stream("libx264", rate=Fraction(fps), options=QUALITY)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1

    def _record(self, number: int, item: SceneObject) -> dict[str, Any]:
        category = item.model.category
        lists = {name: [] for name in ("visible", "full", "depth", "depth_order")}
        return {
            "id": number,
            "category": category,
            "category_id": self.categories.index(category),
            "speed": round(item.speed, 3),
            "scale": 1.0,
            **lists,
        }

    def __enter__(self) -> ClipWriter:
        return self

    def add(self, frame: SceneFrame) -> None:
        """Add a frame."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="rgb24")
        self._video.mux(self._stream.encode(picture))
        visible, full = frame.masks
        order = sorted(full, key=lambda number: frame.depths[number])
        for number, record in enumerate(self._records):
            for name, masks in (("visible", visible), ("full", full)):
                record[name].append(run_lengths(masks[number]) if number in masks else None)
            depth = frame.depths.get(number)
            record["depth"].append(None if depth is None else round(depth, 3))
            record["depth_order"].append(order.index(number) if number in full else None)
            self._seen[number] += int(visible[number].sum()) if number in visible else 0
        self.frames += 1

    def finish(self, generator: dict[str, Any], models: Sequence[str]) -> int:
        """Write both files; return the number of labelled objects.

        `generator` describes the scene for a reader, `models` names the model of each object.
        """
        self._video.mux(self._stream.encode())
        self._opened.close()
        kept = [record for record in self._records if self._seen[record["id"]] >= MIN_VISIBLE]
        number_orders(kept, self.frames)
        names = {str(record["id"]): models[record["id"]] for record in kept}
        width, height = self.size
        head = {
            "video": self.path.name,
            "width": width,
            "height": height,
            "num_frames": self.frames,
            "fps": self.fps,
            "categories": self.categories,
            "generator": {**generator, "models": names},
            "objects": kept,
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        masks = self.path.with_name(f"{self.path.name}.json.gz")
        write_file(masks, gzip.compress(text, mtime=0))
        return len(kept)

    def __exit__(self, *details: Any) -> None:
        self._opened.__exit__(*details)


def number_orders(records: list[dict[str, Any]], frames: int) -> None:
    """Renumber depth_order over the labelled objects alone, in place."""
    for frame in range(frames):
        here = [record for record in records if record["depth_order"][frame] is not None]
        for order, record in enumerate(sorted(here, key=lambda r: r["depth_order"][frame])):
            record["depth_order"][frame] = order
