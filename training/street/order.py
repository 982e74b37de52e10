"""Painter's order of the objects of a scene, from their footprints on the ground."""

from __future__ import annotations

import numpy as np


def far_to_near(footprints: np.ndarray, eye: np.ndarray) -> list[int]:
    """Order objects for painting; exact for convex footprints that do not touch.

    Of two such footprints one has an edge line that parts them; the one on the eye's side of it is
    in front. The distance of the nearest corner breaks the rare cycles.

    Args:
        footprints: [N, 4, 2] ground corners, counter-clockwise [m].
        eye: [2], camera on the ground [m].

    Returns:
        the N indices, farthest first.
    """
    count = len(footprints)
    if count == 0:
        return []
    edges = np.roll(footprints, -1, axis=1) - footprints
    outward = np.stack([edges[..., 1], -edges[..., 0]], axis=-1)
    outward = outward / np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    offset = (outward * footprints).sum(axis=-1)
    gap = (np.einsum("iek,jck->ijec", outward, footprints) - offset[:, None, :, None]).min(axis=-1)
    best = gap.argmax(axis=-1)
    eye_side = ((outward @ eye) - offset)[np.arange(count)[:, None], best] > 0
    apart = gap.max(axis=-1)
    # Edges of i part i from j: with the eye on j's side, j is in front of i.
    own, other = apart >= apart.T, apart < apart.T
    j_front = (own & eye_side) | (other & ~eye_side.T)
    j_front &= ~j_front.T  # both: the eye is between the two lines and neither hides the other
    near = np.linalg.norm(footprints - eye, axis=-1).min(axis=-1)
    done, order = np.zeros(count, dtype=bool), []
    waiting = np.where(_overlap_in_view(footprints, eye), j_front.T, False)  # [i, j]: j is behind i
    for _ in range(count):
        behind = (waiting & ~done).sum(axis=1).astype(float)
        behind[done] = np.inf
        free = np.flatnonzero(behind == behind.min())
        pick = int(free[near[free].argmax()])
        done[pick] = True
        order.append(pick)
    return order


def _overlap_in_view(footprints: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Pairs [N, N] whose ranges of viewing angles meet: only these can hide one another."""
    relative = footprints - eye
    middle = relative.mean(axis=1)
    bearing = np.arctan2(middle[:, 1], middle[:, 0])
    spread = np.arctan2(relative[..., 1], relative[..., 0]) - bearing[:, None]
    spread = np.abs((spread + np.pi) % (2 * np.pi) - np.pi).max(axis=1) + 0.03
    apart = np.abs((bearing[:, None] - bearing[None] + np.pi) % (2 * np.pi) - np.pi)
    return apart < spread[:, None] + spread[None]
