"""Draws the figures of docs/method.md."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from savos_model.config import ComposeConfig
from savos_model.geometry import enlarge, intersect, paste, union, window
from savos_model.masks import BoxedMask, by_id, look_at
from savos_model.network.layers import FLOW, PRIOR, RGB, VISIBLE
from savos_model.stream.compose import occluders
from savos_model.stream.video import Online, Setup
from savos_model.types import Box
from training.data.store import ClipFrame
from training.report.figures import BLUE, GREEN, GREY, ORANGE, RED, SKY, panels
from training.report.method import Merge, Step, follow
from training.report.strips import cut, scenes, tinted

WIDTH = 9.6  # of a figure [inch of 100 px]
SHOWN = 1.5  # window over the box of the object
ARROWS = 14  # along the longer side
FADED = 0.45


def write_pictures(street: int, ours: Setup, out: Path) -> list[Path]:
    """Follow an object of a generated street (its seed) through the method; return the pictures.

    Raises:
        ValueError: nothing in the scene is hidden enough.
    """
    (scene,) = scenes(None, [], [], [str(street)])
    return draw(list(scene.frames()), ours, out)


def draw(frames: Sequence[ClipFrame], ours: Setup, out: Path) -> list[Path]:
    """Write the figures of a video with ground truth; return their paths."""
    (step, merged), compose = follow(frames, Online(ours)), ours.stream.compose
    drawn = {
        "input": partial(draw_input, step),
        "patch": partial(draw_patch, step),
        "flow": partial(draw_flow, step),
        "step": partial(draw_step, step),
        "result": partial(draw_result, step, compose),
        "directions": partial(draw_directions, merged, compose.threshold),
    }
    for name, to in drawn.items():
        to(out / f"{name}.png")
    return [out / f"{name}.png" for name in drawn]


def height_of(view: Box, columns: int) -> float:
    """Return the height of a row of `columns` panels that show `view`, with a title [inch]."""
    return WIDTH / columns * view.height / view.width + 0.25


def view_of(box: Box, image: np.ndarray) -> Box:
    """Return a window around a box, inside the image."""
    inside = intersect(enlarge(box, SHOWN), Box(0, 0, image.shape[1], image.shape[0]))
    return inside or box


def show(panel: Axes, pixels: np.ndarray, title: str = "") -> None:
    """Show an image with its title."""
    panel.imshow(pixels, interpolation="nearest")
    panel.set_title(title, loc="center", pad=3)


def frame_box(panel: Axes, box: Box, view: Box, colour: str) -> None:
    """Draw a box's outline."""
    corner = (box.x0 - view.x0 - 0.5, box.y0 - view.y0 - 0.5)
    panel.add_patch(plt.Rectangle(corner, box.width, box.height, fill=False, ec=colour, lw=1.5))


def heat(image: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return a faded grey image with probabilities 0..1 over it."""
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1) * FADED
    colours = plt.get_cmap("viridis")(chance)[..., :3] * 255
    weight = np.clip(chance * 2, 0, 0.85)[..., None]
    return (grey * (1 - weight) + colours * weight).astype(np.uint8)


def arrows(panel: Axes, motion: np.ndarray, where: np.ndarray, colour: str) -> None:
    """Draw motion [2, h, w] [px] as arrows, true to scale, where it is wanted."""
    step = max(1, max(where.shape) // ARROWS)
    y, x = np.mgrid[step // 2 : where.shape[0] : step, step // 2 : where.shape[1] : step]
    on = where[y, x] != 0
    x, y = x[on], y[on]
    panel.quiver(
        x, y, *motion[:, y, x], color=colour, angles="xy", scale_units="xy", scale=1, width=0.006
    )


def draw_input(step: Step, path: Path) -> None:
    """Draw the frame with the crop box, and the visible masks."""
    image = step.after.frame.image
    whole = Box(0, 0, image.shape[1], image.shape[0])
    view = whole._replace(y0=whole.height // 4)
    masks = np.repeat(image.mean(-1, keepdims=True), 3, -1) * FADED
    others = (GREEN, ORANGE, SKY, GREY)
    for k, item in enumerate(step.after.frame.instances):
        colour = BLUE if item.id == step.name else others[k % len(others)]
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        masks[look_at((item.box, item.mask), whole)] = rgb
    with panels(path, 2, 1, WIDTH, 2 * height_of(view, 1)) as axes:
        shown = (image[..., ::-1], masks.astype(np.uint8))
        titles = (
            f"frame {step.number}, with the crop of one object",
            "its tracked visible masks; blue: that object",
        )
        for panel, picture, title in zip(axes[:, 0], shown, titles, strict=True):
            show(panel, window(picture, view), title)
            frame_box(panel, step.answer.box, view, RED)


def draw_patch(step: Step, path: Path) -> None:
    """Draw the channels that the network gets."""
    patch = step.look.patch
    flow = patch[FLOW]
    limit = float(np.abs(flow).max())
    with panels(path, 1, 5, WIDTH, 1.25) as axes:
        shown = (
            ("colours (3 channels)", patch[RGB].transpose(1, 2, 0), {}),
            ("visible 1, others -1", patch[VISIBLE][0], {"cmap": "gray", "vmin": -1, "vmax": 1}),
            ("flow x", flow[0], {"cmap": "RdBu", "vmin": -limit, "vmax": limit}),
            ("flow y", flow[1], {"cmap": "RdBu", "vmin": -limit, "vmax": limit}),
            ("prior", patch[PRIOR][0], {"cmap": "viridis", "vmin": 0, "vmax": 1}),
        )
        for panel, (title, values, how) in zip(axes[0], shown, strict=True):
            panel.imshow(values, interpolation="nearest", **how)
            panel.set_title(title, loc="center", pad=3)


def draw_flow(step: Step, path: Path) -> None:
    """Draw the region in both frames and the flow between them."""
    cue = step.look.cue
    view, median = cue.region.box, cue.base
    images = [cut(seen.frame.image, view) for seen in (step.before, step.after)]
    size = int(view.height), int(view.width)
    motion = cue.region.patch(view, size)
    with panels(path, 1, 3, WIDTH, height_of(view, 3)) as axes:
        show(axes[0, 0], images[0], f"frame {step.number - 1}")
        show(axes[0, 1], images[1], f"frame {step.number}")
        show(
            axes[0, 2],
            (images[step.same_frame] * FADED).astype(np.uint8),
            f"flow {'back' if step.same_frame else 'on'}, inside V "
            f"{median[0]:+.0f}, {median[1]:+.0f} px",
        )
        arrows(axes[0, 2], motion, np.ones(size), SKY)
        seen = look_at((cue.instance.box, cue.instance.mask), view)
        axes[0, 2].contour(seen, [0.5], colors="white", linewidths=1)


def draw_step(step: Step, path: Path) -> None:
    """Draw the mask of the frame before, the motion, the mask moved, and what is estimated here.

    A network that sees the frame before moves its own estimate: that is the last panel then.
    """
    same, look, now = step.same_frame, step.look, step.answer.instance
    last = by_id(step.before.frame.instances)[step.name]
    view = view_of(union(last.box, step.answer.object.box), step.after.frame.image)
    first, second = (cut(seen.frame.image, view) for seen in (step.before, step.after))

    def pasted(values: np.ndarray, box: Box) -> np.ndarray:
        return paste(np.ascontiguousarray(values), box, view)

    chance, moved = (
        pasted(look.last.probability, look.last.box),
        pasted(look.moved, step.answer.box),
    )
    motion = np.stack([pasted(part, look.cue.box) for part in look.motion])
    number, columns = step.number, 4 if same else 3
    with panels(path, 1, columns, WIDTH, height_of(view, columns)) as axes:
        show(
            axes[0, 0],
            heat(first, chance),
            f"{'mask of' if same else 'predicted for'} {number - 1}",
        )
        show(axes[0, 1], ((second if same else first) * FADED).astype(np.uint8), "amodal motion")
        arrows(axes[0, 1], motion, (moved if same else chance) > 0.5, SKY)
        show(axes[0, 2], heat(second, moved), f"moved into {number}{': the prior' if same else ''}")
        if same:
            made = pasted(look.values[..., 0], step.answer.box)
            show(axes[0, 3], heat(second, made), f"estimated for {number}")
        outlines = [last, None, *[BoxedMask(now.box, now.mask)] * (columns - 2)]
        for panel, outline in zip(axes[0], outlines, strict=True):
            if outline is not None:
                panel.contour(look_at(outline, view), [0.5], colors="white", linewidths=1)


def draw_result(step: Step, compose: ComposeConfig, path: Path) -> None:
    """Draw the way from the estimate to the published mask, and the ground truth."""
    image, answer = step.after.frame.image, step.answer
    view = view_of(union(answer.object.box, step.truth.box), image)
    own = look_at((answer.instance.box, answer.instance.mask), view)
    near = occluders(step.after.count, answer.instance, view, compose.occluder_margin_px)
    allowed = np.zeros_like(own) if near is None else look_at(near, view) & ~own
    likely = paste(step.chance, answer.box, view) >= compose.threshold
    published = look_at((answer.object.box, answer.object.mask), view)
    truth, shown = look_at(step.truth, view), cut(image, view)
    with panels(path, 1, 5, WIDTH, height_of(view, 5)) as axes:
        steps = (
            ("visible", own, GREY), ("may be hidden here", allowed, ORANGE),
            (f"predicted ≥ {compose.threshold}", likely, SKY), ("published", published, BLUE),
        )  # fmt: skip
        for panel, (title, mask, colour) in zip(axes[0], steps, strict=False):
            show(panel, tinted(shown, mask, colour), title)
        compared = tinted(shown, published & truth, GREEN)
        for where, colour in ((published & ~truth, RED), (truth & ~published, ORANGE)):
            compared = np.where(where[..., None], tinted(shown, where, colour), compared)
        overlap = (published & truth).sum() / (published | truth).sum()
        show(axes[0, 4], compared, f"against truth, IoU {overlap:.2f}")


def draw_directions(rows: Sequence[Merge], threshold: float, path: Path) -> None:
    """Draw both directions, their weights and the merged mask next to the ground truth."""
    boxes = [row.truth.box for row in rows]
    width, height = (round(SHOWN * max(box[k + 2] - box[k] for box in boxes)) for k in (0, 1))
    corners = [(round((b.x0 + b.x1 - width) / 2), round((b.y0 + b.y1 - height) / 2)) for b in boxes]
    views = [Box(x, y, x + width, y + height) for x, y in corners]
    with panels(
        path, len(rows), 5, WIDTH, len(rows) * (height_of(views[0], 5) - 0.25) + 0.25
    ) as axes:
        titles = ("forward", "backward", "share of forward", "merged", "truth")
        for line, row, view in zip(axes, rows, views, strict=True):
            shown = np.ascontiguousarray(window(row.image, view)[..., ::-1])
            for panel, values in zip(line, (row.forward, row.backward), strict=False):
                show(panel, heat(shown, paste(np.ascontiguousarray(values), row.box, view)))
            share = paste(row.share, row.box, view)
            outside = paste(np.ones_like(row.share), row.box, view) < 0.5
            line[2].imshow(np.where(outside, np.nan, share), cmap="PuOr", vmin=0, vmax=1)
            merged = paste(row.merged, row.box, view) >= threshold
            show(line[3], tinted(shown, merged, BLUE))
            show(line[4], tinted(shown, look_at(row.truth, view), RED))
            line[0].set_ylabel(f"frame {row.number}")
        for panel, title in zip(axes[0], titles, strict=True):
            panel.set_title(title, loc="center", pad=3)
