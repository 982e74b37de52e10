"""Chewing Gum videos, with exact amodal truth: those of the released generator, and our own ones.

Ours: a random polygon circles over another one, after section 4 of the paper and its released
generator: two polygons of 7 to 12 nodes out of the 44 pixels of a circle, one moving around the
other. Departures: the upper one moves, always; no square is glued over the lower one, where it hid
up to a quarter in all frames so that not each part was shown; pairs are drawn again until the lower
one is never fully visible.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from savos_model.files import FileError
from savos_model.masks import from_image
from savos_model.settings import SettingError, Settings, setting
from savos_model.types import Instance
from training.data.outside import read_picture
from training.data.safe_pickle import load
from training.data.store import ClipFrame

WIDTH, HEIGHT = 56, 50
RADIUS = 8
CENTRE = (28, 25)  # (x, y) of the lower polygon
STEP = 2  # motion of the upper one [px a frame]
NODES = (7, 12)
SIDE = 2 * RADIUS + 1
DARK = 128  # the ground is darker than this in every channel
MAX_DRAWS = 1000
BATCH = 64


@dataclass(frozen=True)
class ChewingGumConfig(Settings):
    """Settings of generated videos."""

    seed: int = setting(0, "seed of all videos", minimum=0, maximum=2**31 - 1)
    frames: int = setting(40, "frames of a video", minimum=2, maximum=100_000)
    redraw: bool = setting(
        True, "draw again until each part of the lower polygon is seen, but never all together"
    )


@dataclass(frozen=True)
class Video:
    """One video of T frames with K objects; `name` is that within its set.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB; full, visible: bool [T, K, H, W].
        order: int [K], objects from the bottom one up.
        motion: int [T-1, K, 2], motion (x, y) of each object to the next frame [px], the ground
            rests; None where unknown.
    """

    name: str
    frames: np.ndarray
    full: np.ndarray
    visible: np.ndarray
    order: np.ndarray
    motion: np.ndarray | None = None

    @property
    def occluded(self) -> list[str]:
        """Return the ids of the objects that another one lies on."""
        return [str(k) for k in self.order[:-1]]

    def clip_frames(self) -> Iterator[ClipFrame]:
        """Yield the frames as stored and evaluated; ids are the object numbers as text.

        With known motion they carry exact flow, zero where there is no next or previous frame.
        """
        for t, (image, full, visible) in enumerate(
            zip(self.frames, self.full, self.visible, strict=True)
        ):
            instances = [
                Instance(str(k), *from_image(mask.astype(np.uint8)))
                for k, mask in enumerate(visible)
                if mask.any()
            ]
            whole = {str(k): from_image(mask.astype(np.uint8)) for k, mask in enumerate(full)}
            flows = (self.flow(t, 0), self.flow(t, -1))
            yield ClipFrame(np.ascontiguousarray(image[..., ::-1]), instances, whole, (), *flows)

    def flow(self, t: int, step: int) -> np.ndarray | None:
        """Exact flow of frame t, float32 [H, W, 2]: to the next (0) or the previous frame (-1)."""
        if self.motion is None:
            return None
        flow = np.zeros((*self.frames.shape[1:3], 2), np.float32)
        if 0 <= t + step < len(self.motion):
            sign = 1 if step == 0 else -1
            for mask, motion in zip(self.visible[t], self.motion[t + step], strict=True):
                flow[mask] = sign * motion
        return flow


@dataclass(frozen=True)
class Recipes:
    """Parameters of N videos: a few numbers each, so that any device can render them.

    Attributes:
        stencils: bool [N, 2, SIDE, SIDE], lower and upper polygon.
        offsets: int64 [N, T, 2], place (x, y) of the upper polygon relative to the lower one [px].
        colours: uint8 [N, 3, 3], RGB of ground, lower and upper polygon.
    """

    stencils: np.ndarray
    offsets: np.ndarray
    colours: np.ndarray


def circle_points() -> np.ndarray:
    """Return the pixels of the circle around (0, 0) in the order of their angle, int32 [44, 2]."""
    x, y = np.mgrid[-RADIUS - 1 : RADIUS + 2, -RADIUS - 1 : RADIUS + 2]
    disc = x**2 + y**2 <= RADIUS**2
    inner = np.logical_and.reduce([np.roll(disc, s, axis) for s in (-1, 1) for axis in (0, 1)])
    points = np.argwhere(disc & ~inner) - (RADIUS + 1)
    return points[np.argsort(np.arctan2(points[:, 1], points[:, 0]))].astype(np.int32)


def path(frames: int, corner: int, turn: int) -> np.ndarray:
    """Return places (x, y) on the square of +-RADIUS around the lower polygon, int64 [frames, 2].

    They begin at `corner` 0..3 and lie STEP apart, `turn` +1 or -1 which way round.
    """
    rise = np.arange(-RADIUS, RADIUS, STEP)
    low, high = np.full(len(rise), -RADIUS), np.full(len(rise), RADIUS)
    x, y = np.concatenate((rise, high, -rise, low)), np.concatenate((low, rise, high, -rise))
    steps = (corner * len(rise) + turn * np.arange(frames)) % (4 * len(rise))
    return np.stack((x[steps], y[steps]), 1)


def polygon(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random polygon of NODES nodes out of `points` [P, 2], filled: bool [SIDE, SIDE]."""
    count = rng.integers(NODES[0], NODES[1] + 1)
    nodes = points[np.sort(rng.choice(len(points), count, replace=False))]
    stencil = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(stencil, [nodes + RADIUS], 1)
    return stencil.astype(bool)


def hidden_parts(lower: np.ndarray, upper: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return where upper polygon lies over the lower one in each frame, bool [T, SIDE, SIDE]."""
    wide = np.pad(upper, SIDE - 1)
    rows = SIDE - 1 - offsets[:, 1, None] + np.arange(SIDE)
    columns = SIDE - 1 - offsets[:, 0, None] + np.arange(SIDE)
    return lower & wide[rows[:, :, None], columns[:, None, :]]


def explained(lower: np.ndarray, upper: np.ndarray, offsets: np.ndarray) -> bool:
    """Return whether each part of lower polygon is seen in some frame, but never all together."""
    hidden = hidden_parts(lower, upper, offsets)
    return bool(hidden.any((1, 2)).all() and not (hidden.all(0) & lower).any())


def draw_recipes(config: ChewingGumConfig, start: int, count: int) -> Recipes:
    """Return recipes of videos start .. start + count - 1; video i is the same whatever the range.

    Raises:
        ValueError: no pair of polygons fits the rule (too few frames to show each part).
    """
    points = circle_points()
    drawn = [_draw(config, points, start + i) for i in range(count)]
    return Recipes(*(np.stack(parts) for parts in zip(*drawn, strict=True)))


def _draw(
    config: ChewingGumConfig, points: np.ndarray, index: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng((config.seed, index))
    corner, turn = int(rng.integers(4)), 1 - 2 * int(rng.integers(2))
    offsets = path(config.frames, corner, turn)
    colours = rng.integers(0, 256, (3, 3), np.uint8)
    colours[0] %= DARK
    for _ in range(MAX_DRAWS):
        lower, upper = polygon(points, rng), polygon(points, rng)
        if not config.redraw or explained(lower, upper, offsets):
            return np.stack((lower, upper)), offsets, colours
    raise SettingError(
        f"frames must let each part of the lower polygon be seen, got {config.frames}: give 40, or "
        "set redraw to False"
    )


def render(recipes: Recipes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw videos; object 0 lies below object 1.

    Returns:
        frames uint8 [N, T, HEIGHT, WIDTH, 3] RGB; full and visible bool [N, T, 2, HEIGHT, WIDTH].
    """
    videos, length = recipes.offsets.shape[:2]
    full = np.zeros((videos, length, 2, HEIGHT, WIDTH), bool)
    places = np.stack((np.zeros_like(recipes.offsets), recipes.offsets), 2)  # [N, T, 2 objects, 2]
    pixels = np.arange(SIDE) - RADIUS
    rows = (places[..., 1] + CENTRE[1])[..., None] + pixels
    columns = (places[..., 0] + CENTRE[0])[..., None] + pixels
    at = np.ix_(range(videos), range(length), range(2))
    view = (*(index[..., None, None] for index in at), rows[..., :, None], columns[..., None, :])
    full[view] = recipes.stencils[:, None]
    visible = full.copy()
    visible[:, :, 0] &= ~full[:, :, 1]
    index = visible[:, :, 0] + 2 * full[:, :, 1].astype(np.uint8)
    frames = recipes.colours[np.arange(videos)[:, None, None, None], index]
    return frames, full, visible


def videos(config: ChewingGumConfig, start: int = 0, count: int | None = None) -> Iterator[Video]:
    """Yield the videos from number `start` on: `count` of them, or an endless stream."""
    stop = None if count is None else start + count
    for first in itertools.count(start, BATCH):
        size = BATCH if stop is None else min(BATCH, stop - first)
        if size <= 0:
            return
        recipes = draw_recipes(config, first, size)
        frames, full, visible = render(recipes)
        motion = np.diff(recipes.offsets, axis=1)
        motion = np.stack((np.zeros_like(motion), motion), 2)  # the lower polygon rests
        for i in range(size):
            shown = frames[i], full[i], visible[i]
            yield Video(f"{first + i:06d}", *shown, np.array([0, 1]), motion[i])


MAX_FRAMES = 10_000
MAX_OBJECTS = 64
MAX_PICKLE_BYTES = 64 << 20


class VideoFileError(FileError):
    """Videos that cannot be used; the text names the file, the rule and the value found."""


class ReleasedVideos:
    """A folder of videos: `<video>/<frame>.png` with `<video>/<frame>.pkl`, names being numbers.

    Each pickle holds `full_mask` [K, H, W], `order` [K] from the bottom one up and `color`, one RGB
    value for each object. Visible masks are not written: they are the pixels of the full mask that
    show the object's colour and lie under no object above it. What the generator glues over the
    lower object without being an object is thus hidden too.
    """

    def __init__(self, path: str | Path) -> None:
        """List the videos, `count` of them; raises VideoFileError where there are none."""
        self.path = Path(path)
        folders = self.path.iterdir() if self.path.is_dir() else ()
        self._folders = sorted(p for p in folders if p.name.isdigit() and p.is_dir())
        self.count = len(self._folders)
        if not self.count:
            raise VideoFileError(
                f"{self.path} holds no folders <video> of <frame>.png and .pkl", "missing"
            )

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Video]:
        """Yield videos start .. stop - 1 by name; raises VideoFileError or UnsafePickleError."""
        for folder in self._folders[start:stop]:
            yield _read_video(folder)


def _read_video(folder: Path) -> Video:
    pictures = {int(p.stem): p for p in folder.glob("*.png") if p.stem.isdigit()}
    if not 0 < len(pictures) <= MAX_FRAMES:
        raise VideoFileError(
            f"{folder} has {len(pictures)} frames, 1 to {MAX_FRAMES} are read", "frames"
        )
    parts = [_read_frame(pictures[number]) for number in sorted(pictures)]
    frames, full, visible, orders = zip(*parts, strict=True)
    forms = {(f.shape, m.shape, tuple(o)) for f, m, o in zip(frames, full, orders, strict=True)}
    if len(forms) > 1:
        raise VideoFileError(f"{folder}: sizes or order change from frame to frame", "size")
    return Video(folder.name, np.stack(frames), np.stack(full), np.stack(visible), orders[0])


def _read_frame(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return image uint8 [H, W, 3] RGB, full and visible masks bool [K, H, W], order int [K]."""
    image = np.ascontiguousarray(read_picture(path, VideoFileError)[..., ::-1])
    notes = path.with_suffix(".pkl")
    record = load(notes, MAX_PICKLE_BYTES)
    try:
        full = np.asarray(record["full_mask"]) != 0
        order, colours = np.asarray(record["order"]), np.asarray(record["color"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise VideoFileError(
            f"{notes} must hold full_mask, order and color: {error}", "layout"
        ) from None
    objects = len(order) if order.ndim == 1 else 0
    good = 0 < objects <= MAX_OBJECTS and full.shape == (objects, *image.shape[:2])
    if not good or colours.shape != (objects, 3) or sorted(order.tolist()) != list(range(objects)):
        raise VideoFileError(
            f"{notes}: full_mask {full.shape}, order {order.shape} and color {colours.shape} do "
            f"not fit each other or the picture of {image.shape[1]}x{image.shape[0]}",
            "size",
        )
    visible = full & (image == colours[:, None, None]).all(-1)
    above = np.zeros(image.shape[:2], bool)
    for k in order[::-1]:
        visible[k] &= ~above
        above |= full[k]
    if (visible[order[-1]] != full[order[-1]]).any():
        raise VideoFileError(
            f"{path} does not show the uppermost object as {notes.name} says", "order"
        )
    return image, full, visible, order.astype(np.int64)
