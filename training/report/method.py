"""Draws the figures of docs/method.md: one object followed through a step of the stream."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from savos_model.geometry import enlarge, intersect, paste, union, window
from savos_model.masks import BoxedMask, by_id, look_at
from savos_model.network.layers import FLOW, PRIOR, RGB, VISIBLE
from savos_model.settings import SettingError
from savos_model.stream.compose import occluders
from savos_model.stream.estimate import Work, backward_flow, backward_motion, opposite, prior_of
from savos_model.stream.prediction import Cue, Guess, calibrated, network_inputs, set_priors
from savos_model.stream.record import Record
from savos_model.stream.refine import WindowRefiner, forward_share, merge
from savos_model.stream.stream import AmodalStream
from savos_model.stream.video import WHOLE, Online, Setup
from savos_model.types import Box, Frame
from training.data.prepare import street_frames
from training.data.store import ClipFrame
from training.evaluate.metrics import score_frame
from training.report.figures import BLUE, GREEN, GREY, ORANGE, RED, SKY, panels
from training.report.strips import PERIOD_NS, STREET_FRAMES, cut, tinted

HIDDEN = (0.25, 0.6)  # share of the object that is hidden where it is shown
MIN_AGE = 10  # frames before, in all of which it was observed
AROUND = 3  # frames from one row of the last figure to the next, in which it was observed too
WIDTH = 9.6  # of a figure [inch of 100 px]
SHOWN = 1.5  # window over the box of the object
ARROWS = 14  # along the longer side
FADED = 0.45


class Step(NamedTuple):
    """The step into frame `number` of object `name`; arrays are float32 in the patch's size.

    Attributes:
        before, after: records of the frame before and of this one.
        cue: mask, crop box, flow and base motion as the network gets them.
        patch: [7, h, w], its input.
        last: mask of the frame before.
        motion: [2, h, w] in `cue.box`, motion into the frame before [px].
        prior: [h, w], the mask of the frame before moved into `cue.box`.
        chance: [h, w], the estimate for this frame after calibration.
        truth: whole mask in this frame.
    """

    name: str
    number: int
    before: Record
    after: Record
    cue: Cue
    patch: np.ndarray
    last: Guess
    motion: np.ndarray
    prior: np.ndarray
    chance: np.ndarray
    truth: BoxedMask


class Merge(NamedTuple):
    """One frame of an object with both directions: patches float32 [h, w] in `box`."""

    number: int
    image: np.ndarray
    box: Box
    forward: np.ndarray
    backward: np.ndarray
    share: np.ndarray
    merged: np.ndarray
    truth: BoxedMask


def write_pictures(street: int, ours: Setup, out: Path) -> list[Path]:
    """Follow an object of a generated street (its seed) through the method; return the pictures.

    Raises ValueError: nothing in the scene is hidden enough, or the network is for the next frame.
    """
    return draw(list(street_frames(street, STREET_FRAMES)), ours, out)


def draw(frames: Sequence[ClipFrame], ours: Setup, out: Path) -> list[Path]:
    """Write the figures of a video with ground truth; return their paths."""
    (step, merged), compose = follow(frames, Online(ours)), ours.stream.compose
    paths = {
        name: out / f"{name}.png"
        for name in ("input", "patch", "flow", "step", "result", "directions")
    }
    draw_input(step, paths["input"])
    draw_patch(step.patch, paths["patch"])
    draw_flow(step, paths["flow"])
    draw_step(step, paths["step"])
    draw_result(step, compose.threshold, compose.occluder_margin_px, paths["result"])
    draw_directions(merged, compose.threshold, paths["directions"])
    return list(paths.values())


def choose(frames: Sequence[ClipFrame], records: Sequence[Record]) -> tuple[str, int]:
    """Return the object-frame with most hidden pixels, of those in HIDDEN and tracked all along.

    Raises ValueError: there is none inside the image.
    """
    observed = [set(record.tracks) for record in records]
    found: list[tuple[int, str, int]] = []
    for number in range(MIN_AGE, len(frames) - AROUND - 1):
        frame, seen = frames[number], by_id(frames[number].instances)
        shape = frame.image.shape[:2]
        steady = set.intersection(*observed[number - MIN_AGE : number + AROUND + 1])
        for score in score_frame(seen, frame.full or {}, seen, shape, ids=sorted(steady)):
            if score.border_px > 0 and HIDDEN[0] < score.occlusion < HIDDEN[1]:
                found.append((score.hidden_px, score.id, number))
    if not found:
        raise SettingError(
            f"street must have an object {HIDDEN[0]:.0%} to {HIDDEN[1]:.0%} hidden: try another"
        )
    _, name, number = max(found)
    return name, number


def follow(frames: Sequence[ClipFrame], online: Online) -> tuple[Step, list[Merge]]:
    """Run the stream over a video; return the step into the chosen frame, and three merged frames.

    Raises ValueError: no object is hidden enough, or the network is for the next frame.
    """
    model, stream = online.engine.model, AmodalStream(online.engine, online.stream, records=True)
    if not model.same_frame:
        raise SettingError(
            f"weights must be of a network for the same frame, got preset {model.preset}: give "
            "weights of preset online"
        )
    given = [Frame(i * PERIOD_NS, f.image, f.instances) for i, f in enumerate(frames)]
    records = []
    for frame in given:
        stream.step(frame)
        records.append(stream.record)
    name, number = choose(frames, records)
    stream = AmodalStream(online.engine, online.stream)
    for frame in given[:number]:
        stream.step(frame)
    before, after = records[number - 1 : number + 1]
    # What the stream is about to give its network, computed again outside of it.
    answer, state = after.tracks[name], stream.tracks.states[name]
    shift = opposite(state.motion)
    (region,) = backward_flow(stream.flow, after.seen, stream.previous, [answer.box], [shift])
    cue = Cue(answer.instance, answer.box, region, region.median(answer.instance) or shift)
    patches = network_inputs(after.seen, [cue], model)
    motion = backward_motion(patches[0], cue, model)
    prior = prior_of(Work(answer.instance, answer.box, state), motion)
    set_priors(patches, [prior], model)
    chance = calibrated(answer.forward[..., 0], online.engine.weights.temperature)
    truth = BoxedMask(*(frames[number].full or {})[name])
    seen = (before, after, cue, patches[0], state.guess, motion, prior[..., 0], chance, truth)
    return Step(name, number, *seen), directions(frames, records, name, number, online)


def directions(
    frames: Sequence[ClipFrame], records: Sequence[Record], name: str, number: int, online: Online
) -> list[Merge]:
    """Return both directions of an object in frames AROUND apart, over the video as window."""
    refiner = WindowRefiner(online.engine, online.stream, WHOLE)
    for record in records:
        refiner.push(record)
    backward = refiner.backward.run(refiner.records, refiner.inputs, [name])
    rows = []
    for index in (number - AROUND, number, number + AROUND):
        item, back = records[index].tracks[name], backward[index][name]
        merged = calibrated(merge(item.forward, back), online.engine.weights.temperature)
        patches = item.forward[..., 0], back[..., 0], forward_share(item.forward, back), merged
        truth = BoxedMask(*(frames[index].full or {})[name])
        rows.append(Merge(index, frames[index].image, item.box, *patches, truth))
    return rows


def height_of(view: Box, columns: int) -> float:
    """Return the height of a row of `columns` panels that show `view`, with a title [inch]."""
    return WIDTH / columns * view.height / view.width + 0.25


def view_of(box: Box, image: np.ndarray) -> Box:
    """Return a window around a box, inside the image."""
    return intersect(enlarge(box, SHOWN), Box(0, 0, image.shape[1], image.shape[0])) or box


def show(panel: Axes, pixels: np.ndarray, title: str = "", **how) -> None:
    """Show an image with its title."""
    panel.imshow(pixels, interpolation="nearest", **how)
    panel.set_title(title, loc="center", pad=3)


def outline(panel: Axes, mask: BoxedMask, view: Box) -> None:
    """Draw the outline of a mask."""
    panel.contour(look_at(mask, view), [0.5], colors="white", linewidths=1)


def heat(image: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return a faded grey image with probabilities 0..1 over it."""
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1) * FADED
    colours = plt.get_cmap("viridis")(chance)[..., :3] * 255
    weight = np.clip(chance * 2, 0, 0.85)[..., None]
    return (grey * (1 - weight) + colours * weight).astype(np.uint8)


def arrows(panel: Axes, motion: np.ndarray, where: np.ndarray) -> None:
    """Draw motion [2, h, w] [px] as arrows, true to scale, where it is wanted."""
    step = max(1, max(where.shape) // ARROWS)
    y, x = np.mgrid[step // 2 : where.shape[0] : step, step // 2 : where.shape[1] : step]
    on = where[y, x] != 0
    x, y = x[on], y[on]
    panel.quiver(
        x, y, *motion[:, y, x], color=SKY, angles="xy", scale_units="xy", scale=1, width=0.006
    )


def draw_input(step: Step, path: Path) -> None:
    """Draw the frame with the crop box, and the visible masks."""
    frame, box = step.after.seen.frame, step.cue.box
    whole = Box(0, 0, frame.image.shape[1], frame.image.shape[0])
    view = whole._replace(y0=whole.height // 4)
    masks = np.repeat(frame.image.mean(-1, keepdims=True), 3, -1) * FADED
    others = (GREEN, ORANGE, SKY, GREY)
    for k, item in enumerate(frame.instances):
        colour = BLUE if item.id == step.name else others[k % len(others)]
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        masks[look_at((item.box, item.mask), whole)] = rgb
    with panels(path, 2, 1, WIDTH, 2 * height_of(view, 1)) as axes:
        first, second = axes[:, 0]
        image = window(frame.image[..., ::-1], view)
        show(first, image, f"frame {step.number}, with the crop of one object")
        marked = window(masks.astype(np.uint8), view)
        show(second, marked, "its tracked visible masks; blue: that object")
        for panel in (first, second):
            corner = (box.x0 - view.x0 - 0.5, box.y0 - view.y0 - 0.5)
            panel.add_patch(
                plt.Rectangle(corner, box.width, box.height, fill=False, ec=RED, lw=1.5)
            )


def draw_patch(patch: np.ndarray, path: Path) -> None:
    """Draw the channels that the network gets, [7, h, w]."""
    limit = float(np.abs(patch[FLOW]).max())
    flow = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
    with panels(path, 1, 5, WIDTH, 1.25) as ((rgb, visible, x, y, prior),):
        show(rgb, patch[RGB].transpose(1, 2, 0), "colours (3 channels)")
        show(visible, patch[VISIBLE][0], "visible 1, others -1", cmap="gray", vmin=-1, vmax=1)
        show(x, patch[FLOW][0], "flow x", **flow)
        show(y, patch[FLOW][1], "flow y", **flow)
        show(prior, patch[PRIOR][0], "prior", cmap="viridis", vmin=0, vmax=1)


def draw_flow(step: Step, path: Path) -> None:
    """Draw the region in both frames and the flow between them."""
    cue, view = step.cue, step.cue.region.box
    first, second = (cut(record.seen.frame.image, view) for record in (step.before, step.after))
    size = int(view.height), int(view.width)
    with panels(path, 1, 3, WIDTH, height_of(view, 3)) as ((before, after, flow),):
        show(before, first, f"frame {step.number - 1}")
        show(after, second, f"frame {step.number}")
        title = f"flow back, inside V {cue.base[0]:+.0f}, {cue.base[1]:+.0f} px"
        show(flow, (second * FADED).astype(np.uint8), title)
        arrows(flow, cue.region.patch(view, size), np.ones(size))
        outline(flow, (cue.instance.box, cue.instance.mask), view)


def draw_step(step: Step, path: Path) -> None:
    """Draw the mask of the frame before, the motion, the mask moved, and what is estimated here."""
    box, number, now = step.cue.box, step.number, step.cue.instance
    old = by_id(step.before.seen.frame.instances)[step.name]
    answer = step.after.tracks[step.name]
    view = view_of(union(old.box, answer.object.box), step.after.seen.frame.image)
    first, second = (cut(record.seen.frame.image, view) for record in (step.before, step.after))

    def pasted(values: np.ndarray, at: Box = box) -> np.ndarray:
        return paste(np.ascontiguousarray(values), at, view)

    moved, motion = pasted(step.prior), np.stack([pasted(part) for part in step.motion])
    with panels(path, 1, 4, WIDTH, height_of(view, 4)) as (axes,):
        last = pasted(step.last.probability, step.last.box)
        show(axes[0], heat(first, last), f"mask of {number - 1}")
        show(axes[1], (second * FADED).astype(np.uint8), "amodal motion")
        arrows(axes[1], motion, moved > 0.5)
        show(axes[2], heat(second, moved), f"moved into {number}: the prior")
        estimate = pasted(answer.forward[..., 0])
        show(axes[3], heat(second, estimate), f"estimated for {number}")
        outline(axes[0], old, view)
        for panel in axes[2:]:
            outline(panel, (now.box, now.mask), view)


def draw_result(step: Step, threshold: float, margin_px: int, path: Path) -> None:
    """Draw the way from the estimate to the published mask, and the ground truth."""
    seen, given = step.after.seen, step.cue.instance
    answer = step.after.tracks[step.name].object
    view = view_of(union(answer.box, step.truth.box), seen.frame.image)
    own = look_at((given.box, given.mask), view)
    near = occluders(seen.count, given, view, margin_px)
    allowed = np.zeros_like(own) if near is None else look_at(near, view) & ~own
    likely = paste(step.chance, step.cue.box, view) >= threshold
    published, truth = look_at((answer.box, answer.mask), view), look_at(step.truth, view)
    shown = cut(seen.frame.image, view)
    with panels(path, 1, 5, WIDTH, height_of(view, 5)) as (axes,):
        show(axes[0], tinted(shown, own, GREY), "visible")
        show(axes[1], tinted(shown, allowed, ORANGE), "may be hidden here")
        show(axes[2], tinted(shown, likely, SKY), f"predicted ≥ {threshold}")
        show(axes[3], tinted(shown, published, BLUE), "published")
        compared = tinted(shown, published & truth, GREEN)
        for where, colour in ((published & ~truth, RED), (truth & ~published, ORANGE)):
            compared = np.where(where[..., None], tinted(shown, where, colour), compared)
        overlap = (published & truth).sum() / (published | truth).sum()
        show(axes[4], compared, f"against truth, IoU {overlap:.2f}")


def draw_directions(rows: Sequence[Merge], threshold: float, path: Path) -> None:
    """Draw both directions, their weights and the merged mask next to the ground truth."""
    boxes = [row.truth.box for row in rows]
    width, height = (round(SHOWN * max(box[k + 2] - box[k] for box in boxes)) for k in (0, 1))
    corners = [(round((b.x0 + b.x1 - width) / 2), round((b.y0 + b.y1 - height) / 2)) for b in boxes]
    views = [Box(x, y, x + width, y + height) for x, y in corners]
    tall = len(rows) * (height_of(views[0], 5) - 0.25) + 0.25
    with panels(path, len(rows), 5, WIDTH, tall) as axes:
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
        titles = ("forward", "backward", "share of forward", "merged", "truth")
        for panel, title in zip(axes[0], titles, strict=True):
            panel.set_title(title, loc="center", pad=3)
