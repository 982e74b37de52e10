"""Crop, paste and warp patches in NumPy and OpenCV.

network/geometry_torch.py has the torch forms.
"""

import math
from typing import Any

import cv2
import numpy as np

from savos_model.types import Box

MIN_BOX_PX = 16  # smallest crop box: fewer pixels have no shape
# Fixed-point steps u(x) = dM(x - u(x)); docs/departures.md row 8.
NOTHING: Any = None  # for arguments that are optional in OpenCV but not in its types
WARP_ITERATIONS = 3
# Larger boxes [px], which may exceed the image many times, are never allocated.
LARGE_BOX = 1 << 22
# Of an image of more than FULL_PX, boxes of more than DENSE_PX are not read in full but sampled:
# SAMPLES x SAMPLES places, between four pixels each, for a cell of a patch. What a patch costs then
# has a bound, whatever the resolution of the camera. Smaller boxes have fewer pixels than places.
FULL_PX = 1 << 20
DENSE_PX = 1 << 15
SAMPLES = 2
FLOAT_ITEMS = 1 << 18  # colours of a box; more are not worth a copy as float32


def enlarge(box: Box, factor: float) -> Box:
    """Enlarge a box about its centre by `factor`, to whole pixels, at least MIN_BOX_PX a side.

    The box may leave the image: crops are zero padded, so that a shape keeps its place in the patch
    at the image border. (The released code clips to the image: docs/departures.md row 4.)
    """
    width, height = max(box.width * factor, MIN_BOX_PX), max(box.height * factor, MIN_BOX_PX)
    cx, cy = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return Box(
        math.floor(cx - width / 2),
        math.floor(cy - height / 2),
        math.ceil(cx + width / 2),
        math.ceil(cy + height / 2),
    )


def union(a: Box, b: Box) -> Box:
    """Return the smallest box around both."""
    return Box(min(a.x0, b.x0), min(a.y0, b.y0), max(a.x1, b.x1), max(a.y1, b.y1))


def intersect(a: Box, b: Box) -> Box | None:
    """Return the common part of two boxes, None if empty."""
    ax0, ay0, ax1, ay1 = a
    bx0, by0, bx1, by1 = b
    x0, y0 = ax0 if ax0 >= bx0 else bx0, ay0 if ay0 >= by0 else by0
    x1, y1 = ax1 if ax1 <= bx1 else bx1, ay1 if ay1 <= by1 else by1
    return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def move(box: Box, dx: float, dy: float) -> Box:
    """Shift a box [px]."""
    return Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)


def mask_box(mask: np.ndarray, origin: tuple[int, int] = (0, 0)) -> Box | None:
    """Return a tight box around non-zero pixels of [H, W], shifted by origin (x, y), or None."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask, np.uint8))
    if width == 0:
        return None
    x, y = x + origin[0], y + origin[1]
    return Box(x, y, x + width, y + height)


def window(image: np.ndarray, box: Box) -> np.ndarray:
    """Return pixels of an integer box, 0 outside: [H, W, ...] -> [box.height, box.width, ...]."""
    x0, y0, x1, y1 = map(int, box)
    rows, cols = image.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= cols and y1 <= rows:
        return image[y0:y1, x0:x1]
    out = np.zeros((y1 - y0, x1 - x0, *image.shape[2:]), image.dtype)
    inside = intersect(box, Box(0, 0, cols, rows))
    if inside is not None:
        put(
            out,
            inside,
            image[int(inside.y0) : int(inside.y1), int(inside.x0) : int(inside.x1)],
            (x0, y0),
        )
    return out


def put(canvas: np.ndarray, box: Box, values: np.ndarray, origin: tuple[int, int] = (0, 0)) -> None:
    """Write values of an integer box into a canvas whose top-left pixel is origin (x, y)."""
    x0, y0 = int(box.x0) - origin[0], int(box.y0) - origin[1]
    canvas[y0 : y0 + values.shape[0], x0 : x0 + values.shape[1]] = values


def crop(image: np.ndarray, box: Box, patch: tuple[int, int]) -> np.ndarray:
    """Resize an integer box of an image to a patch.

    Args:
        image: uint8 or float32 [H, W] or [H, W, C].
        box: integer box, may leave the image (zeros there).
        patch: rows and columns (h, w).

    Returns:
        [h, w] or [h, w, C]; area mean where it shrinks, bilinear with half-pixel centres where it
        grows. Of a large box of a large image (`is_sampled`) the mean is that of samples.
    """
    if is_sampled(image.shape, box):
        return sample_means(image, box, patch)
    shrinks = box.height >= patch[0] and box.width >= patch[1]
    if shrinks and box.width * box.height > LARGE_BOX:
        inside = intersect(box, Box(0, 0, image.shape[1], image.shape[0]))
        if inside != box:
            return crop_inside(image, box, inside, patch)
    pixels, size = window(image, box), patch[::-1]
    if not shrinks:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    whole = pixels.shape[0] % patch[0] == 0 and pixels.shape[1] % patch[1] == 0
    if whole or image.ndim == 2 or image.dtype != np.uint8 or pixels.size > FLOAT_ITEMS:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    # The same in four fifths of the time, as OpenCV sums in float32 anyway.
    means = cv2.resize(pixels.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.rint(means, out=means).astype(np.uint8)


def is_sampled(shape: tuple[int, ...], box: Box) -> bool:
    """Return whether a crop of an image of `shape` is worked out from samples."""
    return shape[0] * shape[1] > FULL_PX and box.width * box.height > DENSE_PX


def pixel_map(box: Box, patch: tuple[int, int]) -> np.ndarray:
    """Return the affine map [2, 3] from pixels of a patch (rows, columns) to those of its box."""
    step_x, step_y = box.width / patch[1], box.height / patch[0]
    # Whole numbers are centres of pixels in OpenCV, and corners in boxes.
    first_x, first_y = box.x0 + (step_x - 1) / 2, box.y0 + (step_y - 1) / 2
    return np.array([[step_x, 0, first_x], [0, step_y, first_y]])


def sample_means(
    image: np.ndarray, box: Box, patch: tuple[int, int], outside: int = 0
) -> np.ndarray:
    """Return about what `crop` does, for the price of the patch, of an image of any size.

    `outside` is the value of pixels outside the image.
    """
    cols, rows = SAMPLES * patch[1], SAMPLES * patch[0]
    inside = intersect(box, Box(0, 0, image.shape[1], image.shape[0]))
    if inside is None:
        return np.full((*patch, *image.shape[2:]), outside, image.dtype)
    pixels = window(image, inside)
    if inside == box:
        samples = cv2.resize(pixels, (cols, rows), interpolation=cv2.INTER_LINEAR)
    else:
        samples = cv2.warpAffine(
            pixels,
            pixel_map(move(box, -inside.x0, -inside.y0), (rows, cols)),
            (cols, rows),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderValue=(outside,) * 4,
        )
    return cv2.resize(samples, patch[::-1], interpolation=cv2.INTER_AREA)


def crop_inside(
    image: np.ndarray, box: Box, inside: Box | None, patch: tuple[int, int]
) -> np.ndarray:
    """Return the area means of `crop` from the part of the box `inside` the image alone."""
    if inside is None:
        return np.zeros((*patch, *image.shape[2:]), image.dtype)
    pixels = window(image, inside)
    bands = cell_means(pixels, box.y0 - inside.y0, box.height, patch[0])
    bands = np.ascontiguousarray(bands.swapaxes(0, 1))
    means = cell_means(bands, box.x0 - inside.x0, box.width, patch[1]).swapaxes(0, 1)
    return means if image.dtype == np.float32 else np.rint(means).astype(image.dtype)


def cell_means(pixels: np.ndarray, start: float, length: float, cells: int) -> np.ndarray:
    """Return means of equal cells of rows: [N, M, ...] -> float32 [cells, M, ...], 0 outside.

    Args:
        pixels: uint8 or float32.
        start: where the first cell begins, in rows of `pixels`.
        length: of all cells together, in rows.
        cells: number of cells.
    """
    means, size = np.zeros((cells, *pixels.shape[1:]), np.float32), length / cells
    for cell, mean in enumerate(means):
        low = max(0.0, start + cell * size)
        high = min(len(pixels), start + (cell + 1) * size)
        if low < high:
            first, last = math.floor(low), math.ceil(high)
            mean += cv2.reduce(pixels[first:last], 0, cv2.REDUCE_SUM, dtype=cv2.CV_32F)[0]
            # Subtract the shares of the outermost rows that belong to neighbouring cells.
            mean -= (low - first) * pixels[first] + (last - high) * pixels[last - 1]
    return means / np.float32(size)


def paste(patch: np.ndarray, box: Box, region: Box) -> np.ndarray:
    """Return the values of a patch at the pixels of an integer region, the inverse of `crop`.

    Args:
        patch: float32 or uint8 [h, w] that fills `box`.
        box: integer box of the patch.
        region: integer box whose pixels are wanted; zeros outside `box`.

    Returns:
        [region.height, region.width].
    """
    if box.width * box.height > max(LARGE_BOX, 2 * region.width * region.height):
        return paste_inside(patch, box, region)
    size = int(box.width), int(box.height)
    pixels = cv2.resize(patch, size, interpolation=cv2.INTER_LINEAR)
    return window(pixels, move(region, -box.x0, -box.y0))


def paste_inside(patch: np.ndarray, box: Box, region: Box) -> np.ndarray:
    """Paste like `paste`, without the part of the box outside `region`.

    Before OpenCV 5 positions are rounded to a 32nd of a cell of the patch.
    """
    inside = intersect(box, region)
    if inside is None:
        return np.zeros((int(region.height), int(region.width)), patch.dtype)
    step_x, step_y = patch.shape[1] / box.width, patch.shape[0] / box.height
    first_x = (inside.x0 - box.x0 + 0.5) * step_x - 0.5
    first_y = (inside.y0 - box.y0 + 0.5) * step_y - 0.5
    pixels = cv2.warpAffine(
        patch,
        np.array([[step_x, 0, first_x], [0, step_y, first_y]]),
        (int(inside.width), int(inside.height)),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return window(pixels, move(region, -inside.x0, -inside.y0))


def warp_patch(values: np.ndarray, motion: np.ndarray, source: Box, target: Box) -> np.ndarray:
    """Move a patch of one frame into the box of the next frame: eq. 2, Warp(M, dM).

    Eq. 2 is a forward map; the value at x' is M(x' - u) with u = dM(x' - u), solved by
    WARP_ITERATIONS fixed-point steps. (The released code reads dM at x' and is half a pixel off.)

    Args:
        values: float32 [h, w] or [h, w, C], fills `source`; zero outside.
        motion: float32 [2, h, w], (x, y) [image px per frame] of the pixels of `source`.
        source: box of `values` in the earlier frame [px].
        target: box to fill in the later frame [px].

    Returns:
        As `values`, fills `target`.
    """
    grid = cell_grid(source, target, values.shape[:2])
    scaled = in_cells(motion, source)
    at = grid
    for _ in range(WARP_ITERATIONS):
        at = grid - cv2.remap(
            scaled, at, NOTHING, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return sample(values, at)


def pull_patch(
    values: np.ndarray,
    motion: np.ndarray,
    residual: np.ndarray,
    source: Box,
    target: Box,
) -> np.ndarray:
    """Fetch a patch of the previous frame into the box of this frame, along backward motion.

    With the motion of this frame into the previous frame, eq. 2 needs no inverse: the value
    at x is that at x + u(x) + r(x + u(x)), where r is the residual that was predicted there.

    Args:
        values: float32 [h, w] or [h, w, C], fills `source`; zero outside.
        motion: float32 [2, h, w], u (x, y) [image px per frame] of the pixels of `target`.
        residual: float32 [2, h, w], r (x, y) [patch px of `source`] of the pixels of `source`.
        source: box of `values` in the previous frame [px].
        target: box to fill in this frame [px].

    Returns:
        As `values`, fills `target`.
    """
    at = cell_grid(source, target, values.shape[:2]) + in_cells(motion, source)
    own = cv2.merge((residual[0], residual[1]))
    at += cv2.remap(own, at, NOTHING, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sample(values, at)


def cell_grid(source: Box, target: Box, patch: tuple[int, int]) -> np.ndarray:
    """Return the pixel centres of `target` in the patch of `source` [h, w, 2] [cells]."""
    rows, cols = patch
    at_x = (target.x0 - source.x0 + (np.arange(cols) + 0.5) * target.width / cols) * (
        cols / source.width
    ) - 0.5
    at_y = (target.y0 - source.y0 + (np.arange(rows) + 0.5) * target.height / rows) * (
        rows / source.height
    ) - 0.5
    grid = np.empty((rows, cols, 2), np.float32)
    grid[..., 0], grid[..., 1] = at_x, at_y[:, None]
    return grid


def in_cells(motion: np.ndarray, source: Box) -> np.ndarray:
    """Return motion [2, h, w] [image px] as [h, w, 2] in cells of the patch of `source`."""
    rows, cols = motion.shape[1:]
    return cv2.merge((motion[0] * (cols / source.width), motion[1] * (rows / source.height)))


def sample(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return values [h, w] or [h, w, C] at points [h, w, 2] [cells], bilinear, zero outside."""
    if values.size == at.size // 2:
        return cv2.remap(values, at, NOTHING, cv2.INTER_LINEAR).reshape(values.shape)
    # Channel by channel: OpenCV rounds two channels differently than one; masks must not depend
    # on whether alpha is present.
    moved = [
        cv2.remap(channel, at, NOTHING, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        for channel in cv2.split(values)
    ]
    return np.stack(moved, -1).reshape(values.shape)
