"""Pictures of completed objects: rows are frames, columns are methods (figures 3 and 4)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes

from savos_model.masks import BoxedMask, box_around, by_id, convex_hull, look_at, slices, tighten
from savos_model.results import write_results
from savos_model.settings import SettingError
from savos_model.stream.video import Online, Setup
from savos_model.types import Box, Frame
from training.data.prepare import chewing_gum_frames, fishbowl_frames, street_frames
from training.data.store import ClipFrame
from training.evaluate.metrics import Masks, ObjectScore, published_masks, score_frame
from training.report.figures import BLUE, GREEN, GREY, ORANGE, RED, panels

PERIOD_NS = 33_333_333
ROWS = 4
RATES = (0.1, 0.7)  # occlusion rates that the paper scores
COLOURS = {
    "visible": GREY, "ours, forward": BLUE, "ours, both directions": GREEN, "convex": ORANGE,
    "truth": RED,
}  # fmt: skip
MODES = {"ours, forward": "forward", "ours, both directions": "bidirectional"}
MARGIN = 1.15  # shown window over the largest box of the object
STREET_FRAMES = 60
GUM_SEED = 1  # that of savos evaluate chewing-gum


@dataclass(frozen=True)
class Scene:
    """One video with truth: its set and name, and a call that yields its frames."""

    set: str
    name: str
    frames: Callable[[], Iterable[ClipFrame]]


def scenes(
    data: Path | None, clips: Sequence[str], gum: Sequence[str], street: Sequence[str]
) -> list[Scene]:
    """Return FISHBOWL clips of a folder by name, Chewing Gum videos by number, streets by seed.

    Raises ValueError: clips without a folder, or anything but numbers.
    """
    if clips and data is None:
        raise SettingError("--data must be the folder of the --clips, got none: give it too")
    for text in (*gum, *street):
        if not text.isdecimal():
            raise SettingError(f"--gum and --street must be numbers with commas, got {text!r}")
    found = []
    for name in clips:
        frames = partial(fishbowl_frames, (data or Path()) / name)
        found.append(Scene("fishbowl", name.removeprefix("fishbowl_"), frames))
    for number in gum:
        frames = partial(chewing_gum_frames, GUM_SEED, int(number), 1)
        found.append(Scene("gum", number, frames))
    for seed in street:
        found.append(Scene("street", seed, partial(street_frames, int(seed), STREET_FRAMES)))
    return found


@dataclass(frozen=True)
class Picture:
    """Content of a strip: `masks` by column and frame number, and scores by column."""

    scene: Scene
    object: str
    frames: list[int]
    images: list[np.ndarray]
    masks: dict[str, list[BoxedMask]]
    scores: dict[str, list[ObjectScore]]


def choose(frames: Sequence[ClipFrame]) -> tuple[str, list[int]]:
    """Return the object that is partly hidden for longest, and ROWS frames spread over that time.

    Raises ValueError: no object is partly hidden in ROWS frames.
    """
    hidden: dict[str, list[int]] = {}
    for index, frame in enumerate(frames[1:-1], 1):
        shape, seen = frame.image.shape[:2], by_id(frame.instances)
        for score in score_frame(seen, frame.full or {}, seen, shape, frame=index):
            inside = RATES[0] < score.occlusion < RATES[1] and score.hidden_px > 0
            if inside and score.border_px > 0:
                hidden.setdefault(score.id, []).append(index)
    name = max(hidden, key=lambda key: len(hidden[key]), default=None)
    if name is None or len(hidden[name]) < ROWS:
        raise SettingError(f"clips must have an object partly hidden in {ROWS} frames: take others")
    places = np.linspace(0, len(hidden[name]) - 1, ROWS).round().astype(int)
    return name, [hidden[name][place] for place in places]


def complete(scene: Scene, ours: Setup) -> Picture:
    """Run every method over a scene and keep what the strip shows."""
    frames = list(scene.frames())
    name, rows = choose(frames)
    visible = [by_id(frame.instances) for frame in frames]
    hulls = [{name: convex_hull(mask) for name, mask in masks.items()} for masks in visible]
    found: dict[str, list[Masks]] = {"visible": visible, "convex": hulls}
    for column, mode in MODES.items():
        online = Online(Setup(ours.backend, ours.stream, mode))
        steps = (Frame(i * PERIOD_NS, f.image, f.instances) for i, f in enumerate(frames))
        found[column] = [published_masks(objects) for objects in online.run(steps)]
        print(f"{scene.set} {scene.name}: {column}")
    masks = {
        column: [BoxedMask(*found[column][row][name]) for row in rows]
        for column in COLOURS
        if column != "truth"
    }
    masks["truth"] = [BoxedMask(*(frames[row].full or {})[name]) for row in rows]
    scores = {
        column: [score(frames, row, name, found[column][row]) for row in rows] for column in found
    }
    return Picture(scene, name, rows, [frames[row].image for row in rows], masks, scores)


def score(frames: Sequence[ClipFrame], row: int, name: str, masks: Masks) -> ObjectScore:
    """Score of one object in one frame."""
    frame = frames[row]
    seen, shape = by_id(frame.instances), frame.image.shape[:2]
    return score_frame(masks, frame.full or {}, seen, shape, ids=[name], frame=row)[0]


def views(picture: Picture) -> list[Box]:
    """Windows of one size around the object in each frame, inside the image where it fits."""
    around = [
        box_around([tighten(masks[k]).box for masks in picture.masks.values()])
        for k in range(len(picture.frames))
    ]
    rows, columns = picture.images[0].shape[:2]
    width = round(MARGIN * max(max(box.width, 1.5 * box.height) for box in around))
    height = round(MARGIN * max(max(box.height, 0.6 * box.width) for box in around))

    def first(low: float, high: float, size: int, limit: int) -> int:
        return min(max(round((low + high - size) / 2), 0), max(limit - size, 0))

    corners = [(first(b.x0, b.x1, width, columns), first(b.y0, b.y1, height, rows)) for b in around]
    return [Box(x, y, x + width, y + height) for x, y in corners]


def cut(image: np.ndarray, view: Box) -> np.ndarray:
    """Return a window of a BGR image as RGB, black behind the image's end."""
    part = image[slices(view)]
    right, bottom = int(view.width) - part.shape[1], int(view.height) - part.shape[0]
    return cv2.copyMakeBorder(part, 0, bottom, 0, right, cv2.BORDER_CONSTANT)[..., ::-1]


def tinted(image: np.ndarray, mask: np.ndarray, colour: str) -> np.ndarray:
    """Return a darkened grey image with the mask in colour."""
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1) * 0.45
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)
    return np.where(mask[..., None], 0.35 * grey + 0.8 * rgb, grey).clip(0, 255).astype(np.uint8)


def draw(picture: Picture, path: Path) -> None:
    """Write a strip with the occluded IoU in each panel."""
    boxes = views(picture)
    columns = ["image", *COLOURS]
    width = 1.5
    height = width * boxes[0].height / boxes[0].width
    size = (width * len(columns) + 0.6, height * len(boxes) + 0.35)
    with panels(path, len(boxes), len(columns), *size) as axes:
        for row, (image, view) in enumerate(zip(picture.images, boxes, strict=True)):
            shown = cut(image, view)
            for panel, column in zip(axes[row], columns, strict=True):
                draw_panel(panel, picture, shown, view, row, column)
                if row == 0:
                    panel.set_title(column, loc="center", pad=3)
            rate = picture.scores["visible"][row].occlusion
            axes[row][0].set_ylabel(f"frame {picture.frames[row]}\n{rate:.0%} hidden")


def draw_panel(
    panel: Axes, picture: Picture, shown: np.ndarray, view: Box, row: int, column: str
) -> None:
    """Draw one frame by one method."""
    if column != "image":
        shown = tinted(shown, look_at(picture.masks[column][row], view), COLOURS[column])
    panel.imshow(shown, interpolation="nearest" if min(shown.shape[:2]) < 60 else "antialiased")
    if column in picture.scores:
        value = picture.scores[column][row].occluded
        panel.text(
            0.97, 0.04, f"{value:.2f}", transform=panel.transAxes, ha="right", color="white"
        )  # fmt: skip


def write_strips(scenes: Sequence[Scene], ours: Setup, out: Path, results: Path) -> list[Path]:
    """Draw a strip of each scene in every one of MODES to `out`, and describe them in strips.json.

    Raises ValueError: a scene without an object that is partly hidden.
    """
    if not scenes:
        raise ValueError("nothing to draw: give --data with --clips, --gum or --street")
    entries, paths = [], []
    for scene in scenes:
        picture = complete(scene, ours)
        path = out / f"strip_{scene.set}_{scene.name}.png"
        draw(picture, path)
        paths.append(path)
        entries.append(
            {
                "file": path.name, "set": scene.set, "name": scene.name, "object": picture.object,
                "frames": picture.frames,
                "occlusion": [score.occlusion for score in picture.scores["visible"]],
                "occluded": {
                    column: [score.occluded for score in scores]
                    for column, scores in picture.scores.items()
                },
            }
        )  # fmt: skip
    metrics = {"model": Online(ours).model, "pictures": entries}
    write_results(results / "strips.json", metrics, seed=0)
    return paths
