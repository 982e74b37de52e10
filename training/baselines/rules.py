"""Rules: convex hull, aggregation of visible masks along optical flow (Algorithm 1)."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import cv2
import numpy as np

from savos_model.masks import EMPTY, BoxedMask, box_around, clip_box, look_at, slices, tighten
from savos_model.types import Box

FIXED_POINT_STEPS = 3
HALF, ANY = 0.5, 1e-3
GREYS = 64  # frames remembered, the longest window on both sides and more
Track = Mapping[int, tuple[Box, np.ndarray]]
PairFlow = Callable[[int, int], np.ndarray]


class DisPairFlow:
    """Dense optical flow (DIS, medium preset) between frames of one clip, computed on demand.

    The clip is read as far as it is asked for, and only its last GREYS frames are remembered.
    """

    def __init__(self, grey: Iterable[np.ndarray], kept: int = 64) -> None:
        """Take the frames of a clip, uint8 [H, W]; the last `kept` flow fields are remembered."""
        self._frames, self._read, self._kept = iter(grey), 0, kept
        self._grey: dict[int, np.ndarray] = {}
        self._flow: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, start: int, end: int) -> np.ndarray:
        """Return the motion (x, y) of a frame's pixels into another, float32 [H, W, 2] [px]."""
        if (start, end) not in self._flow:
            self._flow[start, end] = self._dis.calc(self._at(start), self._at(end), None)
            if len(self._flow) > self._kept:
                self._flow.popitem(last=False)
        return self._flow[start, end]

    def _at(self, frame: int) -> np.ndarray:
        while self._read <= frame:
            self._grey[self._read] = next(self._frames)
            self._grey.pop(self._read - GREYS, None)
            self._read += 1
        return self._grey[frame]


def aggregate(
    track: Track,
    flow: PairFlow,
    frame: int,
    window: int,
    shape: tuple[int, int],
    direction: str = "both",
    coverage: float = HALF,
) -> BoxedMask:
    """Complete the mask of one object in one frame from its neighbouring frames.

    The weak point of the rule: the flow of pixels that are about to be covered follows the
    occluder, which carries away just what should be remembered.

    `track` has visible masks by frame, some may be missing; `flow` gives the motion between two
    neighbouring frames, of which `window` are used on each side. The direction is forward (earlier
    frames warped on), backward (later ones warped back) or both (their union). `coverage` is the
    covered share from which a pixel of the result is set; the paper gives none. HALF keeps the
    area; ANY also sets pixels that are only touched, which grows the mask by up to a pixel a step.

    Returns the aggregated mask, bool; it holds the visible mask of `frame`.

    Raises ValueError: unknown direction or a window below 1.
    """
    if direction not in ("forward", "backward", "both") or window < 1:
        raise ValueError(
            f"direction must be forward, backward or both and window at least 1, got {direction!r} "
            f"and {window}: the paper uses both with 3 or 5"
        )
    signs = {"forward": (-1,), "backward": (1,), "both": (-1, 1)}[direction]
    walks = [[frame + sign * back for back in range(window, -1, -1)] for sign in signs]
    parts = [_one_direction(track, flow, walk, shape, coverage) for walk in walks]
    view = box_around(part.box for part in parts)
    return BoxedMask(view, np.logical_or.reduce([look_at(part, view) for part in parts]))


def _one_direction(
    track: Track, flow: PairFlow, frames: list[int], shape: tuple[int, int], coverage: float
) -> BoxedMask:
    # Where the object has no mask k frames away, the walk starts at the first frame that has one.
    while frames and _is_empty(track, frames[0]):
        frames = frames[1:]
    if not frames:
        return EMPTY
    pairs = list(zip(frames, frames[1:], strict=False))
    view = _view(track, flow, frames, pairs, shape)
    # Shares are kept through all steps: cutting after each would lose motion below half a pixel.
    share = look_at(track[frames[0]], view).astype(np.float32)
    mean = np.zeros(2, np.float32)
    for start, end in pairs:
        moving = flow(start, end)[slices(view)]
        seen = look_at(track.get(start, EMPTY), view)
        # Hidden parts move like the mean of the visible ones; an object wholly hidden keeps its
        # last mean (the algorithm says nothing about it).
        mean = moving[seen].mean(axis=0) if seen.any() else mean
        motion = np.where(seen[..., None], moving, mean.astype(np.float32))
        share = np.maximum(forward_warp(share, motion, mean), look_at(track.get(end, EMPTY), view))
    return tighten((view, share >= coverage))


def _is_empty(track: Track, frame: int) -> bool:
    return frame not in track or not track[frame][1].any()


def _view(
    track: Track,
    flow: PairFlow,
    frames: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    shape: tuple[int, int],
) -> Box:
    """Box that the object cannot leave within the window: its visible boxes grown by the motion."""
    boxes = [track[frame][0] for frame in frames if not _is_empty(track, frame)]
    reach, step = 0.0, 0.0
    for start, end in pairs:
        if not _is_empty(track, start):
            box, mask = track[start]
            step = float(np.abs(flow(start, end)[slices(box)][mask != 0]).max())
        reach += step + 1.0  # interpolation may touch one more pixel
    around = box_around(boxes)
    grown = Box(around.x0 - reach, around.y0 - reach, around.x1 + reach, around.y1 + reach)
    return clip_box(box_around([grown]), shape)


def forward_warp(share: np.ndarray, motion: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Move shares float32 [H, W], 0..1 of each pixel that the object covers, along its motion.

    The source of target pixel x is x - u(x) with u(x) = motion(x - u(x)), found by fixed-point
    steps; sampling `motion` at x itself, as the released code does, misplaces the mask where the
    motion varies. `motion` float32 [H, W, 2] is that (x, y) of each source pixel, `start` its first
    guess [px]. What moves out of the window is gone.
    """
    rows, columns = share.shape
    grid_x, grid_y = np.meshgrid(
        np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)
    )
    source_x, source_y = grid_x - np.float32(start[0]), grid_y - np.float32(start[1])
    for _ in range(FIXED_POINT_STEPS):
        back = cv2.remap(
            motion, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        source_x, source_y = grid_x - back[..., 0], grid_y - back[..., 1]
    return cv2.remap(share, source_x, source_y, cv2.INTER_LINEAR)
